/* SPDX-License-Identifier: Apache-2.0 */
/* What the keeper does to its target. Everything that goes in comes out again by hold_end, from any state. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migrate/keeper/keeper_priv.h"
#include "proto/base/cleanup.h"
#include "proto/base/fault.h"
#include "proto/base/io.h"
#include "proto/base/log.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

enum {
	CAPTURE_DATA = 64 * 1024, /* scratch for the arguments of capture's calls */
	GONE_MS = 10 * 1000,
};

int hold_init(struct hold *h, pid_t target, const char *id, int pidfd)
{
	*h = (struct hold){ .target = target, .pidfd = pidfd, .caller = CGROUP_STOP_NONE };
	return (size_t)snprintf(h->id, sizeof(h->id), "%s", id) < sizeof(h->id) ? 0 : -ENAMETOOLONG;
}

/* ---- stopping and letting go ---- */

static bool target_lives(const struct hold *h)
{
	return syscall(SYS_pidfd_send_signal, h->pidfd, 0, NULL, 0) == 0 && wait_readable(h->pidfd, 0) == 0;
}

static int gone(const struct hold *h, struct err *e)
{
	return err_set(e, ERR_GONE, 0, "process %d ended", h->target);
}

static int stop_target(struct hold *h, struct err *e)
{
	uint64_t since = clock_us();

	if (!target_lives(h))
		return gone(h, e);
	if ((h->stop_ms ? remote_seize_within(&h->r, h->target, 0, h->stop_ms, e) : remote_seize(&h->r, h->target, 0, e)) < 0)
		return -1;
	/* Alive after the seize means that the number has not been given to another process before it. */
	if (!target_lives(h)) {
		remote_release(&h->r);
		return gone(h, e);
	}
	h->r.scratch = h->scratch;
	h->r.scratch_len = h->scratch_len;
	h->r.scratch_taken = h->scratch_taken;
	h->held_since = since;
	h->held = true;
	return 0;
}

/* How long it stood still. */
static uint64_t let_go(struct hold *h)
{
	cgroup_stop_put_back(&h->caller); /* still stopped by us, so that it runs not for a moment */
	cgroup_stop_close(&h->caller);
	remote_release(&h->r);
	h->held = false;
	return clock_us() - h->held_since;
}

static void note_scratch(struct hold *h)
{
	h->scratch = h->r.scratch;
	h->scratch_len = h->r.scratch_len;
	h->scratch_taken = h->r.scratch_taken;
}

/* An execve takes our mapping away, and the program that tracker and twins know of with it. What has come to be at that address is not ours. */
static bool scratch_is_ours(const struct hold *h)
{
	return remote_is_scratch(h->target, h->scratch);
}

/* The twins stay children of the process that execve made another program: they are ended and, where it is held, reaped. */
static void forget_scratch(struct hold *h)
{
	struct err e = { 0 };

	twins_destroy(&h->twins);
	h->scratch = h->scratch_len = h->scratch_taken = 0;
	h->r.scratch = h->r.scratch_len = h->r.scratch_taken = 0;
	if (h->held && twins_reap(&h->r, &h->twins, &e) < 0)
		log_event(LOG_WARN, "twins-not-reaped", "pid=%d why=\"%s\"", h->target, e.text);
	h->twins = (struct twins){ 0 };
}

/* Takes everything of ours out of the held target. */
static int clean_target(struct hold *h, struct err *e)
{
	struct err ignored = { 0 };
	int rc;

	if (!h->scratch || !scratch_is_ours(h)) {
		forget_scratch(h);
		return remote_has_ended(&h->r) ? gone(h, e) : 0;
	}
	twins_destroy(&h->twins);
	/* A child of the target that it did not make: left behind it would only be a zombie that no wait of the program sees. */
	if (twins_reap(&h->r, &h->twins, &ignored) < 0)
		log_event(LOG_WARN, "twins-not-reaped", "pid=%d why=\"%s\"", h->target, ignored.text);
	rc = remote_scratch_destroy(&h->r, e);
	note_scratch(h);
	return rc;
}

