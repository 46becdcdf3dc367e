/* SPDX-License-Identifier: Apache-2.0 */
/* workload - a process that dirties its memory at a stated rate and knows what it wrote.
 *
 * It allocates --size, fills it, and goes on to write whole pages, --rate bytes a second over --threads threads (0: as fast as it can).
 * Every page can be told right from wrong (tests/lib/page_data.h); the generation of each stands in a table of its own, so that a
 * page which a migration left behind is found. Signals: USR1 stops the writers, checks every page, writes a verdict to --report and goes
 * on; TERM prints a summary and ends. Exit 0: all that was checked was right; 3: it wasn't.
 *
 * --stats FILE gets a line for each 100 ms: time (us), pages written, largest gap between two wakes of a thread that
 * wants to wake every millisecond (us): what the process itself saw of being stopped. --beat FILE gets a number for each of those wakes, counting up by one: two
 * copies of the process running would show in it. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/io.h"
#include "tests/lib/bench_env.h"
#include "tests/lib/page_data.h"

enum { PAGE = 4096, TICK_US = 1000, STATS_US = 100000, THREADS_MAX = 64, MAPPINGS_MAX = 10000 };
enum pattern { SEQUENTIAL, UNIFORM, HOT, ZIPF };

struct config {
	size_t size;
	double rate; /* bytes per second, all threads; 0 unlimited */
	enum pattern pattern;
	enum page_data_kind data;
	unsigned threads, mappings;
	int thp; /* 1 on, 0 off, -1 as the system has it */
	bool verify, lock;
	uint64_t seed;
	const char *ready, *report, *stats, *beat;
};

/* A thread writes its own slice of the pages only, so that generation and page need no lock. */
struct writer {
	struct workload *w;
	pthread_t thread;
	uint64_t first, pages;
	uint64_t cursor, rng;
	_Atomic uint64_t written, bad;
};

struct workload {
	struct config c;
	unsigned char *mem;
	uint32_t *generation; /* of each page */
	uint64_t pages;
	struct page_data *data;
	struct writer writer[THREADS_MAX];
	pthread_mutex_t lock;    /* of what follows */
	pthread_cond_t changed;
	unsigned parked;
	bool pause, stop;
	_Atomic bool wanted;     /* pause or stop, looked at without the lock */
	uint64_t filled_us;
	uint64_t largest_gap_us, gap_at_us;
};

static volatile sig_atomic_t want_check, want_end;

static void on_signal(int sig)
{
	if (sig == SIGUSR1)
		want_check = 1;
	else
		want_end = 1;
}

/* Rank within n, 1/rank weighted: a uniform choice of the power of two, then uniform inside it. */
static uint64_t zipf_rank(uint64_t *rng, uint64_t n)
{
	unsigned bits = 64 - (unsigned)__builtin_clzll(n);
	uint64_t low = 1ull << (rand_next(rng) % bits);
	uint64_t r = low + rand_next(rng) % low - 1;

	return r < n ? r : n - 1;
}

/* Spreads ranks over the slice, so that hot pages are not neighbours. The factor is prime and above any page count. */
static uint64_t scatter(uint64_t rank, uint64_t n)
{
	return (uint64_t)((unsigned __int128)rank * 2305843009213693951ull % n);
}

static uint64_t next_page(struct writer *t, enum pattern pattern)
{
	uint64_t n = t->pages, hot = n / 10 ? n / 10 : 1;

	switch (pattern) {
	case SEQUENTIAL:
		return t->cursor++ % n;
	case UNIFORM:
		return rand_next(&t->rng) % n;
	case HOT: /* nine writes in ten go to a tenth of the pages */
		return rand_next(&t->rng) % 10 ? rand_next(&t->rng) % hot : rand_next(&t->rng) % n;
	case ZIPF:
		return scatter(zipf_rank(&t->rng, n), n);
	}
	return 0;
}

static bool page_right(const struct workload *w, uint64_t i)
{
	return page_data_check(w->data, w->mem + i * PAGE, i, w->generation[i]);
}

