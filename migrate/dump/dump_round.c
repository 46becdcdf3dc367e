/* SPDX-License-Identifier: Apache-2.0 */
/* What a pre-dump and a dump have in common. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migrate/dump/dump_priv.h"
#include "migrate/dump/dump_sent.h"
#include "migrate/dump/dump_set.h"
#include "migrate/dump/tracker_holder.h"
#include "migrate/freeze/cgroup_stop.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/proc_text.h"

enum { FIRST_PAGES_ID = 1, STOP_S = 10 };

static int gone(pid_t pid, struct err *e)
{
	return err_set(e, ERR_GONE, 0, "no process %d", pid);
}

/* The last number behind NSpid is the task's own for itself. */
static int own_number(pid_t pid, uint32_t *inside, struct err *e)
{
	struct err missing;
	cleanup_free char *text = status_text(pid, pid, &missing);
	int last = text ? text_last_number(text, "NSpid") : -1;

	if (last <= 0)
		return gone(pid, e);
	*inside = (uint32_t)last;
	return 0;
}

static int look_at_task(struct dump_task *t, pid_t pid, struct err *e)
{
	t->pid = pid;
	if (proc_check_pid(pid, e) < 0)
		return -1;
	if (tracker_start_time(pid, &t->start_time) < 0)
		return gone(pid, e);
	return own_number(pid, &t->inside, e);
}

