/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/conduct/source.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "migrate/conduct/host_facts.h"
#include "migrate/conduct/settle.h"
#include "migrate/conduct/source_priv.h"
#include "migrate/conduct/target.h"
#include "migrate/dump/tracker_left.h"
#include "migrate/extract/sample.h"
#include "migrate/native/capture.h"
#include "proto/base/cleanup.h"
#include "proto/base/fault.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/base/sock.h"
#include "proto/wire/control.h"

enum { OFFER_MS = 30 * 1000 };

/* --- before anything is touched -------------------------------------------------------------------------------------------------- */

static int refuse_obstacles(struct source *s)
{
	struct capture_options opt = { .tcp_close = s->config->tcp_close, .writes_untracked_ok = s->config->tracker == TRACKER_NONE };
	struct obstacles o = { 0 };
	int rc;

	tracker_left_drop(s->pid); /* pre-dumps that no dump followed; we track by ourselves */
	rc = capture_check_seen(s->pid, &opt, &o, &s->flags_seen, s->err);
	if (rc == 0 && o.count > 0)
		rc = obstacles_refuse(&o, NULL, s->err);
	obstacles_finish(&o);
	return rc;
}

static int resolve_tracker(struct source *s, enum tracker_kind *kind)
{
	*kind = s->config->tracker == TRACKER_AUTO ? tracker_best() : s->config->tracker;
	if (!tracker_probe(*kind, s->err))
		return err_wrap(s->err, "--tracker %s", tracker_name(*kind));
	s->report->tracker = tracker_name(*kind);
	return 0;
}

/* Its helper process is to be small, and to hold nothing of the target's: it comes first. */
static int start_tls(struct source *s)
{
	if (!tls_configured(&s->config->tls))
		return 0;
	s->link.tls = tls_gate_start(&s->config->tls, s->err);
	return s->link.tls ? 0 : -1;
}

static int open_journal(struct source *s)
{
	char hex[33];

	settle_leftovers(s->config->state_dir);
	migration_id_new(&s->link.id);
	migration_id_format(&s->link.id, hex);
	memcpy(s->report->id, hex, sizeof(hex));
	s->journal = journal_open(s->config->state_dir, &s->link.id, JOURNAL_SOURCE, s->err);
	return s->journal ? 0 : -1;
}

/* Both hosts may be one: each side's cgroup has a name of its own. */
static void name_cgroup(const struct source *s, char name[48])
{
	snprintf(name, 48, "%s-source", s->report->id);
}

static int start_keeper(struct source *s, struct settle_facts *facts)
{
	const struct keeper_settler settler = { .decide = settle_for_keeper, .settled = settled_by_keeper, .arg = facts };
	char name[48];

	name_cgroup(s, name);
	facts->id = s->link.id;
	facts->tls = &s->config->tls;
	snprintf(facts->state_dir, sizeof(facts->state_dir), "%s", s->config->state_dir);
	snprintf(facts->destination, sizeof(facts->destination), "%s", s->config->destination);
	snprintf(facts->congestion, sizeof(facts->congestion), "%s", s->config->congestion ? s->config->congestion : "");
	s->keeper = keeper_start(s->pid, name, &settler, s->err);
	return s->keeper ? 0 : -1;
}

/* --- the destination -------------------------------------------------------------------------------------------------------------- */

static int make_offer(struct source *s, const struct target_facts *t)
{
	Drayage__Offer offer = DRAYAGE__OFFER__INIT;
	Drayage__OfferReply *reply;
	struct host_facts host;
	char name[65] = "";

	if (host_facts_read(&host, s->err) < 0)
		return -1;
	gethostname(name, sizeof(name) - 1);
	offer.pid = t->tree_pid;
	offer.comm = s->report->comm;
	offer.source_host = name;
	offer.page_size = host.page_size;
	offer.present_bytes = t->present_bytes;
	offer.streams = s->report->streams;
	offer.pid_policy = s->config->pid_policy;
	offer.vdso_digest = host.vdso_digest;
	offer.xfeatures = host.xfeatures;
	offer.xsave_size = host.xsave_size;
	offer.tids = (uint32_t *)(uintptr_t)t->tid;
	offer.n_tids = t->tids;
	if (control_send(s->control, CONTROL_OFFER, &offer.base, s->err) < 0)
		return -1;
	reply = (Drayage__OfferReply *)control_expect(s->control, OFFER_MS, CONTROL_OFFER_REPLY, s->err);
	if (!reply)
		return -1;
	snprintf(s->identity, sizeof(s->identity), "%s", reply->identity ? reply->identity : "");
	s->link.identity = s->identity;
	if (s->facts.features & HELLO_FEATURE_AGAIN && reply->has_stream_token && reply->stream_token.len == STREAM_TOKEN_SIZE)
		memcpy(s->link.token.byte, reply->stream_token.data, STREAM_TOKEN_SIZE);
	else
		s->facts.features &= ~HELLO_FEATURE_AGAIN;
	protobuf_c_message_free_unpacked(&reply->base, NULL);
	return 0;
}

