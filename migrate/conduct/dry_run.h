/* SPDX-License-Identifier: Apache-2.0 */
/* dry_run.h - what a migration would do, without stopping, injecting or connecting anything.
 *
 * The dirty rate comes from reading a random sample of the pages twice, a second apart, from outside: pages whose digests differ
 * changed. That costs the target nothing, needs no tracker, and counts a page that is written again and again once, as a round would.
 * Pages that were rewritten with what they held count as clean: a tracker would count them. Threads: any. */
#ifndef DRAY_MIGRATE_DRY_RUN_H
#define DRAY_MIGRATE_DRY_RUN_H

#include "migrate/conduct/config.h"
#include "migrate/native/capture.h"
#include "proto/base/err.h"

struct dry_run {
	char comm[32];
	size_t mappings, threads;
	uint64_t present_bytes;     /* would travel in the first round */
	uint64_t shared_bytes;      /* of these in shared memory, that may travel again inside the freeze */
	uint64_t sampled_pages, changed_pages;
	uint64_t dirty_bytes_per_s;
	const char *tracker;
	uint64_t assumed_bytes_per_s; /* of the way to the destination: --max-bandwidth, or an assumption */
	unsigned predicted_rounds;    /* with the frozen one */
	uint64_t predicted_blackout_us;
	bool converges;
	struct obstacles obstacles;   /* what would not move, and why */
};

int dry_run(const struct migrate_config *c, struct dry_run *out, struct err *e);
void dry_run_finish(struct dry_run *d);

#endif
