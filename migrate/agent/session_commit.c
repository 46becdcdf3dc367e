/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>

#include "control.pb-c.h"
#include "migrate/agent/session_priv.h"
#include "migrate/agent/settled.h"
#include "migrate/native/rebuild.h"
#include "migrate/remote/remote.h"
#include "proto/base/fault.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/wire/manifest_message.h"

/* --- prepared --- */

/* The guard's, when the session is gone: what an agent would do that finds its record. It has the session's lock. */
static void end_unfed(void *arg)
{
	struct session *s = arg;

	log_event(LOG_ERROR, "session-gone", "pid=%d its pages are not all there, it is ended", (int)s->husk.pid);
	settled_end(s->journal);
}

/* The outer half of the rebuild, up to a tree that stands frozen without us; the record of it was written with its cgroup. */
static int rebuild_and_freeze(struct session *s, const Drayage__TreeState *tree, const struct rebuild_handover *h, struct err *e)
{
	struct remote r;
	int rc;

	if (husk_rebuild(&s->husk, &r, tree, h, NULL, e) < 0)
		return -1;
	rc = s->late ? late_session_arm(s->late, s->husk.pid, tree->tasks[0]->mm, end_unfed, s, e) : 0;
	if (rc == 0)
		rc = freezer_freeze(&s->freezer, e);
	if (rc < 0)
		kill(s->husk.pid, SIGKILL);
	remote_release(&r);
	return rc;
}

/* The husk gets the state as it came, and makes of it what it can from inside. */
static int rebuild(struct session *s, const ProtobufCBinaryData *packed)
{
	const struct channel_message request = { .kind = CHANNEL_STATE, .payload = packed->data, .len = packed->len, .fd = -1 };
	struct rebuild_handover handover;
	Drayage__TreeState *tree = drayage__tree_state__unpack(NULL, packed->len, packed->data);
	int rc;

	if (!tree)
		return err_set(&s->err, ERR_PROTOCOL, 0, "a tree state that can't be decoded");
	s->streams_over = true;
	rc = session_ask_husk_for(s, &request, &handover, sizeof(handover));
	if (rc == 0)
		rc = rebuild_and_freeze(s, tree, &handover, &s->err);
	drayage__tree_state__free_unpacked(tree, NULL);
	return rc < 0 ? err_wrap(&s->err, "rebuild") : 0;
}

int session_on_state(struct session *s, const ProtobufCMessage *base)
{
	const Drayage__State *msg = (const Drayage__State *)base;
	Drayage__Prepared prepared = DRAYAGE__PREPARED__INIT;
	Drayage__Manifest manifest;
	uint64_t begin = clock_us();

	fault_point("destination.state", s->control);
	if (msg->tree.len > STATE_MAX)
		return err_set(&s->err, ERR_LIMIT, 0, "a tree state of %zu bytes", msg->tree.len);
	if (rebuild(s, &msg->tree) < 0)
		return -1;
	manifest = manifest_to_message(&s->manifest);
	prepared.manifest = &manifest;
	prepared.pid = (uint32_t)s->husk.pid;
	prepared.has_rebuild_us = 1;
	prepared.rebuild_us = clock_us() - begin;
	fault_point("destination.prepared", s->control);
	session_change_state(s, PREPARED, "state");
	return control_send(s->control, CONTROL_PREPARED, &prepared.base, &s->err);
}

/* --- commit, and after it --- */

static bool write_record(struct session *s)
{
	struct err e;

	if (journal_write(s->journal, &s->record, &e) == 0)
		return true;
	log_event(LOG_ERROR, "journal", "error=\"%s\"", e.text);
	return false;
}

/* It is on its own: whoever recovers has nothing to thaw, and its cgroup goes. */
static void leave_alone(struct session *s)
{
	freezer_remove(&s->freezer);
	s->record.freezer.kind = FREEZER_NONE;
	write_record(s);
}

int session_on_commit(struct session *s, const ProtobufCMessage *base)
{
	const Drayage__Commit *msg = (const Drayage__Commit *)base;
	struct manifest theirs = manifest_from_message(msg->manifest);
	Drayage__Running running = DRAYAGE__RUNNING__INIT;
	uint64_t begin = clock_us();
	struct err e;

	if (!manifest_equal(&theirs, &s->manifest))
		return err_set(&s->err, ERR_MISMATCH, 0, "the source commits other pages than were placed");
	if (s->late && late_session_keep_guard(s->late, &s->err) < 0)
		return -1;
	s->record.state = JOURNAL_COMMITTED;
	s->record.late = s->late != NULL;
	if (journal_write(s->journal, &s->record, &s->err) < 0)
		return -1;
	/* Decided. From here on nothing may take it back, whatever fails. */
	session_change_state(s, RUNNING, "commit");
	husk_let_go(&s->husk);
	fault_point("destination.committed", s->control);
	if (freezer_thaw(&s->freezer, &e) < 0)
		log_event(LOG_ERROR, "thaw", "pid=%d error=\"%s\"", (int)s->freezer.pid, e.text);
	running.pid = (uint32_t)s->husk.pid;
	running.has_resume_us = 1;
	running.resume_us = clock_us() - begin;
	fault_point("destination.running", s->control);
	log_event(LOG_INFO, "running", "pid=%d comm=\"%s\"", (int)s->freezer.pid, s->record.comm);
	control_send(s->control, CONTROL_RUNNING, &running.base, &e); /* a source that doesn't hear it asks */
	if (s->late) {
		session_change_state(s, LATE_PAGES, "commit");
		fault_point("destination.late", s->control);
	} else {
		leave_alone(s);
	}
	return 0;
}

/* Every page is there: from here on it is as if it had come before the commit. The record first: the source ends its original when it hears it,
 * and whoever finds the record then must not end this one. Where it can't be written the source has to wait, and its original, until it can. */
static void late_pages_done(struct session *s)
{
	s->record.late = false;
	if (!write_record(s)) {
		s->record.late = true;
		return;
	}
	late_session_finish(s->late);
	fault_point("destination.late-told", s->control);
	late_session_destroy(s->late);
	s->late = NULL;
	leave_alone(s);
	log_event(LOG_INFO, "late-pages-done", "pid=%d", (int)s->husk.pid);
	session_change_state(s, RUNNING, "all-pages");
}

int session_on_done(struct session *s, const ProtobufCMessage *base)
{
	(void)base;
	journal_remove(s->journal);
	session_change_state(s, ENDED, "done");
	return 0;
}

int session_serve_late(struct session *s)
{
	if (late_session_serve(s->late, &s->err) < 0)
		return -1;
	if (late_session_missing(s->late) == 0)
		late_pages_done(s);
	return 0;
}
