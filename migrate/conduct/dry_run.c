/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/conduct/dry_run.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "migrate/conduct/policy.h"
#include "migrate/conduct/target.h"
#include "migrate/dump/tracker_left.h"
#include "migrate/extract/sample.h"
#include "migrate/mm/vma.h"
#include "migrate/track/track.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"

enum { SAMPLE_PAGES = 16384 /* 64 MiB: a percent of the rate at a standard error of some 8 % of itself */, WATCH_MS = 1000 };
#define ASSUMED_BYTES_PER_S 1000000000ull /* 10 Gb/s, less framing: said so in the report */
#define ASSUMED_FIXED_US 10000

static uint64_t digest_page(pid_t pid, uint64_t addr)
{
	unsigned char page[DRAY_PAGE_SIZE];

	return sample_read(pid, addr, page) ? XXH3_64bits(page, sizeof(page)) | 1 : 0;
}

static int watch(struct dry_run *d, pid_t pid, const struct run_list *runs, struct err *e)
{
	cleanup_free uint64_t *addr = calloc(SAMPLE_PAGES, sizeof(*addr)), *digest = calloc(SAMPLE_PAGES, sizeof(*digest));
	uint64_t begin = clock_us(), us;
	size_t n;

	if (!addr || !digest)
		return err_set(e, ERR_SYSTEM, ENOMEM, "sample");
	n = sample_choose(runs, addr, SAMPLE_PAGES);
	for (size_t i = 0; i < n; i++)
		digest[i] = digest_page(pid, addr[i]); /* 0: could not be read */
	us = clock_us() - begin;
	if (us < WATCH_MS * 1000ull)
		poll(NULL, 0, (int)(WATCH_MS - us / 1000)); /* a second is what is measured */
	us = clock_us() - begin;
	for (size_t i = 0; i < n; i++)
		d->changed_pages += digest_page(pid, addr[i]) != digest[i];
	d->sampled_pages = n;
	if (n)
		d->dirty_bytes_per_s = (uint64_t)((double)d->changed_pages / (double)n *
						  (double)pages_to_bytes(runs->data_pages) * 1e6 / (double)us);
	return 0;
}

/* Plays the policy against the measured rate: what a round leaves is what was written while it ran, never more than there is. */
static void predict(struct dry_run *d, const struct migrate_config *c)
{
	const struct policy_limits limits = { .downtime_us = c->downtime_limit_ms * 1000, .on_stall = STALL_ABORT,
					      .max_rounds = c->max_rounds > 1 ? (unsigned)c->max_rounds - 1 : 1 };
	struct policy policy;
	struct policy_decision verdict = { .verdict = POLICY_ROUND };
	uint64_t bytes = d->present_bytes;
	struct policy_round r = { .bandwidth = d->assumed_bytes_per_s, .fixed_us = ASSUMED_FIXED_US };

	policy_init(&policy, &limits);
	while (verdict.verdict == POLICY_ROUND) {
		double seconds = (double)bytes / (double)d->assumed_bytes_per_s + (double)verdict.pause_us / 1e6;
		double written = seconds * (double)d->dirty_bytes_per_s;

		r.round++;
		bytes = written < (double)d->present_bytes ? (uint64_t)written : d->present_bytes;
		r.remaining_bytes = bytes;
		r.elapsed_us += (uint64_t)(seconds * 1e6);
		verdict = policy_decide(&policy, &r);
	}
	d->predicted_rounds = r.round + 1;
	d->predicted_blackout_us = verdict.predicted_us;
	d->converges = verdict.verdict == POLICY_FREEZE;
}

static int look_at_memory(struct dry_run *d, pid_t pid, struct err *e)
{
	struct tracker *all = NULL;
	struct vma_list vmas = { 0 };
	struct collected c = { 0 };
	int rc = vma_list_read(&vmas, pid, VMA_READ_SMAPS, e);

	for (size_t i = 0; rc == 0 && i < vmas.count; i++)
		if (vmas.vma[i].kind == VMA_SHMEM)
			d->shared_bytes += vmas.vma[i].rss_bytes;
	if (rc == 0 && !(all = tracker_open(TRACKER_NONE, pid, -1, e)))
		rc = -1;
	if (rc == 0)
		rc = tracker_collect(all, &vmas, false, false, &c, e);
	if (rc == 0)
		rc = watch(d, pid, &c.runs, e);
	tracker_close(all);
	collected_finish(&c);
	vma_list_finish(&vmas);
	return rc;
}

int dry_run(const struct migrate_config *c, struct dry_run *d, struct err *e)
{
	struct capture_options opt = { .tcp_close = c->tcp_close, .writes_untracked_ok = c->tracker == TRACKER_NONE,
		.tracked = tracker_left_for((pid_t)c->pid) };
	enum tracker_kind tracker = c->tracker == TRACKER_AUTO ? tracker_best() : c->tracker;
	struct target_facts t = { 0 };

	*d = (struct dry_run){ .assumed_bytes_per_s = c->max_bandwidth ? c->max_bandwidth : ASSUMED_BYTES_PER_S };
	if (!tracker_probe(tracker, e))
		return err_wrap(e, "--tracker %s", tracker_name(tracker));
	if (target_read(&t, (pid_t)c->pid, e) < 0)
		return -1;
	memcpy(d->comm, t.comm, sizeof(d->comm));
	d->tracker = tracker_name(tracker);
	d->mappings = t.mappings;
	d->threads = t.tids;
	d->present_bytes = t.present_bytes;
	target_finish(&t);
	if (capture_check((pid_t)c->pid, &opt, &d->obstacles, e) < 0 || look_at_memory(d, (pid_t)c->pid, e) < 0) {
		dry_run_finish(d);
		return -1;
	}
	predict(d, c);
	return 0;
}

void dry_run_finish(struct dry_run *d)
{
	obstacles_finish(&d->obstacles);
}