static int connect_destination(struct source *s, const struct target_facts *t)
{
	s->link.address = s->config->destination;
	s->link.congestion = s->config->congestion;
	s->link.features = HELLO_FEATURES_KNOWN;
	if (s->config->reconnect_timeout_ms == 0)
		s->link.features &= ~HELLO_FEATURE_AGAIN;
	s->control = link_open(&s->link, HELLO_CONTROL, 0, &s->facts, s->err);
	if (s->control < 0 || make_offer(s, t) < 0)
		return -1;
	s->report->tls = s->facts.tls;
	fault_point("source.connected", s->control);
	return 0;
}

static int open_streams(struct source *s, int *sockets)
{
	for (unsigned i = 0; i < s->report->streams; i++) {
		sockets[i] = link_open(&s->link, HELLO_STREAM, i, NULL, s->err);
		if (sockets[i] < 0) {
			while (i > 0)
				close(sockets[--i]);
			return err_wrap(s->err, "stream");
		}
	}
	return 0;
}

/* --- the target ------------------------------------------------------------------------------------------------------------------- */

static void drop_twins(struct source *s)
{
	for (unsigned i = 0; i < s->armed.twin_count; i++) {
		close(s->armed.twins[i].command_write);
		close(s->armed.twins[i].pipe_read);
	}
	s->armed.twin_count = 0;
}

/* Written down before it is made: it is to be taken away even where both that could do it are killed. What needs no cgroup leaves nothing. */
static int record_plan(struct source *s)
{
	char name[48];

	name_cgroup(s, name);
	if (freezer_plan(&s->record.freezer, s->pid, name, s->err) < 0)
		return -1;
	return s->record.freezer.kind == FREEZER_CGROUP ? source_record(s, JOURNAL_ARMED) : 0;
}

/* It may have been moved to another one since, or could not be moved to ours. */
static int record_made(struct source *s)
{
	const struct freezer *made = &s->armed.freezer;

	if (made->kind == FREEZER_SIGSTOP)
		journal_remove(s->journal);
	if (made->kind != FREEZER_CGROUP || strcmp(made->cgroup, s->record.freezer.cgroup) == 0)
		return 0;
	s->record.freezer = *made;
	return source_record(s, JOURNAL_ARMED);
}

static int arm(struct source *s, enum tracker_kind tracker)
{
	bool wants_twins = s->config->extract != EXTRACT_COPY && s->config->compress != COMPRESS_LZ4;

	if (record_plan(s) < 0)
		return -1;
	if (keeper_arm(s->keeper, tracker == TRACKER_WP_ASYNC, wants_twins ? s->report->streams : 0, &s->armed, s->err) < 0)
		return err_wrap(s->err, "arm process %d", (int)s->pid);
	if (record_made(s) < 0)
		return -1;
	s->report->arm_stopped_us = s->armed.stopped_us;
	s->tracker = tracker_open(tracker, s->pid, s->armed.uffd, s->err);
	s->armed.uffd = -1; /* the tracker's now, or closed by it */
	if (!s->tracker)
		return -1;
	monitor_tell(s, EVENT_ARMED, NULL);
	fault_point("source.armed", s->control);
	return 0;
}

static const char *compress_name(enum compress_mode mode)
{
	static const char *const names[] = { [COMPRESS_AUTO] = "auto", [COMPRESS_LZ4] = "lz4", [COMPRESS_NONE] = "none" };

	return names[mode];
}

/* A look at the memory before the choice between splicing and copying. */
static int probe_contents(struct source *s, struct extract_facts *facts)
{
	struct sample_facts f;

	if (s->config->extract != EXTRACT_AUTO)
		return 0;
	if (vma_list_read(&s->vmas, s->pid, VMA_READ_MAPS, s->err) < 0 || sample_contents(s->pid, &s->vmas, &f, s->err) < 0)
		return -1;
	facts->zero_percent = f.zero_percent;
	return 0;
}

static bool control_ended(const struct source *s)
{
	struct pollfd control = { .fd = s->control, .events = POLLRDHUP };

	return poll(&control, 1, 0) > 0 && control.revents;
}

