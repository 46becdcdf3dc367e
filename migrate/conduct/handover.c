/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/conduct/settle.h"
#include "migrate/conduct/source_priv.h"
#include "migrate/conduct/target.h"
#include "migrate/conduct/verify.h"
#include "proto/base/fault.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/wire/control.h"
#include "proto/wire/manifest_message.h"

enum { PREPARED_MS = 60 * 1000, RUNNING_MS = 20 * 1000 };
#define ASK_PATIENCE_US (60ull * 1000000)

/* The description of the process is taken by the keeper while the last pages travel. */
struct capture_job {
	struct source *source;
	uint8_t *state;
	size_t len;
	uint64_t us;
	int rc;
	struct err err;
	pthread_t thread;
};

static void *capture_main(void *arg)
{
	struct capture_job *job = arg;
	struct source *s = job->source;
	struct capture_options opt = { .tcp_close = s->config->tcp_close,
				       .writes_untracked_ok = tracker_kind_of(s->tracker) == TRACKER_NONE };
	uint64_t begin = clock_us();

	job->rc = keeper_capture(s->keeper, &opt, &job->state, &job->len, &job->err);
	job->us = clock_us() - begin;
	return NULL;
}

static int last_pages_and_state(struct source *s, struct capture_job *job)
{
	int rc = pthread_create(&job->thread, NULL, capture_main, job);

	if (rc != 0)
		return err_set(s->err, ERR_SYSTEM, rc, "capture thread");
	/* A system call made for the description lets the kernel write where the thread's restartable sequences are registered: harmless, since it
	 * does so again wherever the thread goes on, but different. Who compares every byte wants them to come one after the other. */
	if (s->config->verify)
		pthread_join(job->thread, NULL);
	rc = round_frozen(s);
	if (!s->config->verify)
		pthread_join(job->thread, NULL);
	s->report->part.capture_us = job->us;
	if (job->rc < 0) {
		*s->err = job->err;
		return err_wrap(s->err, "capture");
	}
	return rc;
}

static int send_state(struct source *s, const struct capture_job *job)
{
	Drayage__State m = DRAYAGE__STATE__INIT;

	if (job->len > STATE_MAX)
		return err_set(s->err, ERR_LIMIT, 0, "the process's state takes %zu bytes, more than %d", job->len, STATE_MAX);
	m.tree.data = job->state;
	m.tree.len = job->len;
	if (control_send(s->control, CONTROL_STATE, &m.base, s->err) < 0)
		return -1;
	fault_point("source.state-sent", s->control);
	return 0;
}

int source_record(struct source *s, enum journal_state state)
{
	struct journal_record *r = &s->record;

	r->state = state;
	r->keep_source = s->config->keep_source;
	snprintf(r->peer, sizeof(r->peer), "%s", s->config->destination);
	snprintf(r->comm, sizeof(r->comm), "%s", s->report->comm);
	snprintf(r->identity, sizeof(r->identity), "%s", s->identity);
	return journal_write(s->journal, r, s->err);
}

/* Meanwhile the destination rebuilds: the stop is made to outlive us, and where it is written down. */
static int hold(struct source *s)
{
	if (keeper_hold(s->keeper, &s->record.freezer, s->err) < 0)
		return err_wrap(s->err, "hold the process");
	return source_record(s, JOURNAL_FROZEN);
}

static int await_prepared(struct source *s)
{
	const struct manifest *ours = sender_manifest(s->sender);
	Drayage__Prepared *m = (Drayage__Prepared *)control_expect(s->control, PREPARED_MS, CONTROL_PREPARED, s->err);
	struct manifest theirs;

	if (!m)
		return -1;
	theirs = manifest_from_message(m->manifest);
	s->report->destination_pid = (pid_t)m->pid;
	s->report->part.rebuild_us = m->rebuild_us;
	protobuf_c_message_free_unpacked(&m->base, NULL);
	if (!manifest_equal(ours, &theirs))
		return err_set(s->err, ERR_MISMATCH, 0, "the destination prepared other pages than were sent");
	monitor_tell(s, EVENT_PREPARED, NULL);
	fault_point("source.prepared", s->control);
	return 0;
}

