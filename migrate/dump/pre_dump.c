/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/dump/dump_priv.h"
#include "migrate/dump/dump_set.h"
#include "proto/base/io.h"

/* A tracker that reads what stands still stops the task for that, and for no more: pages are copied while it runs, since whatever it writes
 * from here on is found by the next round. */
static int collect(struct dump_round *r, struct err *e)
{
	uint64_t us = 0;
	struct err later = { 0 };
	int rc;

	if (!tracker_needs_stop(r->d->tracker))
		return dump_round_collect(r, true, false, e);
	if (dump_round_freeze(r, e) < 0)
		return -1;
	rc = dump_round_collect(r, true, false, e);
	if (keeper_thaw(r->keeper, &us, rc < 0 ? &later : e) < 0)
		rc = -1;
	r->stats.frozen_us = us;
	return rc;
}

static int prepare(struct dump_round *r, struct err *e)
{
	if (dump_track_choose(r, true, e) < 0)
		return -1;
	r->keeper = keeper_start(r->task.pid, "pre-dump", NULL, e);
	if (!r->keeper)
		return -1;
	return r->trust == TRUST_TRACKER ? 0 : dump_track_arm(r, e);
}

static int run(struct dump_round *r, struct err *e)
{
	uint64_t began;

	if (prepare(r, e) < 0)
		return -1;
	began = clock_us();
	if (collect(r, e) < 0 || dump_round_pages(r, e) < 0 || r->sink->ops->finish(r->sink, e) < 0)
		return -1;
	r->stats.memdump_us = clock_us() - began;
	if (dump_round_note_sent(r, e) < 0 ||
	    dump_write_pre_dump(r->files.aside.dir, r->set_id, r->task.inside, r->task.start_time, r->uptime_us, e) < 0 ||
	    dump_files_publish(&r->files, e) < 0)
		return -1;
	dump_track_based(r);
	dump_write_stats(r->q->work_dir, &r->stats);
	return 0;
}

int dumper_pre_dump(struct dumper *d, const struct dump_request *q, struct dump_stats *out, struct err *e)
{
	return dump_round_run(d, q, run, out, e);
}