static void write_one(struct writer *t)
{
	struct workload *w = t->w;
	uint64_t i = t->first + next_page(t, w->c.pattern);

	if (w->c.verify && !page_right(w, i))
		atomic_fetch_add(&t->bad, 1);
	page_data_write(w->data, w->mem + i * PAGE, i, ++w->generation[i]);
	atomic_fetch_add_explicit(&t->written, 1, memory_order_relaxed);
}

/* Held while a check runs. False: end. */
static bool may_go_on(struct workload *w)
{
	bool go;

	if (!atomic_load_explicit(&w->wanted, memory_order_relaxed))
		return true;
	pthread_mutex_lock(&w->lock);
	w->parked++;
	pthread_cond_broadcast(&w->changed);
	while (w->pause && !w->stop)
		pthread_cond_wait(&w->changed, &w->lock);
	w->parked--;
	go = !w->stop;
	pthread_mutex_unlock(&w->lock);
	return go;
}

static void sleep_until(uint64_t us)
{
	struct timespec ts = { .tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000 };

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

static void *writer_main(void *arg)
{
	struct writer *t = arg;
	const struct config *c = &t->w->c;
	double per_tick = c->rate / c->threads / PAGE * TICK_US / 1e6, due = 0;
	uint64_t next = clock_us(), now;

	while (may_go_on(t->w)) {
		if (c->rate == 0) {
			for (unsigned i = 0; i < 64; i++)
				write_one(t);
			continue;
		}
		for (due += per_tick; due >= 1; due--)
			write_one(t);
		next += TICK_US;
		now = clock_us();
		if (now > next + 20 * TICK_US) /* it was stopped: what it missed is missed, no burst */
			next = now;
		sleep_until(next);
	}
	return NULL;
}

static uint64_t sum_written(const struct workload *w)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < w->c.threads; i++)
		n += atomic_load(&w->writer[i].written);
	return n;
}

static uint64_t sum_bad(const struct workload *w)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < w->c.threads; i++)
		n += atomic_load(&w->writer[i].bad);
	return n;
}

static void set_pause(struct workload *w, bool on)
{
	pthread_mutex_lock(&w->lock);
	w->pause = on;
	atomic_store(&w->wanted, on || w->stop);
	pthread_cond_broadcast(&w->changed);
	while (on && w->parked < w->c.threads)
		pthread_cond_wait(&w->changed, &w->lock);
	pthread_mutex_unlock(&w->lock);
}

/* Every page, the writers standing still. Returns how many are wrong, the first of them in *first. */
static uint64_t check_all(struct workload *w, uint64_t *first)
{
	uint64_t bad = 0;

	for (uint64_t i = 0; i < w->pages; i++) {
		if (!page_right(w, i) && bad++ == 0)
			*first = i;
	}
	return bad + (page_data_intact(w->data) ? 0 : 1);
}

static bool write_file(const char *path, const char *text)
{
	char tmp[4096];
	int fd;
	bool ok;

	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.new", path) >= sizeof(tmp))
		return false;
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return false;
	ok = write_full(fd, text, strlen(text)) == 0;
	close(fd);
	return ok && rename(tmp, path) == 0;
}

static uint64_t check_and_report(struct workload *w)
{
	char text[256];
	uint64_t first = 0, bad;

	set_pause(w, true);
	bad = check_all(w, &first);
	snprintf(text, sizeof(text), "{\"verdict\":\"%s\",\"pages\":%llu,\"bad\":%llu,\"first_bad\":%llu,\"bad_seen\":%llu,\"written\":%llu}\n",
		 bad || sum_bad(w) ? "wrong" : "right", (unsigned long long)w->pages, (unsigned long long)bad, (unsigned long long)first,
		 (unsigned long long)sum_bad(w), (unsigned long long)sum_written(w));
	if (w->c.report && !write_file(w->c.report, text))
		fprintf(stderr, "workload: %s: %s\n", w->c.report, strerror(errno));
	set_pause(w, false);
	return bad;
}

