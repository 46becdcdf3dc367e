/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/metrics.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/plain_text.h"

enum { VALUES_MAX = 16 }; /* of a metric: one for each label, or the buckets of a histogram and behind them its sum */
_Static_assert((int)METRIC_KILLED < (int)VALUES_MAX && (int)LIMITS <= (int)VALUES_MAX, "a value for each label");

struct metrics {
	char version[16]; /* whose this layout is */
	enum metric_daemon daemon;
	pid_t pid; /* of who made it */
	int fd;    /* in who made it, and whom it forked */
	uint64_t start_us;
	_Atomic uint64_t value[METRICS][VALUES_MAX];
	struct session_row row[ROWS_MAX];
};
_Static_assert(sizeof(DRAY_VERSION) <= sizeof(((struct metrics *)0)->version), "room for the version");

/* --- the table ------------------------------------------------------------------------------------------------------------------ */

enum kind { COUNTER, GAUGE, HISTOGRAM };
enum owner { PAGE_SERVER = DAEMON_PAGE_SERVER, AGENT = DAEMON_AGENT, BOTH };

static const char *limit_name(unsigned label)
{
	static const char *const names[LIMITS] = {
		[LIMIT_SESSIONS] = "max-sessions",    [LIMIT_SESSION_BYTES] = "session-bytes", [LIMIT_SESSION_PAGES] = "session-pages",
		[LIMIT_SESSION_TIME] = "session-time", [LIMIT_IDLE] = "idle-timeout",	       [LIMIT_MEMORY] = "max-memory",
		[LIMIT_HANDSHAKE] = "handshake-timeout", [LIMIT_HANDSHAKES] = "max-handshakes", [LIMIT_KEEP_FREE] = "keep-free",
	};

	return names[label];
}

static const char *kind_name(unsigned label)
{
	return label < ERR_KINDS ? err_kind_name((enum err_kind)label) : "killed";
}

static const char *outcome_name(unsigned label)
{
	return label == METRIC_SUCCESS ? "success" : kind_name(label);
}

static const struct row {
	enum kind kind;
	enum owner owner;
	const char *name, *label;
	const char *(*label_name)(unsigned label);
	unsigned first, count; /* labels */
	const char *help;      /* one sentence, without its full stop */
} table[METRICS] = {
#define PLAIN NULL, NULL, 0, 1
	[METRIC_START_TIME] = { GAUGE, BOTH, "dray_start_time_seconds", PLAIN, "When the daemon began, in seconds since 1970" },
	[METRIC_LIMITS] = { COUNTER, BOTH, "dray_limits_hit_total", "limit", limit_name, 0, LIMITS,
			    "Connections and sessions that a limit refused or ended, by the option that sets it; keep-free: that a full disk ended, too" },
	[METRIC_TLS_FAILURES] = { COUNTER, BOTH, "dray_tls_failures_total", PLAIN, "Connections that did not get through TLS" },
	[METRIC_TLS_END] = { GAUGE, BOTH, "dray_tls_certificate_end_seconds", PLAIN,
			     "When this host's certificate runs out, in seconds since 1970, as of the daemon's start or the last SIGHUP; 0: it has none" },
	[METRIC_PS_ACCEPTED] = { COUNTER, PAGE_SERVER, "dray_page_server_sessions_accepted_total", PLAIN, "Sessions that began" },
	[METRIC_PS_JOINED] = { COUNTER, PAGE_SERVER, "dray_page_server_connections_joined_total", PLAIN,
			       "Connections that were further ones of sessions under way, or took the place of one that was cut" },
	[METRIC_PS_REFUSED] = { COUNTER, PAGE_SERVER, "dray_page_server_sessions_refused_total", "kind", kind_name, 1, ERR_KINDS - 1,
				"Connections that got no session, by kind of error" },
	[METRIC_PS_RUNNING] = { GAUGE, PAGE_SERVER, "dray_page_server_sessions_running", PLAIN, "Sessions under way" },
	[METRIC_PS_ENDED] = { COUNTER, PAGE_SERVER, "dray_page_server_sessions_ended_total", "outcome", outcome_name, 0, METRIC_KILLED + 1,
			      "Sessions that ended: success means published, killed that the process died of a signal, else the kind of error" },
	[METRIC_PS_MAPS] = { COUNTER, PAGE_SERVER, "dray_page_server_page_maps_total", PLAIN, "Page maps opened" },
	[METRIC_PS_RANGES] = { COUNTER, PAGE_SERVER, "dray_page_server_ranges_total", PLAIN, "Ranges of pages and of holes" },
	[METRIC_PS_PAGES] = { COUNTER, PAGE_SERVER, "dray_page_server_pages_total", PLAIN, "Pages whose contents came" },
	[METRIC_PS_PAGE_BYTES] = { COUNTER, PAGE_SERVER, "dray_page_server_page_bytes_total", PLAIN, "Bytes of those contents" },
	[METRIC_PS_HOLE_PAGES] = { COUNTER, PAGE_SERVER, "dray_page_server_hole_pages_total", PLAIN,
				   "Pages that a sender left out because the set before has them" },
	[METRIC_PS_RECEIVED] = { COUNTER, PAGE_SERVER, "dray_page_server_received_bytes_total", PLAIN,
				 "Bytes taken from senders, headers included, after decryption" },
	[METRIC_PS_QUESTIONS] = { HISTOGRAM, PAGE_SERVER, "dray_page_server_question_seconds", NULL, NULL, 0, 0,
				  "Time from having read a question (PARENT, OPEN2) to having answered it" },
	[METRIC_MIG_ACCEPTED] = { COUNTER, AGENT, "dray_agent_migrations_accepted_total", PLAIN, "Migrations that began" },
	[METRIC_MIG_RUNNING] = { GAUGE, AGENT, "dray_agent_migrations_running", PLAIN, "Migrations under way" },
	[METRIC_MIG_ENDED] = { COUNTER, AGENT, "dray_agent_migrations_ended_total", "outcome", outcome_name, 0, METRIC_KILLED + 1,
			       "Migrations that ended: success means that the process lives here, killed that the session died of a signal, else "
			       "the kind of error" },
	[METRIC_MIG_ROUNDS] = { COUNTER, AGENT, "dray_agent_rounds_total", PLAIN, "Rounds received" },
	[METRIC_MIG_PAGES] = { COUNTER, AGENT, "dray_agent_pages_total", PLAIN, "Pages placed in rounds, those with contents" },
	[METRIC_MIG_ZERO_PAGES] = { COUNTER, AGENT, "dray_agent_zero_pages_total", PLAIN, "Pages that came as zeros or were dropped, without contents" },
	[METRIC_MIG_RECEIVED] = { COUNTER, AGENT, "dray_agent_received_bytes_total", PLAIN,
				  "Bytes of rounds on the data streams, headers included, after decryption" },
#undef PLAIN
};