/* Up to the point of no return. Nothing here has happened as far as anybody else can tell. */
static int prepare(struct source *s)
{
	struct capture_job job = { .source = s };
	uint64_t freezing = 0;
	int rc = -1;

	if (postcopy_connect(s) < 0)
		return -1;
	s->freeze_us = clock_us();
	monitor_tell(s, EVENT_FREEZE, NULL);
	if (keeper_freeze(s->keeper, &freezing, s->err) < 0)
		return err_wrap(s->err, "freeze");
	s->report->part.freeze_us = clock_us() - s->freeze_us;
	fault_point("source.frozen", s->control);
	if (last_pages_and_state(s, &job) == 0 && (!s->config->verify || verify_memory(s) == 0) && send_state(s, &job) == 0 &&
	    hold(s) == 0)
		rc = await_prepared(s);
	free(job.state);
	return rc;
}

static int await_running(struct source *s)
{
	Drayage__Running *m = (Drayage__Running *)control_expect(s->control, RUNNING_MS, CONTROL_RUNNING, s->err);

	if (!m)
		return -1;
	s->report->destination_pid = (pid_t)m->pid;
	protobuf_c_message_free_unpacked(&m->base, NULL);
	return 0;
}

/* It runs there. Peers of its connections are to learn at once that they are gone. */
static void runs_there(struct source *s)
{
	s->report->blackout_us = clock_us() - s->freeze_us;
	monitor_tell(s, EVENT_RUNNING, NULL);
	fault_point("source.running", s->control);
	if (s->config->tcp_close && !s->config->keep_source)
		target_end_connections(s->pid);
}

/* Commit went out and no answer came. 0: it runs there; -1: it doesn't, or nobody knows. */
static int ask_outcome(struct source *s)
{
	enum link_outcome outcome;
	uint32_t pid = 0;
	struct err lost = *s->err;

	log_event(LOG_WARN, "commit-unanswered", "error=\"%s\"", lost.text);
	if (settle_ask(&s->link, s->pid, ASK_PATIENCE_US, &outcome, &pid, s->err) < 0) {
		s->report->outcome = MIGRATION_UNDECIDED;
		return -1;
	}
	if (outcome == LINK_RUNNING) {
		err_clear(s->err);
		s->report->destination_pid = (pid_t)pid;
		s->asked = true;
		runs_there(s);
		s->report->outcome = MIGRATION_MOVED;
		return 0;
	}
	if (outcome == LINK_UNKNOWN) {
		s->report->outcome = MIGRATION_UNDECIDED;
		return err_set(s->err, ERR_UNDECIDED, 0, "%s has no record of this migration", s->config->destination);
	}
	*s->err = lost;
	return -1;
}

static int commit(struct source *s)
{
	Drayage__Manifest manifest = manifest_to_message(sender_manifest(s->sender));
	Drayage__Commit m = DRAYAGE__COMMIT__INIT;
	uint64_t begin = clock_us();

	m.manifest = &manifest;
	if (monitor_interrupted(s))
		return -1;
	s->monitor.committed = true; /* from here on a wish to cancel comes too late */
	if (s->monitor.interruption != NOT_INTERRUPTED)
		return -1;
	if (source_record(s, JOURNAL_COMMITTING) < 0)
		return -1;
	s->commit_sent = true;
	monitor_tell(s, EVENT_COMMIT, NULL);
	if (control_send(s->control, CONTROL_COMMIT, &m.base, s->err) < 0)
		return ask_outcome(s);
	fault_point("source.commit-sent", s->control);
	if (await_running(s) < 0)
		return ask_outcome(s);
	s->report->part.commit_us = clock_us() - begin;
	runs_there(s);
	if (postcopy_give(s) < 0)
		return -1;
	s->report->outcome = MIGRATION_MOVED;
	return 0;
}

int handover(struct source *s)
{
	if (prepare(s) < 0 || commit(s) < 0)
		return -1;
	/* What stays here stopped is `dray recover`'s to thaw or to end. */
	return s->config->keep_source ? source_record(s, JOURNAL_KEPT) : 0;
}
