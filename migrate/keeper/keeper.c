/* SPDX-License-Identifier: Apache-2.0 */
/* The migrating process's side: requests, and what can be done without a keeper. */
#include "migrate/keeper/keeper.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migrate/keeper/keeper_priv.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"

enum { STATE_MAX = 1 << 30 };

static int lost(struct err *e)
{
	return err_set(e, ERR_INTERNAL, 0, "the keeper process has ended");
}

/* False: there is no keeper any more. fd: owned, -1 when none came. */
static bool exchange(struct keeper *k, const struct keeper_request *q, struct keeper_reply *a, int *fd)
{
	int n = 0;

	*fd = -1;
	if (send_fds(k->sock, q, sizeof(*q), NULL, 0) < 0 || recv_fds(k->sock, a, sizeof(*a), fd, 1, &n) != (ssize_t)sizeof(*a))
		return false;
	if (n == 0)
		*fd = -1;
	return true;
}

/* fd: owned, -1 when none came. */
static int ask(struct keeper *k, const struct keeper_request *q, struct keeper_reply *a, int *fd, struct err *e)
{
	int got;

	if (!exchange(k, q, a, &got))
		return lost(e);
	if (fd)
		*fd = got;
	else if (got >= 0)
		close(got);
	if (a->rc < 0)
		*e = a->e;
	return a->rc;
}

static void drop_twins(struct keeper_armed *out, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		close(out->twins[i].command_write);
		close(out->twins[i].pipe_read);
	}
}

static int take_twins(struct keeper *k, unsigned count, struct keeper_armed *out, struct err *e)
{
	if (count > TWINS_MAX)
		return err_set(e, ERR_INTERNAL, 0, "%u twins", count);
	for (unsigned i = 0; i < count; i += PAIRS_A_PACKET) {
		unsigned pairs = count - i < PAIRS_A_PACKET ? count - i : PAIRS_A_PACKET;
		int fds[2 * PAIRS_A_PACKET], n = 0;
		ssize_t len = recv_fds(k->sock, &out->twins[i], pairs * sizeof(out->twins[0]), fds, 2 * PAIRS_A_PACKET, &n);

		if (len != (ssize_t)(pairs * sizeof(out->twins[0])) || n != (int)(2 * pairs)) {
			for (int j = 0; j < n; j++)
				close(fds[j]);
			drop_twins(out, i);
			return len <= 0 ? lost(e) : err_set(e, ERR_SYSTEM, EMFILE, "take over the twins' pipes");
		}
		for (unsigned j = 0; j < pairs; j++) {
			out->twins[i + j].command_write = fds[2 * j];
			out->twins[i + j].pipe_read = fds[2 * j + 1];
		}
	}
	out->twin_count = count;
	return 0;
}

int keeper_arm(struct keeper *k, bool want_uffd, unsigned want_twins, struct keeper_armed *out, struct err *e)
{
	struct keeper_request q = { .op = OP_ARM, .want_uffd = want_uffd, .want_twins = want_twins };
	struct keeper_reply a;

	*out = (struct keeper_armed){ .uffd = -1 };
	if (ask(k, &q, &a, &out->uffd, e) < 0)
		return -1;
	k->freezer = a.freezer;
	if (want_uffd && out->uffd < 0)
		err_set(e, ERR_SYSTEM, EMFILE, "take over the userfaultfd");
	else if (take_twins(k, a.twin_count, out, e) == 0) {
		out->scratch_start = a.scratch_start;
		out->scratch_end = a.scratch_end;
		out->freezer = a.freezer;
		out->stopped_us = a.us;
		return 0;
	}
	if (out->uffd >= 0)
		close(out->uffd);
	*out = (struct keeper_armed){ .uffd = -1 };
	return -1;
}

int keeper_freeze(struct keeper *k, uint64_t *freezing_us, struct err *e)
{
	return keeper_freeze_in(k, NULL, 0, freezing_us, e);
}

