/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/dump/dump.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migrate/dump/dump_priv.h"
#include "migrate/dump/dump_set.h"
#include "migrate/images/cpuinfo.h"
#include "migrate/images/tree_images.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"

struct dumper *dumper_create(struct err *e)
{
	struct dumper *d = calloc(1, sizeof(*d));

	if (!d)
		err_set(e, ERR_SYSTEM, ENOMEM, "dumper");
	return d;
}

void dumper_destroy(struct dumper *d)
{
	if (!d)
		return;
	dump_track_leave(d);
	dump_copier_destroy(d->copier);
	free(d);
}

bool dump_can_track(void)
{
	return tracker_best() != TRACKER_NONE;
}

/* ---- before the freeze ---- */

static int ask(const struct dump_round *r, enum dump_moment when, struct err *e)
{
	return r->q->hook ? r->q->hook(r->q->hook_arg, when, e) : 0;
}

static int check_obstacles(const struct dump_round *r, const struct capture_options *capture, struct err *e)
{
	struct obstacles found = { 0 };
	int rc = capture_check(r->task.pid, capture, &found, e);

	if (rc == 0 && found.count)
		rc = obstacles_refuse(&found, "an installed criu may carry what has no way out here (--engine, DRAY_CRIU)", e);
	obstacles_finish(&found);
	return rc;
}

static int capture_options(struct dump_round *r, struct capture_options *o, struct err *e)
{
	struct tracker_left left;

	*o = (struct capture_options){ .tcp_close = r->q->tcp_close, .shared_memory_apart = true, .dump = true,
				       .writes_untracked_ok = r->trust != TRUST_TRACKER };
	o->tracked = r->d->tracker || tracker_left_look(r->task.pid, r->task.start_time, &left);
	return r->q->requester_socket < 0 ? 0 : capture_socket_peer(r->q->requester_socket, &o->service_socket, e);
}

static bool tracks_on(const struct dump_request *q)
{
	return q->track_mem && q->final_state != DUMP_KILL;
}

static int prepare(struct dump_round *r, struct capture_options *capture, struct err *e)
{
	/* Without track_mem nobody said that the parent counts. */
	if (!r->q->track_mem)
		dump_parent_close(&r->parent);
	if (dump_track_choose(r, tracks_on(r->q), e) < 0 || capture_options(r, capture, e) < 0 || check_obstacles(r, capture, e) < 0 ||
	    ask(r, DUMP_PRE_DUMP, e) < 0)
		return -1;
	r->keeper = keeper_start(r->task.pid, "dump", NULL, e);
	if (!r->keeper)
		return -1;
	return tracks_on(r->q) && r->trust != TRUST_TRACKER ? dump_track_arm(r, e) : 0;
}

/* ---- frozen ---- */

static Drayage__TreeState *capture_state(struct dump_round *r, const struct capture_options *capture, struct err *e)
{
	cleanup_free uint8_t *packed = NULL;
	Drayage__TreeState *tree;
	size_t len;

	if (keeper_capture(r->keeper, capture, &packed, &len, e) < 0)
		return NULL;
	tree = drayage__tree_state__unpack(NULL, len, packed);
	if (!tree)
		err_set(e, ERR_INTERNAL, 0, "the keeper's description of process %d can't be read", r->task.pid);
	return tree;
}

static int write_memory(struct dump_round *r, const Drayage__TreeState *tree, struct err *e)
{
	uint64_t began = clock_us();

	if (dump_round_collect(r, tracks_on(r->q), true, e) < 0 || dump_round_pages(r, e) < 0 ||
	    dump_shared_memory(&r->task, tree, r->sink, e) < 0 || r->sink->ops->finish(r->sink, e) < 0)
		return -1;
	r->stats.memdump_us = clock_us() - began;
	return 0;
}

static int write_state(struct dump_round *r, const Drayage__TreeState *tree, struct err *e)
{
	struct tree_images_options o = { .dump_uptime_us = r->q->track_mem ? r->uptime_us : 0, .tcp_close = r->q->tcp_close,
		.set_id = r->set_id, .start_times = &r->task.start_time };

	if (tracks_on(r->q) && dump_round_note_sent(r, e) < 0)
		return -1;
	if (r->q->cpuinfo && cpuinfo_dump(r->files.aside.dir, e) < 0)
		return -1;
	return tree_images_write(r->files.aside.dir, tree, &o, e) < 0 ? -1 : dump_files_publish(&r->files, e);
}

/* Everything while nothing moves. Once the inventory is there the set can be restored: all of it goes again when the dump fails after that. */
static int dump_frozen(struct dump_round *r, const struct capture_options *capture, struct err *e)
{
	Drayage__TreeState *tree;
	int rc;

	if (ask(r, DUMP_QUERY_EXT_FILES, e) < 0)
		return -1;
	tree = capture_state(r, capture, e);
	if (!tree)
		return -1;
	dump_leave_sequences(&r->task, tree);
	rc = write_memory(r, tree, e);
	if (rc == 0)
		rc = write_state(r, tree, e);
	drayage__tree_state__free_unpacked(tree, NULL);
	if (rc < 0)
		return -1;
	if (ask(r, DUMP_POST_DUMP, e) < 0)
		return -1;
	return r->q->lazy && (ask(r, DUMP_LAZY_READY, e) < 0 || dump_serve_lazy(r, e) < 0) ? -1 : 0;
}

/* ---- the end ---- */

/* While it is held: it stops as soon as we let go. */
static int stop_for_good(struct dump_round *r, struct err *e)
{
	cleanup_fd int fd = pidfd_open_(r->task.pid, 0);

	if (fd < 0 || syscall(SYS_pidfd_send_signal, fd, SIGSTOP, NULL, 0) < 0)
		return err_set(e, ERR_GONE, 0, "process %d ended", r->task.pid);
	return 0;
}

static int let_go(struct dump_round *r, enum keeper_verdict how, struct err *e)
{
	struct keeper *k = steal_pointer(&r->keeper);

	return keeper_end(k, how, e);
}

static int settle(struct dump_round *r, struct err *e)
{
	switch (r->q->final_state) {
	case DUMP_KILL:
		dump_track_forget(r->d);
		return let_go(r, KEEPER_KILL, e);
	case DUMP_STOPPED:
		if (stop_for_good(r, e) < 0)
			return -1;
		return let_go(r, KEEPER_THAW, e);
	case DUMP_RUN_ON:
		return let_go(r, KEEPER_THAW, e);
	}
	return err_set(e, ERR_INTERNAL, 0, "final state %d", (int)r->q->final_state);
}

static int run(struct dump_round *r, struct err *e)
{
	struct capture_options capture;
	struct err ignored = { 0 };
	uint64_t frozen_at;
	int rc;

	if (prepare(r, &capture, e) < 0 || dump_round_freeze(r, e) < 0)
		return -1;
	frozen_at = clock_us();
	rc = dump_frozen(r, &capture, e);
	if (rc < 0) {
		let_go(r, KEEPER_THAW, &ignored);
		return -1;
	}
	if (tracks_on(r->q))
		dump_track_based(r);
	rc = settle(r, e);
	r->stats.frozen_us = clock_us() - frozen_at;
	if (rc < 0)
		return -1;
	dump_write_stats(r->q->work_dir, &r->stats);
	return 0;
}

int dumper_dump(struct dumper *d, const struct dump_request *q, struct dump_stats *out, struct err *e)
{
	return dump_round_run(d, q, run, out, e);
}