static const uint64_t bucket_us[] = { 20, 50, 100, 200, 500, 1000, 5000, 20000, 100000, 1000000 };
enum { BUCKETS = sizeof(bucket_us) / sizeof(bucket_us[0]), BUCKET_REST = BUCKETS, HISTOGRAM_SUM };
_Static_assert((int)HISTOGRAM_SUM < (int)VALUES_MAX, "a value for each bucket");

/* --- the memory ----------------------------------------------------------------------------------------------------------------- */

static struct metrics *map(int fd)
{
	struct metrics *m = mmap(NULL, sizeof(*m), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return m == MAP_FAILED ? NULL : m;
}

struct metrics *metrics_create(enum metric_daemon daemon, struct err *e)
{
	cleanup_fd int fd = memfd_create("dray-metrics", MFD_CLOEXEC);
	struct metrics *m = fd >= 0 && ftruncate(fd, sizeof(*m)) == 0 ? map(fd) : NULL;

	if (!m) {
		err_sys(e, "memory for metrics");
		return NULL;
	}
	memcpy(m->version, DRAY_VERSION, sizeof(DRAY_VERSION));
	m->daemon = daemon;
	m->pid = getpid();
	m->fd = steal_fd(&fd);
	m->start_us = clock_us();
	metrics_set(m, METRIC_START_TIME, (uint64_t)time(NULL));
	return m;
}

void metrics_adopt(struct metrics *m)
{
	if (m)
		m->pid = getpid();
}

void metrics_destroy(struct metrics *m)
{
	if (!m)
		return;
	if (m->pid == getpid())
		close(m->fd);
	munmap(m, sizeof(*m));
}

int metrics_fd(const struct metrics *m)
{
	return m ? m->fd : -1;
}

struct metrics *metrics_attach(int fd)
{
	cleanup_fd int taken = fd;
	struct metrics *m = NULL;
	struct stat st;