static int open_append(const char *path)
{
	int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666) : -1;

	if (path && fd < 0) {
		fprintf(stderr, "workload: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	return fd;
}

/* A full disk ends the run: figures with holes in them would look like gaps. */
static void say(int fd, const char *line)
{
	if (fd >= 0 && write_full(fd, line, strlen(line)) != 0)
		want_end = 1;
}

/* The main thread: wakes every millisecond, notes how late it is, counts, answers signals. */
static uint64_t watch(struct workload *w)
{
	int stats = open_append(w->c.stats), beat = open_append(w->c.beat);
	char line[96];
	uint64_t last = clock_us(), next = last, line_at = last + STATS_US, gap = 0, seen = 0, count = 0, bad = 0, now;

	while (!want_end) {
		next += TICK_US;
		sleep_until(next);
		now = clock_us();
		if (now - last > gap)
			gap = now - last;
		if (now - last > w->largest_gap_us) {
			w->largest_gap_us = now - last;
			w->gap_at_us = last;
		}
		last = now;
		if (now > next)
			next = now;
		snprintf(line, sizeof(line), "%llu\n", (unsigned long long)++count);
		say(beat, line);
		if (now >= line_at) {
			uint64_t all = sum_written(w);

			snprintf(line, sizeof(line), "%llu %llu %llu\n", (unsigned long long)now, (unsigned long long)(all - seen),
				 (unsigned long long)gap);
			say(stats, line);
			seen = all;
			gap = 0;
			line_at = now + STATS_US;
		}
		if (want_check) {
			want_check = 0;
			bad += check_and_report(w);
			last = next = clock_us(); /* standing still for a check is no gap */
		}
	}
	return bad;
}

static void die(const char *what)
{
	fprintf(stderr, "workload: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Neighbours differ, or the kernel would make one of them. */
static void make_mappings(const struct workload *w)
{
	uint64_t share = w->pages / w->c.mappings * PAGE;

	for (uint64_t i = 1; i < w->c.mappings; i += 2)
		if (mprotect(w->mem + i * share, share, PROT_READ | PROT_WRITE | PROT_EXEC) < 0)
			die("mappings");
}

static void prepare(struct workload *w)
{
	w->pages = w->c.size / PAGE;
	w->data = page_data_create(w->c.data, w->c.seed);
	w->mem = mmap(NULL, w->pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	w->generation = mmap(NULL, w->pages * sizeof(uint32_t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!w->data || w->mem == MAP_FAILED || w->generation == MAP_FAILED)
		die("memory");
	make_mappings(w);
	if (w->c.thp >= 0)
		madvise(w->mem, w->pages * PAGE, w->c.thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	for (uint64_t i = 0; i < w->pages; i++)
		page_data_write(w->data, w->mem + i * PAGE, i, 0);
	if (w->c.lock && syscall(SYS_mlock, w->mem, w->pages * PAGE) < 0) /* the address sanitizer makes nothing of the function */
		die("mlock");
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, NULL);
	w->filled_us = clock_us();
}

static void start_writers(struct workload *w)
{
	uint64_t share = w->pages / w->c.threads;

	for (unsigned i = 0; i < w->c.threads; i++) {
		struct writer *t = &w->writer[i];

		t->w = w;
		t->first = i * share;
		t->pages = i + 1 == w->c.threads ? w->pages - t->first : share;
		t->rng = w->c.seed + i;
		if (pthread_create(&t->thread, NULL, writer_main, t))
			die("thread");
	}
}

static void stop_writers(struct workload *w)
{
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	atomic_store(&w->wanted, true);
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	for (unsigned i = 0; i < w->c.threads; i++)
		pthread_join(w->writer[i].thread, NULL);
}

static void usage(FILE *f)
{
	fputs("usage: workload [--size BYTES[K|M|G]] [--rate MB/s (0: unlimited)] [--pattern sequential|uniform|hot|zipf]\n"
	      "  [--data zero|text|random|heap] [--threads N] [--mappings N] [--thp on|off] [--lock] [--verify] [--seed N]\n"
	      "  [--ready FILE] [--report FILE] [--stats FILE] [--beat FILE]\n"
	      "USR1: check all, verdict to --report.  TERM: summary, end (3: something was wrong).\n", f);
}

static bool parse_pattern(const char *name, enum pattern *p)
{
	static const char *const names[] = { "sequential", "uniform", "hot", "zipf" };

	for (unsigned i = 0; i < 4; i++) {
		if (strcmp(name, names[i]) == 0) {
			*p = (enum pattern)i;
			return true;
		}
	}
	return false;
}

static bool parse_number(const char *text, double max, double *v)
{
	char *end;

	*v = strtod(text, &end);
	return end != text && *end == '\0' && *v >= 0 && *v <= max;
}

static bool parse_one(int opt, const char *arg, struct config *c)
{
	double v;

	switch (opt) {
	case 's': return bench_size(arg, &c->size);
	case 'r':
		if (!parse_number(arg, 1e6, &v))
			return false;
		c->rate = v * 1e6;
		return true;
	case 'p': return parse_pattern(arg, &c->pattern);
	case 'd': return page_data_parse(arg, &c->data);
	case 't':
		if (!parse_number(arg, THREADS_MAX, &v) || v < 1)
			return false;
		c->threads = (unsigned)v;
		return true;
	case 'h':
		c->thp = strcmp(arg, "on") == 0;
		return c->thp || strcmp(arg, "off") == 0;
	case 'v': c->verify = true; return true;
	case 'l': c->lock = true; return true;
	case 'm':
		if (!parse_number(arg, MAPPINGS_MAX, &v) || v < 1)
			return false;
		c->mappings = (unsigned)v;
		return true;
	case 'S':
		c->seed = strtoull(arg, NULL, 0);
		return true;
	case 'R': c->ready = arg; return true;
	case 'o': c->report = arg; return true;
	case 'a': c->stats = arg; return true;
	case 'b': c->beat = arg; return true;
	default: return false;
	}
}

static bool parse(int argc, char **argv, struct config *c)
{
	static const struct option options[] = {
		{ "size", 1, NULL, 's' }, { "rate", 1, NULL, 'r' }, { "pattern", 1, NULL, 'p' }, { "data", 1, NULL, 'd' },
		{ "threads", 1, NULL, 't' }, { "mappings", 1, NULL, 'm' }, { "thp", 1, NULL, 'h' }, { "verify", 0, NULL, 'v' }, { "lock", 0, NULL, 'l' }, { "seed", 1, NULL, 'S' },
		{ "ready", 1, NULL, 'R' }, { "report", 1, NULL, 'o' }, { "stats", 1, NULL, 'a' }, { "beat", 1, NULL, 'b' },
		{ 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (!parse_one(opt, optarg, c)) {
			if (opt != '?')
				fprintf(stderr, "workload: bad value: %s\n", optarg);
			return false;
		}
	}
	return optind == argc && c->size / PAGE >= c->threads && c->size / PAGE >= c->mappings;
}

int main(int argc, char **argv)
{
	static struct workload w = { .c = { .size = 64 << 20, .rate = 50e6, .pattern = UNIFORM, .data = PAGE_RANDOM, .threads = 1, .mappings = 1,
					    .thp = -1, .seed = 1 } };
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	uint64_t bad, started;

	if (!parse(argc, argv, &w.c)) {
		usage(stderr);
		return 2;
	}
	sigaction(SIGUSR1, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	prepare(&w);
	start_writers(&w);
	started = clock_us();
	printf("ready %d\n", (int)getpid());
	fflush(stdout);
	if (w.c.ready && !write_file(w.c.ready, "ready\n"))
		die(w.c.ready);
	bad = watch(&w);
	stop_writers(&w);
	bad += sum_bad(&w);
	printf("{\"written_mb_s\":%.1f,\"largest_gap_ms\":%.3f,\"gap_at_us\":%llu,\"bad\":%llu}\n",
	       (double)sum_written(&w) * PAGE / (double)(clock_us() - started), (double)w.largest_gap_us / 1000,
	       (unsigned long long)w.gap_at_us, (unsigned long long)bad);
	page_data_destroy(w.data);
	return bad ? 3 : 0;
}