/* ---- arm ---- */

/* Made inside, fetched, closed inside. The variant for user mode faults is the one that needs no privilege; tracking takes no faults at all. */
static int fetch_uffd(struct hold *h, int *uffd, struct err *e)
{
	struct remote_call make[] = { REMOTE_TRY(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY) };
	struct remote_call plain = REMOTE_CALL(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct remote_call finish;
	int got;

	if (remote_run(&h->r, 0, make, 1, "make a userfaultfd", e) < 0)
		return -1;
	if (make[0].ret < 0) {
		if (remote_run(&h->r, 0, &plain, 1, "make a userfaultfd", e) < 0)
			return -1;
		make[0] = plain;
	}
	got = pidfd_getfd_(h->pidfd, (int)make[0].ret);
	finish = REMOTE_CALL(SYS_close, (uint64_t)make[0].ret);
	if (remote_run(&h->r, 0, &finish, 1, "close the userfaultfd inside", e) < 0) {
		if (got >= 0)
			close(got);
		return -1;
	}
	if (got < 0)
		return err_set(e, ERR_SYSTEM, -got, "fetch the userfaultfd of process %d", h->target);
	*uffd = got;
	return 0;
}

int hold_uffd(struct hold *h, int *uffd, uint64_t *stopped_us, struct err *e)
{
	struct err ignored = { 0 };
	int rc;

	if (h->held || h->scratch)
		return err_set(e, ERR_INTERNAL, 0, "userfaultfd: held or armed already");
	if (stop_target(h, e) < 0)
		return -1;
	rc = remote_scratch_create(&h->r, CAPTURE_DATA, 0, e);
	note_scratch(h);
	if (rc == 0)
		rc = fetch_uffd(h, uffd, e);
	if (clean_target(h, rc < 0 ? &ignored : e) < 0)
		rc = -1;
	*stopped_us = let_go(h);
	if (rc < 0 && *uffd >= 0) {
		close(*uffd);
		*uffd = -1;
	}
	return rc < 0 ? err_wrap(e, "prepare process %d", h->target) : 0;
}

static void make_twins(struct hold *h, unsigned want, struct keeper_armed *out)
{
	struct err why = { 0 };

	if (want == 0)
		return;
	if (twins_create(&h->r, want, &h->twins, out->twins, &why) < 0) {
		log_event(LOG_WARN, "no-twins", "pid=%d why=\"%s\"", h->target, why.text);
		h->twins = (struct twins){ 0 };
		return;
	}
	out->twin_count = h->twins.count;
	h->r.scratch_taken = (uint64_t)want * TWIN_SCRATCH;
}

int hold_arm(struct hold *h, bool want_uffd, unsigned want_twins, struct keeper_armed *out, struct err *e)
{
	struct err ignored = { 0 };
	int rc;

	*out = (struct keeper_armed){ .uffd = -1 };
	if (h->held || h->scratch || want_twins > TWINS_MAX)
		return err_set(e, ERR_INTERNAL, 0, "arm: held or armed already, or %u twins", want_twins);
	if (stop_target(h, e) < 0)
		return -1;
	rc = remote_scratch_create(&h->r, CAPTURE_DATA + (size_t)want_twins * TWIN_SCRATCH, 0, e);
	note_scratch(h);
	if (rc == 0 && want_uffd)
		rc = fetch_uffd(h, &out->uffd, e);
	if (rc == 0)
		make_twins(h, want_twins, out);
	note_scratch(h);
	if (rc < 0)
		clean_target(h, &ignored);
	out->scratch_start = h->scratch;
	out->scratch_end = h->scratch + h->scratch_len;
	out->stopped_us = let_go(h);
	/* Moving a process to another cgroup waits for a grace period of the kernel, milliseconds: not when every one counts. Behind the
	 * twins, which must not be in it. Where it fails hold tries again, and tells. */
	if (rc == 0 && freezer_create(&h->freezer, h->target, h->id, &ignored) < 0)
		h->freezer = (struct freezer){ 0 };
	return rc < 0 ? err_wrap(e, "prepare process %d", h->target) : 0;
}

void hold_look(struct hold *h)
{
	struct err e = { 0 };

	if (h->held)
		return;
	if (vma_list_read(&h->seen, h->target, VMA_READ_SMAPS, &e) < 0)
		log_event(LOG_DEBUG, "look", "pid=%d error=\"%s\"", h->target, e.text);
}

/* ---- frozen ---- */

/* Our own stop comes on top of the freezer's, which then goes: what is frozen runs none of our calls. Version 1 has to let go first. */
static int stop_by_cgroup(struct hold *h, const char *cgroup, struct err *e)
{
	struct err ignored = { 0 };
	int rc;

	if (cgroup_stop_open(&h->caller, cgroup, e) < 0)
		return -1;
	rc = cgroup_stop_freeze(&h->caller, e);
	if (rc == 0 && h->caller.v2)
		rc = stop_target(h, e);
	if (cgroup_stop_thaw(&h->caller, rc < 0 ? &ignored : e) < 0)
		rc = -1;
	if (rc == 0 && !h->caller.v2)
		rc = stop_target(h, e);
	if (rc == 0)
		return 0;
	if (h->held)
		let_go(h);
	cgroup_stop_put_back(&h->caller);
	cgroup_stop_close(&h->caller);
	return err_wrap(e, "freeze by %s", cgroup);
}

int hold_freeze(struct hold *h, const char *cgroup, uint64_t *us, struct err *e)
{
	if (h->held)
		return err_set(e, ERR_INTERNAL, 0, "process %d is frozen already", h->target);
	if ((*cgroup ? stop_by_cgroup(h, cgroup, e) : stop_target(h, e)) < 0)
		return -1;
	*us = clock_us() - h->held_since;
	if (h->r.thread[0].group_stop)
		freezer_was_stopped(&h->freezer);
	if (h->scratch && !scratch_is_ours(h)) {
		forget_scratch(h);
		let_go(h);
		return err_set(e, ERR_GONE, 0, "process %d has become another program (execve)", h->target);
	}
	return 0;
}

int hold_thaw(struct hold *h, uint64_t *us, struct err *e)
{
	if (!h->held || h->kept)
		return err_set(e, ERR_INTERNAL, 0, "thaw: process %d is %s", h->target, h->held ? "held for good" : "not frozen");
	*us = let_go(h);
	return 0;
}

/* Packed into a memfd: it may be larger than what a packet holds. */
static int pack(const Drayage__TreeState *tree, int *memfd, struct err *e)
{
	size_t len = drayage__tree_state__get_packed_size(tree);
	cleanup_free uint8_t *buf = malloc(len ? len : 1);
	cleanup_fd int fd = memfd_create("dray-state", MFD_CLOEXEC);
	int rc;

	if (!buf)
		return err_set(e, ERR_INTERNAL, ENOMEM, "pack the state (%zu bytes)", len);
	if (fd < 0)
		return err_sys(e, "memory for the state");
	drayage__tree_state__pack(tree, buf);
	rc = write_full(fd, buf, len);
	if (rc < 0)
		return err_set(e, ERR_SYSTEM, -rc, "store the state");
	*memfd = steal_fd(&fd);
	return 0;
}

int hold_capture(struct hold *h, const struct capture_options *opt, int *memfd, struct err *e)
{
	Drayage__TreeState *tree;
	bool own_scratch;
	int rc;

	/* In a frozen cgroup no thread would run our calls. */
	if (!h->held || h->kept)
		return err_set(e, ERR_INTERNAL, 0, "capture: process %d is %s", h->target, h->held ? "held for good" : "not frozen");
	own_scratch = !h->scratch;
	if (own_scratch && remote_scratch_create(&h->r, CAPTURE_DATA, 0, e) < 0)
		return -1;
	note_scratch(h);
	tree = capture_tree_seen(&h->r, opt, &h->seen, e);
	rc = tree ? pack(tree, memfd, e) : -1;
	if (!tree && e->kind != ERR_GONE && remote_has_ended(&h->r))
		gone(h, e);
	if (tree)
		drayage__tree_state__free_unpacked(tree, NULL);
	if (own_scratch) {
		struct err later = { 0 };

		if (remote_scratch_destroy(&h->r, &later) < 0)
			log_event(LOG_WARN, "scratch-left", "pid=%d why=\"%s\"", h->target, later.text);
		note_scratch(h);
	}
	return rc;
}

/* Clean first: from here on it may be that nobody ever comes back to do it, and in a frozen cgroup it could not be done. */
int hold_keep(struct hold *h, struct err *e)
{
	if (!h->held)
		return err_set(e, ERR_INTERNAL, 0, "hold: process %d is not frozen", h->target);
	if (h->kept)
		return 0;
	if (clean_target(h, e) < 0)
		return -1;
	if (h->freezer.kind == FREEZER_NONE && freezer_create(&h->freezer, h->target, h->id, e) < 0)
		return -1;
	if (h->r.thread[0].group_stop)
		freezer_was_stopped(&h->freezer);
	if (freezer_freeze(&h->freezer, e) < 0)
		return -1;
	h->kept = true;
	fault_point("keeper.held", -1);
	return 0;
}

/* ---- the end ---- */

/* Takes out what is in a target that may run or be held, and lets it go. */
static int clean_and_let_go(struct hold *h, struct err *e)
{
	int rc;

	if (!h->held && !h->scratch && h->twins.count == 0)
		return target_lives(h) ? 0 : gone(h, e);
	if (!h->held && stop_target(h, e) < 0) {
		forget_scratch(h);
		return -1;
	}
	rc = clean_target(h, e);
	let_go(h);
	return rc;
}

static int end_running(struct hold *h, struct err *e)
{
	int rc;

	if (h->kept) {
		/* Clean already. Our own stop goes first: the other one keeps it still until it is thawed. */
		if (h->held)
			let_go(h);
		rc = freezer_thaw(&h->freezer, e);
	} else {
		rc = clean_and_let_go(h, e);
	}
	freezer_remove(&h->freezer);
	return rc;
}

static int end_killed(struct hold *h, struct err *e)
{
	struct cgroup_stop caller = h->caller; /* frozen, it would not die */
	int rc = 0;

	h->caller = CGROUP_STOP_NONE;
	twins_destroy(&h->twins);
	if (h->freezer.kind != FREEZER_NONE)
		rc = freezer_kill(&h->freezer, e);
	else if (syscall(SYS_pidfd_send_signal, h->pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		rc = err_sys(e, "end process %d", h->target);
	/* The release reaps the threads that ended under our hands; only then can the process be waited for. */
	if (h->held)
		let_go(h);
	if (rc == 0 && wait_readable(h->pidfd, GONE_MS) != 1)
		rc = err_set(e, ERR_TIMEOUT, 0, "process %d has not ended within %d s", h->target, GONE_MS / 1000);
	cgroup_stop_put_back(&caller);
	cgroup_stop_close(&caller);
	freezer_remove(&h->freezer);
	return rc;
}

static int end_frozen(struct hold *h, struct err *e)
{
	if (!h->held && !h->kept && stop_target(h, e) < 0)
		return -1;
	if (!h->kept && hold_keep(h, e) < 0)
		return -1;
	if (h->held)
		let_go(h);
	return 0;
}

int hold_end(struct hold *h, enum keeper_verdict how, struct err *e)
{
	fault_point("keeper.ending", -1);
	switch (how) {
	case KEEPER_THAW:
		return end_running(h, e);
	case KEEPER_KILL:
		return end_killed(h, e);
	case KEEPER_STAY_FROZEN:
		return end_frozen(h, e);
	default:
		return err_set(e, ERR_INTERNAL, 0, "verdict %d", (int)how);
	}
}