static int open_sink(struct dump_round *r, struct err *e)
{
	struct image_set_options o = { .dirfd = r->q->images_dir, .first_pages_id = FIRST_PAGES_ID, .parent = r->q->parent,
		.auto_dedup = r->q->auto_dedup, .check_holes = true, .revocable = true };
	struct stat st;

	r->links_parent = r->q->parent && fstatat(o.dirfd, "parent", &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
	r->sink = r->q->sink;
	if (r->sink)
		return r->q->parent ? dump_link_parent(r->q->images_dir, r->q->parent, e) : 0;
	r->sink = image_set_create(&o, e);
	r->own_sink = true;
	return r->sink ? 0 : -1;
}

/* A tracker that needs no stop would never look at it. */
static int check_freezer(const char *cgroup, struct err *e)
{
	struct cgroup_stop s;

	if (!cgroup)
		return 0;
	if (cgroup_stop_open(&s, cgroup, e) < 0)
		return -1;
	cgroup_stop_close(&s);
	return 0;
}

static int begin(struct dump_round *r, struct dumper *d, const struct dump_request *q, struct err *e)
{
	*r = (struct dump_round){ .d = d, .q = q, .parent = DUMP_PARENT_NONE, .files = DUMP_FILES_NONE };
	if (look_at_task(&r->task, q->pid, e) < 0 || check_freezer(q->freeze_cgroup, e) < 0)
		return -1;
	/* Whom we tracked until now may be asked for again by another caller. */
	if (d->tracker && (d->tracked.pid != r->task.pid || d->tracked.start_time != r->task.start_time))
		dump_track_leave(d);
	if (getrandom(r->set_id, sizeof(r->set_id), 0) != (ssize_t)sizeof(r->set_id))
		return err_sys(e, "random id");
	if (!d->copier)
		d->copier = dump_copier_create(e);
	if (!d->copier || dump_parent_open(&r->parent, q->images_dir, q->parent, r->task.inside, e) < 0)
		return -1;
	return dump_files_open(&r->files, q->images_dir, e) < 0 ? -1 : open_sink(r, e);
}

int dump_round_freeze(struct dump_round *r, struct err *e)
{
	int timeout_ms = (int)(r->q->timeout_s && r->q->timeout_s < 1000000 ? r->q->timeout_s : STOP_S) * 1000;
	uint64_t start_time, us = 0;

	if (keeper_freeze_in(r->keeper, r->q->freeze_cgroup, timeout_ms, &us, e) < 0)
		return -1;
	r->stats.freezing_us = us;
	if (tracker_start_time(r->task.pid, &start_time) < 0 || start_time != r->task.start_time) {
		keeper_thaw(r->keeper, &us, &(struct err){ 0 });
		return gone(r->task.pid, e);
	}
	return 0;
}

static int collect_by(struct dump_round *r, struct tracker *t, bool rearm, bool last, struct err *e)
{
	if (tracker_collect(t, &r->vmas, rearm, last, &r->found, e) < 0)
		return -1;
	if (r->trust == TRUST_TRACKER && tracker_holds(t, &r->held) < 0)
		return err_set(e, ERR_SYSTEM, ENOMEM, "pages of process %d", r->task.pid);
	return 0;
}

/* Shared memory is not a task's: its pages have page maps of their own. */
static void leave_out_shared(struct vma_list *l)
{
	size_t kept = 0;

	for (size_t i = 0; i < l->count; i++)
		if (l->vma[i].kind != VMA_SHMEM)
			l->vma[kept++] = l->vma[i];
	l->count = kept;
}

int dump_round_collect(struct dump_round *r, bool rearm, bool last, struct err *e)
{
	struct tracker *t = r->d->tracker, *none = NULL;
	int rc;

	if (dump_uptime(&r->uptime_us, e) < 0 || vma_list_read(&r->vmas, r->task.pid, VMA_READ_MAPS, e) < 0)
		return -1;
	leave_out_shared(&r->vmas);
	if (!rearm && r->trust != TRUST_TRACKER) {
		t = none = tracker_open(TRACKER_NONE, r->task.pid, -1, e);
		if (!t)
			return -1;
	}
	if (rearm)
		dump_track_unbase(r->d);
	rc = collect_by(r, t, rearm, last, e);
	/* Memory that is tracked by a userfaultfd of others, of the process itself perhaps, can be copied all the same. */
	if (rc < 0 && e->kind == ERR_UNSUPPORTED && t == r->d->tracker && r->trust != TRUST_TRACKER) {
		rc = dump_track_nothing(r, e);
		if (rc == 0)
			rc = collect_by(r, r->d->tracker, rearm, last, e);
	}
	tracker_close(none);
	return rc;
}

static int make_plan(struct dump_round *r, bool parent, struct err *e)
{
	struct dump_findings f = { .vmas = &r->vmas, .changed = &r->found.runs };

	if (r->trust == TRUST_TRACKER && parent)
		f.held = &r->held;
	else if (r->trust == TRUST_TRACKER)
		f.changed = &r->held;
	f.leave_lazy = r->q->lazy;
	f.compare = r->trust == TRUST_CONTENTS && parent;
	f.covered = parent && r->parent.pages ? &r->parent.covered : NULL;
	return dump_plan_make(&r->plan, &f) < 0 ? err_set(e, ERR_SYSTEM, ENOMEM, "pages of process %d", r->task.pid) : 0;
}

int dump_round_pages(struct dump_round *r, struct err *e)
{
	struct dump_copied copied = { 0 };
	bool parent = false;

	if (r->sink->ops->open(r->sink, PAGEMAP_TASK, r->task.inside, &parent, e) < 0 || make_plan(r, parent, e) < 0)
		return -1;
	if (dump_copy(r->d->copier, r->task.pid, &r->plan, r->sink, r->parent.pages, &copied, e) < 0)
		return -1;
	r->stats.pages_scanned = r->plan.data_pages + r->plan.hole_pages + r->plan.left_pages;
	r->stats.pages_lazy = r->plan.left_pages;
	r->stats.pages_skipped_parent = copied.holes;
	r->stats.pages_written = copied.pages_written;
	r->stats.memwrite_us = copied.write_us;
	return 0;
}

int dump_round_note_sent(const struct dump_round *r, struct err *e)
{
	const struct tracker *t = r->d->tracker;
	struct run_list all = { 0 };
	int rc = 0;

	if (!r->q->sink || r->q->lazy || !t || tracker_kind_of(t) == TRACKER_NONE)
		return 0;
	if (tracker_holds(t, &all) < 0)
		rc = err_set(e, ERR_SYSTEM, ENOMEM, "pages of process %d", r->task.pid);
	if (rc == 0)
		rc = dump_sent_write(r->files.aside.dir, r->task.inside, &all, e);
	run_list_finish(&all);
	return rc;
}

/* The inventory first. */
static void take_back(struct dump_round *r)
{
	dump_files_take_back(&r->files);
	if (r->own_sink && r->sink)
		image_set_revoke(r->sink);
	if (r->links_parent)
		unlinkat(r->q->images_dir, "parent", 0);
}

static void finish(struct dump_round *r, bool failed)
{
	struct err ignored = { 0 };

	if (r->keeper)
		keeper_end(r->keeper, KEEPER_THAW, &ignored);
	if (failed)
		take_back(r);
	if (r->own_sink && r->sink)
		r->sink->ops->destroy(r->sink);
	dump_files_close(&r->files);
	dump_parent_close(&r->parent);
	vma_list_finish(&r->vmas);
	collected_finish(&r->found);
	run_list_finish(&r->held);
	dump_plan_finish(&r->plan);
}

int dump_round_run(struct dumper *d, const struct dump_request *q, int (*run)(struct dump_round *r, struct err *e), struct dump_stats *out, struct err *e)
{
	struct dump_round r;
	int rc = begin(&r, d, q, e);

	if (rc == 0)
		rc = run(&r, e);
	*out = r.stats;
	finish(&r, rc < 0);
	return rc;
}
