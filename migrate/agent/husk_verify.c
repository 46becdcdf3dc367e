/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/agent/husk_verify.h"

#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include <xxhash.h>

#include "migrate/mm/vma.h"
#include "migrate/track/track.h"

static int staged(struct place *place, uint64_t start, uint64_t end, struct iovec *iov, struct err *e)
{
	struct page_run run = { .addr = start, .kind = RUN_DATA };

	if (end <= start || (start | end) % DRAY_PAGE_SIZE || bytes_to_pages(end - start) > UINT32_MAX)
		return err_set(e, ERR_PROTOCOL, 0, "a range that is none");
	run.pages = (uint32_t)bytes_to_pages(end - start);
	if (place_iovec(place, &run, iov) < 0)
		return err_set(e, ERR_PROTOCOL, 0, "range %#lx is not staged", (unsigned long)start);
	return 0;
}

static int compare_ranges(struct place *place, const Drayage__Verify *msg, uint64_t *bad, struct err *e)
{
	uint64_t last = 0;

	for (size_t i = 0; i < msg->n_ranges && !*bad; i++) {
		const Drayage__RangeDigest *r = msg->ranges[i];
		struct iovec iov;

		if (r->start < last)
			return err_set(e, ERR_PROTOCOL, 0, "ranges that don't ascend");
		last = r->end;
		if (staged(place, r->start, r->end, &iov, e) < 0)
			return -1;
		if (XXH3_64bits(iov.iov_base, iov.iov_len) != r->xxh3)
			*bad = r->start;
	}
	return 0;
}

static bool is_zero(const void *page)
{
	static const char zeros[DRAY_PAGE_SIZE];

	return memcmp(page, zeros, sizeof(zeros)) == 0;
}

/* Pages of a run that no range covers, ranges and runs ascending: they must be zero, as what isn't there reads. A huge page made for
 * memory of which the source has only a part is such a case. */
static uint64_t uncovered(const Drayage__Verify *msg, size_t *next, const struct page_run *run, uint64_t bit)
{
	for (uint64_t at = run->addr; at < run_end(run); at += DRAY_PAGE_SIZE) {
		uint64_t addr = at ^ bit;

		while (*next < msg->n_ranges && msg->ranges[*next]->end <= addr)
			++*next;
		if (*next < msg->n_ranges && msg->ranges[*next]->start <= addr)
			continue;
		if (!is_zero((const void *)(uintptr_t)at))
			return addr;
	}
	return 0;
}

/* Only private memory: what shared memory holds beyond the mapped part is its own. */
static int find_surplus(struct place *place, const Drayage__Verify *msg, uint64_t *bad, struct err *e)
{
	uint64_t bit = place_stage_bit(place);
	struct vma_list vmas = { 0 };
	struct tracker *all = NULL;
	struct collected c = { 0 };
	uint64_t last = 0;
	size_t next = 0;
	int rc = vma_list_read(&vmas, getpid(), VMA_READ_MAPS, e);

	if (rc == 0 && !(all = tracker_open(TRACKER_NONE, getpid(), -1, e)))
		rc = -1;
	if (rc == 0)
		rc = tracker_collect(all, &vmas, false, true, &c, e);
	for (size_t i = 0; rc == 0 && !*bad && i < c.runs.count; i++) {
		const struct page_run *run = &c.runs.run[i];
		const struct vma *v = vma_list_find(&vmas, run->addr);
		struct page_run source = *run;
		struct iovec iov;

		source.addr ^= bit;
		if (source.addr < last) /* stage addresses ascend, those of the source only in stretches */
			next = 0;
		last = source.addr;
		if (v && v->kind != VMA_SHMEM && run->kind == RUN_DATA && place_iovec(place, &source, &iov) == 0)
			*bad = uncovered(msg, &next, run, bit);
	}
	collected_finish(&c);
	tracker_close(all);
	vma_list_finish(&vmas);
	return rc;
}

int husk_verify(struct place *place, const Drayage__Verify *msg, uint64_t *bad, struct err *e)
{
	*bad = 0;
	if (compare_ranges(place, msg, bad, e) < 0)
		return -1;
	return *bad ? 0 : find_surplus(place, msg, bad, e);
}