int keeper_freeze_in(struct keeper *k, const char *cgroup, int timeout_ms, uint64_t *freezing_us, struct err *e)
{
	struct keeper_request q = { .op = OP_FREEZE, .stop_ms = timeout_ms };
	struct keeper_reply a;

	if ((size_t)snprintf(q.cgroup, sizeof(q.cgroup), "%s", cgroup ? cgroup : "") >= sizeof(q.cgroup))
		return err_set(e, ERR_USAGE, ENAMETOOLONG, "freezer cgroup");
	if (ask(k, &q, &a, NULL, e) < 0)
		return -1;
	k->freezer = a.freezer;
	*freezing_us = a.us;
	return 0;
}

int keeper_make_uffd(struct keeper *k, int *uffd, uint64_t *stopped_us, struct err *e)
{
	struct keeper_request q = { .op = OP_UFFD };
	struct keeper_reply a;

	if (ask(k, &q, &a, uffd, e) < 0)
		return -1;
	*stopped_us = a.us;
	return *uffd < 0 ? err_set(e, ERR_SYSTEM, EMFILE, "take over the userfaultfd") : 0;
}

int keeper_thaw(struct keeper *k, uint64_t *stopped_us, struct err *e)
{
	struct keeper_request q = { .op = OP_THAW };
	struct keeper_reply a;

	if (ask(k, &q, &a, NULL, e) < 0)
		return -1;
	*stopped_us = a.us;
	return 0;
}

int keeper_capture(struct keeper *k, const struct capture_options *opt, uint8_t **state, size_t *len, struct err *e)
{
	struct keeper_request q = { .op = OP_CAPTURE, .capture = *opt };
	struct keeper_reply a;
	cleanup_fd int memfd = -1;
	cleanup_free uint8_t *buf = NULL;
	struct stat st;

	if (ask(k, &q, &a, &memfd, e) < 0)
		return -1;
	if (memfd < 0 || fstat(memfd, &st) < 0 || st.st_size < 0 || st.st_size > STATE_MAX)
		return err_set(e, ERR_INTERNAL, 0, "the keeper gave no state");
	buf = malloc((size_t)st.st_size + 1);
	if (!buf)
		return err_set(e, ERR_INTERNAL, ENOMEM, "state of %lld bytes", (long long)st.st_size);
	if (pread(memfd, buf, (size_t)st.st_size, 0) != st.st_size)
		return err_sys(e, "read the state");
	*len = (size_t)st.st_size;
	*state = steal_pointer(&buf);
	return 0;
}

int keeper_hold(struct keeper *k, struct freezer *out, struct err *e)
{
	struct keeper_request q = { .op = OP_HOLD };
	struct keeper_reply a;

	k->holding = true;
	if (ask(k, &q, &a, NULL, e) < 0)
		return -1;
	*out = k->freezer = a.freezer;
	k->kept = true;
	return 0;
}

/* Killed, it has let the target go as it was; what holds it still, or may, is its cgroup, or a stop signal if there is none. */
static int end_without(struct keeper *k, enum keeper_verdict how, struct err *e)
{
	int rc = 0;

	log_event(LOG_WARN, "keeper-lost", "pid=%d", (int)k->target);
	if (how == KEEPER_STAY_FROZEN)
		return k->kept ? 0 : lost(e);
	if (how == KEEPER_KILL)
		rc = k->kept ? freezer_kill(&k->freezer, e) : lost(e);
	else if (k->freezer.kind == FREEZER_CGROUP || (k->freezer.kind == FREEZER_SIGSTOP && k->holding))
		rc = freezer_thaw(&k->freezer, e);
	if (rc == 0 || e->kind == ERR_GONE)
		freezer_remove(&k->freezer);
	return rc;
}

int keeper_end(struct keeper *k, enum keeper_verdict how, struct err *e)
{
	struct keeper_request q = { .op = OP_END, .verdict = how };
	struct keeper_reply a;
	int fd, rc;

	if (exchange(k, &q, &a, &fd)) {
		rc = a.rc;
		if (rc < 0)
			*e = a.e;
	} else {
		rc = end_without(k, how, e);
	}
	keeper_reap(k);
	keeper_release(k);
	return rc;
}

int keeper_event_fd(const struct keeper *k)
{
	return k->event;
}