/* By a stream's thread. A control connection that has ended takes the migration along: there is nothing to come back to. */
static int reconnect_stream(void *arg, unsigned index, int patience_ms, bool *hopeless, struct err *e)
{
	struct source *s = arg;
	struct link_config link = s->link;
	bool ended;
	int fd = -1;

	link.patience_ms = patience_ms;
	pthread_mutex_lock(&s->reconnect_lock);
	ended = control_ended(s);
	if (ended)
		err_set(e, ERR_PEER, 0, "the control connection has ended too");
	else
		fd = link_open(&link, HELLO_AGAIN, index, NULL, e);
	*hopeless = fd < 0 && (ended || e->kind == ERR_CONFLICT);
	pthread_mutex_unlock(&s->reconnect_lock);
	return fd;
}

static void allow_reconnect(struct source *s, struct sender_config *c)
{
	const struct migrate_config *config = s->config;

	if (!(s->facts.features & HELLO_FEATURE_AGAIN))
		return;
	c->reconnect = reconnect_stream;
	c->reconnect_arg = s;
	c->patience_ms = config->reconnect_timeout_ms;
	c->frozen_patience_ms = config->downtime_limit_ms < c->patience_ms ? config->downtime_limit_ms : c->patience_ms;
}

static int start_sender(struct source *s)
{
	int sockets[STREAMS_MAX];
	struct sender_config c = { .pid = s->pid, .streams = s->report->streams, .compress = s->config->compress,
				   .max_bandwidth = s->config->max_bandwidth, .twins = s->armed.twins, .sockets = sockets };
	struct extract_facts facts = { .twins = s->armed.twin_count >= s->report->streams, .compress = s->config->compress,
				       .link_bytes_per_s = s->facts.bytes_per_s, .max_bandwidth = s->config->max_bandwidth };

	if (s->config->extract == EXTRACT_SPLICE && !facts.twins)
		return err_set(s->err, ERR_UNSUPPORTED, 0, "--extract splice: process %d takes no helper into its memory (seccomp?); --extract copy needs none",
			       (int)s->pid);
	if (probe_contents(s, &facts) < 0)
		return -1;
	c.extract = sender_choose_extract(s->config->extract, &facts);
	if (!(s->facts.features & HELLO_FEATURE_LZ4))
		c.compress = COMPRESS_NONE;
	s->report->extract = c.extract == EXTRACT_SPLICE ? "splice" : "copy";
	s->report->compress = c.extract == EXTRACT_SPLICE ? "none" : compress_name(c.compress);
	allow_reconnect(s, &c);
	if (open_streams(s, sockets) < 0)
		return -1;
	/* Twins that are not used stay idle until the end: one whose pipe is closed ends, and is then a dead child of the target. */
	if (c.extract == EXTRACT_SPLICE)
		s->armed.twin_count = 0; /* the sender's now */
	s->sender = sender_create(&c, s->err);
	return s->sender ? 0 : -1;
}

/* What a freeze costs beside the last pages and the look for them, before one was made: some round trips, the state, the rebuild. Measured parts of
 * many migrations: docs/performance.md, prediction error. */
static uint64_t estimate_fixed_us(const struct source *s, const struct target_facts *t)
{
	return 4700 + 4ull * s->facts.rtt_us + 16ull * t->mappings + 300ull * t->tids;
}

/* --- the whole -------------------------------------------------------------------------------------------------------------------- */

static void set_outcome(struct source *s)
{
	struct migration_report *r = s->report;

	if (r->outcome != MIGRATION_UNFINISHED)
		return; /* moved or undecided: known already */
	if (s->err->kind == ERR_CANCELLED)
		r->outcome = MIGRATION_CANCELLED;
	else if (s->err->kind == ERR_GONE && !target_lives(s->pid))
		r->outcome = MIGRATION_GONE;
	else
		r->outcome = MIGRATION_ABORTED;
}

/* First of all the tree: runs on, ends, or stays stopped. False: it could not be made so. */
static bool end_target(struct source *s)
{
	enum keeper_verdict how = KEEPER_THAW;
	struct err e = { 0 };

	if (s->report->outcome == MIGRATION_MOVED)
		how = s->config->keep_source ? KEEPER_STAY_FROZEN : KEEPER_KILL;
	else if (s->report->outcome == MIGRATION_UNDECIDED)
		how = KEEPER_STAY_FROZEN;
	s->report->kept_source = s->report->outcome == MIGRATION_MOVED && s->config->keep_source;
	if (s->keeper && keeper_end(s->keeper, how, &e) < 0)
		log_event(LOG_ERROR, "keeper-end", "error=\"%s\"", e.text);
	s->keeper = NULL;
	if (how == KEEPER_THAW && s->freeze_us) {
		s->report->blackout_us = clock_us() - s->freeze_us;
		monitor_tell(s, EVENT_THAW, NULL);
	}
	return !err_is_set(&e) || e.kind == ERR_GONE;
}

