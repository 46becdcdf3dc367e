/* SPDX-License-Identifier: Apache-2.0 */
/* Which tracker a round builds on. A hole in a set says "as in the parent", so the parent must be exactly what was written when the tracker was
 * armed last: the id that stands in a set of ours says which one it is. Anything else is compared by contents. */
#include <string.h>

#include "migrate/dump/dump_priv.h"
#include "migrate/dump/tracker_holder.h"
#include "proto/base/cleanup.h"
#include "proto/base/log.h"

static bool same_task(const struct dump_task *a, const struct dump_task *b)
{
	return a->pid == b->pid && a->start_time == b->start_time;
}

/* The number was another process's when the parent was written. */
static bool is_reused(const struct dump_round *r)
{
	uint64_t tick_us = 1000000u / (uint64_t)sysconf(_SC_CLK_TCK);

	if (r->parent.start_time)
		return r->parent.start_time != r->task.start_time;
	return r->parent.uptime_us && r->task.start_time >= r->parent.uptime_us / tick_us;
}

static bool is_base(const struct dump_round *r, const uint8_t base[IMAGES_SET_ID])
{
	return r->parent.ours && memcmp(base, r->parent.id, IMAGES_SET_ID) == 0;
}

/* Tracking goes on from what somebody left, or from what the kernel has by itself. uffd: taken. */
static int resume(struct dump_round *r, enum tracker_kind kind, int uffd, const struct witness_list *witnesses, struct err *e)
{
	struct dumper *d = r->d;

	dump_track_forget(d);
	d->tracker = tracker_resume(kind, r->task.pid, uffd, &r->parent.covered, witnesses, e);
	if (!d->tracker)
		return -1;
	d->tracked = r->task;
	r->trust = TRUST_TRACKER;
	return 0;
}

/* What was left for the round's parent, unless somebody was here in between. */
static int resume_left(struct dump_round *r, struct err *e)
{
	struct witness_list witnesses = { 0 };
	struct dumper *d = r->d;
	struct tracker_left left;
	int rc = 0, uffd;

	if (!tracker_left_take(r->task.pid, r->task.start_time, &left, &uffd, &witnesses))
		return 0;
	if (!is_base(r, left.base)) {
		cleanup_fd_(&uffd);
	} else {
		rc = resume(r, (enum tracker_kind)left.kind, uffd, &witnesses, e);
		d->based = rc == 0;
		memcpy(d->base, left.base, IMAGES_SET_ID);
		d->base_uptime_us = left.uptime_us;
	}
	witness_list_finish(&witnesses);
	return rc;
}

/* A parent of stock criu's on a kernel whose state both use: it is taken for what it says, as stock does, unless we know that tracking was
 * begun anew since. */
static bool is_stock_base(const struct dump_round *r, const struct tracker_left *left)
{
	struct err ignored = { 0 };

	return !r->parent.ours && r->parent.uptime_us && r->parent.pages && (!left || left->uptime_us < r->parent.uptime_us) &&
	       tracker_best() == TRACKER_SOFT_DIRTY && tracker_probe(TRACKER_SOFT_DIRTY, &ignored);
}

static int choose(struct dump_round *r, struct err *e)
{
	struct tracker_left left;
	bool found;

	if (r->d->tracker && same_task(&r->d->tracked, &r->task) && r->d->based) {
		r->trust = is_base(r, r->d->base) ? TRUST_TRACKER : TRUST_CONTENTS;
		return 0;
	}
	r->trust = TRUST_CONTENTS;
	found = tracker_left_look(r->task.pid, r->task.start_time, &left);
	if (found && is_base(r, left.base) && (r->parent.pages || r->parent.elsewhere) && resume_left(r, e) < 0)
		return -1;
	if (r->trust == TRUST_TRACKER)
		return 0;
	return is_stock_base(r, found ? &left : NULL) ? resume(r, TRACKER_SOFT_DIRTY, -1, NULL, e) : 0;
}

int dump_track_choose(struct dump_round *r, bool track, struct err *e)
{
	struct tracker_left left;
	int uffd;

	r->trust = TRUST_NOBODY;
	if (r->parent.dir >= 0 && !is_reused(r) && choose(r, e) < 0)
		return err_wrap(e, "go on with the tracker of process %d", r->task.pid);
	if (r->trust == TRUST_CONTENTS && !r->parent.pages)
		r->trust = TRUST_NOBODY; /* its pages are elsewhere */
	/* Two userfaultfds can't have the same memory. */
	if (track && r->trust != TRUST_TRACKER && tracker_left_take(r->task.pid, r->task.start_time, &left, &uffd, NULL))
		cleanup_fd_(&uffd);
	return 0;
}

int dump_track_nothing(struct dump_round *r, struct err *e)
{
	struct dumper *d = r->d;

	log_event(LOG_WARN, "not-tracked", "pid=%d why=\"%s\"", r->task.pid, e->text);
	err_clear(e);
	dump_track_forget(d);
	d->tracker = tracker_open(TRACKER_NONE, r->task.pid, -1, e);
	d->tracked = r->task;
	return d->tracker ? 0 : -1;
}

int dump_track_arm(struct dump_round *r, struct err *e)
{
	struct dumper *d = r->d;
	enum tracker_kind kind = tracker_best();
	uint64_t stopped_us;
	int uffd = -1;

	dump_track_forget(d);
	if (kind == TRACKER_WP_ASYNC && keeper_make_uffd(r->keeper, &uffd, &stopped_us, e) < 0)
		return e->kind == ERR_GONE ? -1 : dump_track_nothing(r, e);
	if (uffd >= 0)
		r->stats.frozen_us = stopped_us;
	d->tracker = tracker_open(kind, r->task.pid, uffd, e);
	d->tracked = r->task;
	return d->tracker ? 0 : -1;
}

void dump_track_based(struct dump_round *r)
{
	struct dumper *d = r->d;

	if (!d->tracker || tracker_kind_of(d->tracker) == TRACKER_NONE)
		return;
	d->based = true;
	d->base_uptime_us = r->uptime_us;
	memcpy(d->base, r->set_id, IMAGES_SET_ID);
}

void dump_track_unbase(struct dumper *d)
{
	struct tracker_left left;
	int uffd;

	/* A record of what was must not outlive it, however we end. */
	if (d->tracker && tracker_kind_of(d->tracker) == TRACKER_SOFT_DIRTY && tracker_left_take(d->tracked.pid, d->tracked.start_time, &left, &uffd, NULL))
		cleanup_fd_(&uffd);
	d->based = false;
}

void dump_track_forget(struct dumper *d)
{
	tracker_close(d->tracker);
	d->tracker = NULL;
	d->based = false;
}

void dump_track_leave(struct dumper *d)
{
	struct witness_list witnesses = { 0 };
	struct tracker_left left = { 0 };
	uint64_t start_time;

	if (d->tracker && d->based && tracker_start_time(d->tracked.pid, &start_time) == 0 && start_time == d->tracked.start_time &&
	    tracker_witnesses(d->tracker, &witnesses) == 0) {
		left.kind = tracker_kind_of(d->tracker);
		left.uptime_us = d->base_uptime_us;
		memcpy(left.base, d->base, IMAGES_SET_ID);
		tracker_left_put(d->tracked.pid, d->tracked.start_time, &left, tracker_leave(d->tracker), &witnesses);
		d->tracker = NULL;
	}
	witness_list_finish(&witnesses);
	dump_track_forget(d);
}