	if (fstat(taken, &st) == 0 && st.st_size == (off_t)sizeof(*m))
		m = map(taken);
	if (m && strncmp(m->version, DRAY_VERSION, sizeof(m->version)) == 0)
		return m;
	if (m)
		munmap(m, sizeof(*m));
	return NULL;
}

void metrics_protect(struct metrics *m)
{
	if (m)
		mprotect(m, sizeof(*m), PROT_READ);
}

static void add(_Atomic uint64_t *to, uint64_t n)
{
	atomic_fetch_add_explicit(to, n, memory_order_relaxed);
}

static uint64_t get(const _Atomic uint64_t *from)
{
	return atomic_load_explicit(from, memory_order_relaxed);
}

static void set(_Atomic uint64_t *to, uint64_t n)
{
	atomic_store_explicit(to, n, memory_order_relaxed);
}

void metrics_add(struct metrics *m, enum metric metric, unsigned label, uint64_t n)
{
	if (m && n && label < VALUES_MAX)
		add(&m->value[metric][label], n);
}

void metrics_set(struct metrics *m, enum metric metric, uint64_t value)
{
	if (m)
		set(&m->value[metric][0], value);
}

uint64_t metrics_get(struct metrics *m, enum metric metric, unsigned label)
{
	return m && label < VALUES_MAX ? get(&m->value[metric][label]) : 0;
}

void metrics_observe(struct metrics *m, enum metric histogram, uint64_t us)
{
	unsigned i = 0;

	if (!m)
		return;
	while (i < BUCKETS && us > bucket_us[i])
		i++;
	add(&m->value[histogram][HISTOGRAM_SUM], us);
	add(&m->value[histogram][i], 1);
}

/* --- sessions ------------------------------------------------------------------------------------------------------------------- */

static const char *phase_name(enum session_phase phase)
{
	static const char *const names[PHASES] = {
		[PHASE_FREE] = "free",         [PHASE_STARTED] = "started", [PHASE_RECEIVING] = "receiving",   [PHASE_WRITING] = "writing",
		[PHASE_PREPARED] = "prepared", [PHASE_RUNNING] = "running", [PHASE_LATE_PAGES] = "late-pages",
	};

	return (unsigned)phase < PHASES ? names[phase] : "unknown";
}

/* What comes from strangers must not end a field or a line of the status. */
static void copy_plain(char *to, size_t size, const char *from)
{
	size_t n = strnlen(from, size - 1);

	memcpy(to, from, n);
	memset(to + n, 0, size - n);
	plain_text(to, n);
}

struct session_row *metrics_row_begin(struct metrics *m, uint64_t number, const char *peer, const char *dir)
{
	for (unsigned i = 0; m && i < ROWS_MAX; i++) {
		struct session_row *r = &m->row[i];

		if (atomic_load(&r->phase) != PHASE_FREE)
			continue;
		set(&r->number, number);
		set(&r->start_us, clock_us());
		set(&r->deadline_us, 0);
		set(&r->pages, 0);
		set(&r->bytes, 0);
		copy_plain(r->peer, sizeof(r->peer), peer);
		copy_plain(r->dir, sizeof(r->dir), dir);
		atomic_store(&r->phase, PHASE_STARTED);
		return r;
	}
	return NULL;
}

struct session_row *metrics_row(struct metrics *m, uint64_t index)
{
	return m && index < ROWS_MAX ? &m->row[index] : NULL;
}

uint64_t metrics_row_index(const struct metrics *m, const struct session_row *r)
{
	return m && r ? (uint64_t)(r - m->row) : ROWS_MAX;
}

void session_row_continue(struct session_row *to, const struct session_row *from)
{
	if (!to || !from)
		return;
	set(&to->start_us, get(&from->start_us));
	set(&to->pages, get(&from->pages));
	set(&to->bytes, get(&from->bytes));
}

void session_row_phase(struct session_row *r, enum session_phase phase)
{
	if (r)
		atomic_store(&r->phase, phase);
}

void metrics_row_end(struct session_row *r)
{
	session_row_phase(r, PHASE_FREE);
}

/* Fields: number, peer, phase, age in us, pages, bytes, time left in us ("-": no deadline), directory. */
static void print_row(const struct session_row *r, uint64_t now, FILE *out)
{
	uint64_t start = get(&r->start_us), deadline = get(&r->deadline_us);
	uint32_t phase = atomic_load(&r->phase);
	char peer[ROW_PEER_MAX], dir[ROW_DIR_MAX]; /* a session can write into its row, and is not believed either */

	if (phase == PHASE_FREE)
		return;
	copy_plain(peer, sizeof(peer), r->peer);
	copy_plain(dir, sizeof(dir), r->dir);
	fprintf(out, "session\t%" PRIu64 "\t%s\t%s\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t", get(&r->number), peer,
		phase_name((enum session_phase)phase), now > start ? now - start : 0, get(&r->pages), get(&r->bytes));
	if (deadline)
		fprintf(out, "%" PRIu64, deadline > now ? deadline - now : 0);
	else
		putc('-', out);
	fprintf(out, "\t%s\n", dir);
}

void metrics_print_status(struct metrics *m, FILE *out)
{
	bool agent = m->daemon == DAEMON_AGENT;
	enum metric ended = agent ? METRIC_MIG_ENDED : METRIC_PS_ENDED;
	uint64_t now = clock_us(), failed = 0;

	for (unsigned i = METRIC_SUCCESS + 1; i <= METRIC_KILLED; i++)
		failed += metrics_get(m, ended, i);
	fprintf(out, "server\t%s\t%d\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\n", agent ? "agent" : "page-server", (int)m->pid,
		now - m->start_us, metrics_get(m, agent ? METRIC_MIG_RUNNING : METRIC_PS_RUNNING, 0), metrics_get(m, ended, METRIC_SUCCESS), failed);
	for (unsigned i = 0; i < ROWS_MAX; i++)
		print_row(&m->row[i], now, out);
}

/* --- Prometheus ----------------------------------------------------------------------------------------------------------------- */

static const char *type_name(enum kind kind)
{
	static const char *const names[] = { [COUNTER] = "counter", [GAUGE] = "gauge", [HISTOGRAM] = "histogram" };

	return names[kind];
}

static bool belongs(const struct row *r, enum metric_daemon d)
{
	return r->owner == BOTH || (int)r->owner == (int)d;
}

/* The count is the last bucket, read once, so that they agree whatever is added meanwhile. */
static void print_histogram(const struct row *r, const _Atomic uint64_t *value, FILE *out)
{
	uint64_t sum_us = get(&value[HISTOGRAM_SUM]), n = 0;

	for (unsigned i = 0; i < BUCKETS; i++) {
		n += get(&value[i]);
		fprintf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", r->name, (double)bucket_us[i] / 1e6, n);
	}
	n += get(&value[BUCKET_REST]);
	fprintf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %" PRIu64 ".%06" PRIu64 "\n%s_count %" PRIu64 "\n", r->name, n, r->name,
		sum_us / 1000000, sum_us % 1000000, r->name, n);
}