/* Our record goes, or stays for `dray recover`. True: nobody will ask the destination on our behalf any more. */
static bool end_record(struct source *s, bool ended)
{
	bool over = ended && s->report->outcome != MIGRATION_UNDECIDED;

	if (over && s->report->kept_source)
		over = !err_is_set(s->err); /* else that it is kept could not be written down */
	else if (over)
		journal_remove(s->journal);
	journal_close(s->journal);
	return over;
}

/* The destination may forget. Not before: who asked it then would hear that the process never ran there. */
static void say_done(struct source *s)
{
	Drayage__Done done = DRAYAGE__DONE__INIT;
	struct err ignored;

	/* It waits for half a minute; the end of an original with much memory may take longer. */
	if (s->asked || control_ended(s) || control_send(s->control, CONTROL_DONE, &done.base, &ignored) < 0)
		link_forget(&s->link);
	fault_point("source.done", s->control);
}

static void tell_abort(struct source *s)
{
	Drayage__Abort m = DRAYAGE__ABORT__INIT;
	struct err ignored;

	if (s->control < 0 || s->report->outcome == MIGRATION_MOVED || s->report->outcome == MIGRATION_UNDECIDED)
		return;
	m.kind = s->err->kind;
	m.number = s->err->num;
	m.text = s->err->text;
	control_send(s->control, CONTROL_ABORT, &m.base, &ignored);
}

static void finish(struct source *s)
{
	bool ended;

	monitor_stop(s);
	set_outcome(s);
	ended = end_target(s);
	tell_abort(s);
	if (end_record(s, ended) && s->report->outcome == MIGRATION_MOVED)
		say_done(s);
	if (s->sender)
		s->report->reconnections = sender_reconnections(s->sender);
	sender_destroy(s->sender);
	tracker_close(s->tracker);
	drop_twins(s);
	if (s->armed.uffd >= 0)
		close(s->armed.uffd);
	if (s->control >= 0)
		close(s->control);
	late_source_destroy(s->late);
	run_list_finish(&s->late_runs);
	vma_list_finish(&s->flags_seen);
	vma_list_finish(&s->late_seen);
	tls_gate_stop(s->link.tls);
	layout_finish(&s->layout);
	collected_finish(&s->collected);
	vma_list_finish(&s->vmas);
	s->report->total_us = clock_us() - s->start_us;
	monitor_tell(s, EVENT_END, NULL);
}

static int prepare_migration(struct source *s, struct target_facts *t, struct settle_facts *facts)
{
	enum tracker_kind tracker;
	int rc = target_read(t, s->pid, s->err);

	s->report->found = t->found;
	if (rc < 0)
		return -1;
	snprintf(s->report->comm, sizeof(s->report->comm), "%s", t->comm);
	if (resolve_tracker(s, &tracker) < 0 || refuse_obstacles(s) < 0)
		return -1;
	if (start_tls(s) < 0 || open_journal(s) < 0 || start_keeper(s, facts) < 0)
		return -1;
	monitor_tell(s, EVENT_START, NULL);
	if (connect_destination(s, t) < 0 || arm(s, tracker) < 0 || start_sender(s) < 0)
		return -1;
	s->fixed_us = estimate_fixed_us(s, t);
	return monitor_start(s);
}

/* With no tracker every page is sent in the freeze, and rounds before it would be for nothing. */
static int conduct(struct source *s)
{
	if (tracker_kind_of(s->tracker) == TRACKER_NONE)
		s->late_wanted = s->config->postcopy;
	else if (rounds_until_freeze(s) < 0)
		return -1;
	return handover(s);
}

int migration_run(const struct migrate_config *config, int cancel_fd, const struct observer *observer, struct migration_report *report)
{
	struct source s = { .config = config, .observer = observer, .report = report, .err = &report->error, .control = -1,
			    .pid = (pid_t)config->pid, .cancel_fd = cancel_fd, .start_us = clock_us(), .armed = { .uffd = -1 },
			    .reconnect_lock = PTHREAD_MUTEX_INITIALIZER,
			    .monitor = { .stop_fd = -1, .observer_lock = PTHREAD_MUTEX_INITIALIZER } };
	struct target_facts target = { 0 };
	struct settle_facts facts = { 0 };
	int rc;

	memset(report, 0, sizeof(*report));
	report->pid = s.pid;
	report->streams = (unsigned)config->streams;
	report->engine = "native";
	snprintf(report->destination, sizeof(report->destination), "%s", config->destination);
	rc = prepare_migration(&s, &target, &facts);
	if (rc == 0)
		rc = conduct(&s);
	if (rc < 0 && report->found && !s.commit_sent && monitor_explain(&s) < 0 && !target_lives(s.pid) && s.err->kind != ERR_CANCELLED)
		err_set(s.err, ERR_GONE, 0, "process %d ended while it was being moved", (int)s.pid);
	finish(&s);
	target_finish(&target);
	return rc;
}
