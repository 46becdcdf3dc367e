/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/agent/settled.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control.pb-c.h"
#include "migrate/conduct/journal.h"
#include "migrate/freeze/freezer.h"
#include "proto/base/log.h"
#include "proto/wire/control.h"

enum {
	ASK_MS = 10 * 1000,
};

/* Brings the tree of a record whose session is dead to what the record says. Holds the record's lock. -1: a tree that must not run could not be ended, the record
 * stays, and nobody hears of an outcome. */
static int settle(struct journal *j, struct journal_record *r)
{
	pid_t pid = r->freezer.pid;
	struct err e;

	/* A tree that ran before it had all its pages, and lost who fed it, is ended by its guard (late_guard.h) and once more here: its original,
	 * complete, stands frozen at the source. Whoever finds the record before that is done decides the same. */
	if (r->state == JOURNAL_PREPARED || (r->state == JOURNAL_COMMITTED && r->late))
		r->state = JOURNAL_ABORTED;
	if (!r->this_boot) /* what it tells of went down with the kernel */
		r->freezer.kind = FREEZER_NONE;
	if (r->freezer.kind != FREEZER_NONE && r->state == JOURNAL_COMMITTED && freezer_thaw(&r->freezer, &e) < 0 && e.kind != ERR_GONE)
		log_event(LOG_ERROR, "recover-thaw", "pid=%d error=\"%s\"", (int)r->freezer.pid, e.text);
	if (r->freezer.kind != FREEZER_NONE && r->state == JOURNAL_ABORTED && freezer_kill(&r->freezer, &e) < 0 && e.kind != ERR_GONE) {
		log_event(LOG_ERROR, "recover-kill", "pid=%d error=\"%s\"", (int)r->freezer.pid, e.text);
		return -1;
	}
	freezer_remove(&r->freezer);
	r->freezer.pid = pid; /* for who asks */
	if (r->state == JOURNAL_ABORTED)
		journal_remove(j);
	return 0;
}

void settled_end(struct journal *j)
{
	struct journal_record r;
	struct err e;

	if (journal_read(j, &r, &e) == 0)
		settle(j, &r);
	else if (e.kind != ERR_GONE)
		log_event(LOG_ERROR, "journal", "error=\"%s\"", e.text);
	journal_close(j);
}

static bool recover_one(const struct migration_id *id, const struct journal_record *r, bool owned, void *arg)
{
	const char *state_dir = arg;
	struct journal_record now;
	struct journal *j;
	char hex[33];
	struct err e;

	(void)owned; /* then it is locked */
	j = journal_open(state_dir, id, JOURNAL_DESTINATION, &e);
	if (!j || journal_read(j, &now, &e) < 0) {
		journal_close(j);
		return true;
	}
	migration_id_format(id, hex);
	log_event(LOG_INFO, "recover", "id=%s state=%s comm=\"%s\"", hex, journal_state_name(now.state), r->comm);
	settle(j, &now);
	journal_close(j);
	return true;
}

int settled_recover(const char *state_dir, struct err *e)
{
	journal_sweep(state_dir, JOURNAL_DESTINATION);
	return journal_each(state_dir, JOURNAL_DESTINATION, recover_one, (void *)(uintptr_t)state_dir, e);
}

static int send_outcome(int fd, Drayage__Outcome__What what, pid_t pid, struct err *e)
{
	Drayage__Outcome outcome = DRAYAGE__OUTCOME__INIT;

	outcome.what = what;
	outcome.has_pid = pid > 0;
	outcome.pid = (uint32_t)pid;
	return control_send(fd, CONTROL_OUTCOME, &outcome.base, e);
}

/* The asker has nothing left to do: the record may go. Without its word it stays for a second question. */
static void await_done(struct journal *j, int fd)
{
	struct err ignored;
	ProtobufCMessage *done = control_expect(fd, ASK_MS, CONTROL_DONE, &ignored);

	if (!done)
		return;
	protobuf_c_message_free_unpacked(done, NULL);
	journal_remove(j);
}

/* No record. In the state directory that the migration was offered to, that means that it was never committed: records of committed ones
 * are kept until their source has said Done. */
static int answer_without_record(const char *state_dir, const char *asked, int fd, struct err *e)
{
	char ours[33];

	err_clear(e);
	if (journal_identity(state_dir, ours, e) < 0)
		return -1;
	return send_outcome(fd, asked && strcmp(asked, ours) == 0 ? DRAYAGE__OUTCOME__WHAT__ABORTED : DRAYAGE__OUTCOME__WHAT__UNKNOWN, 0, e);
}

static int answer_from_record(struct journal *j, struct journal_record *r, int fd, struct err *e)
{
	int rc;

	if (settle(j, r) < 0)
		return err_set(e, ERR_SYSTEM, 0, "the process that must not run here could not be ended");
	if (r->state != JOURNAL_COMMITTED)
		return send_outcome(fd, DRAYAGE__OUTCOME__WHAT__ABORTED, 0, e);
	rc = send_outcome(fd, DRAYAGE__OUTCOME__WHAT__RUNNING_HERE, r->freezer.pid, e);
	if (rc == 0)
		await_done(j, fd);
	return rc;
}

int settled_answer(const char *state_dir, const struct migration_id *id, int fd, struct err *e)
{
	Drayage__Query *query = (Drayage__Query *)control_expect(fd, ASK_MS, CONTROL_QUERY, e);
	struct journal_record r;
	struct journal *j;
	int rc;

	if (!query)
		return -1;
	/* Without the lock its session lives: cut without an answer, the source asks again. */
	j = journal_open(state_dir, id, JOURNAL_DESTINATION, e);
	rc = j ? journal_read(j, &r, e) : -1;
	if (rc == 0)
		rc = answer_from_record(j, &r, fd, e);
	else if (j && e->kind == ERR_GONE)
		rc = answer_without_record(state_dir, query->identity, fd, e);
	protobuf_c_message_free_unpacked(&query->base, NULL);
	journal_close(j);
	return rc;
}