static void print_values(const struct row *r, const _Atomic uint64_t *value, FILE *out)
{
	if (!r->label) {
		fprintf(out, "%s %" PRIu64 "\n", r->name, get(value));
		return;
	}
	for (unsigned i = r->first; i < r->first + r->count; i++)
		fprintf(out, "%s{%s=\"%s\"} %" PRIu64 "\n", r->name, r->label, r->label_name(i), get(&value[i]));
}

void metrics_print(struct metrics *m, FILE *out)
{
	for (unsigned i = 0; i < METRICS; i++) {
		const struct row *r = &table[i];

		if (!belongs(r, m->daemon))
			continue;
		fprintf(out, "# HELP %s %s.\n# TYPE %s %s\n", r->name, r->help, r->name, type_name(r->kind));
		if (r->kind == HISTOGRAM)
			print_histogram(r, m->value[i], out);
		else
			print_values(r, m->value[i], out);
	}
}

/* --- documents ------------------------------------------------------------------------------------------------------------------ */

static void print_labels(const struct row *r, const char *separator, FILE *out)
{
	for (unsigned i = r->first; i < r->first + r->count; i++)
		fprintf(out, "%s%s", i > r->first ? separator : "", r->label_name(i));
}

void metrics_print_table(FILE *out)
{
	static const char *const owners[] = { [PAGE_SERVER] = "page server", [AGENT] = "agent", [BOTH] = "both" };

	fputs("| Metric | Type | Of | |\n|---|---|---|---|\n", out);
	for (const struct row *r = table; r < table + METRICS; r++) {
		fprintf(out, "| `%s` | %s | %s | %s", r->name, type_name(r->kind), owners[r->owner], r->help);
		if (r->label) {
			fprintf(out, ". `%s`: ", r->label);
			print_labels(r, ", ", out);
		}
		fputs(" |\n", out);
	}
}

void metrics_print_man(enum metric_daemon d, FILE *out)
{
	fputs(".Bl -tag -width Ds\n", out);
	for (const struct row *r = table; r < table + METRICS; r++) {
		if (!belongs(r, d))
			continue;
		fprintf(out, ".It Li %s Pq %s\n%s.\n", r->name, type_name(r->kind), r->help);
		if (r->label) {
			fprintf(out, "Label\n.Li %s :\n", r->label);
			print_labels(r, ",\n", out);
			fputs(".\n", out);
		}
	}
	fputs(".El\n", out);
}
