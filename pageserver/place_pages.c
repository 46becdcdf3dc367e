/* SPDX-License-Identifier: Apache-2.0 */
/* The page path: where a run belongs, what it costs, and that it meets huge pages where whole ones were announced. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "pageserver/place_priv.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum {
	LIMIT_SLACK = 4 << 20,    /* so that memory at its limit can be written once more */
	ZERO_IN_PLACE = 64,       /* pages: a shorter drop in a huge page doesn't split it */
	POPULATE_MIN = 16,        /* pages: shorter runs fault their pages in as they are written */
	STATUS_MAX = 64 * 1024,
	COLLAPSE_BLOCKS = 4,      /* a call: longer ones keep the socket waiting until its buffer is full */
	HUGE_BLOCKS_MAX = 8 << 20, /* a byte each: 16 TiB */
};

/* Memory of this process that no file can give back. */
int resident_bytes(uint64_t *bytes, struct err *e)
{
	static const char *const fields[] = { "\nRssAnon:", "\nRssShmem:", "\nVmSwap:" };
	cleanup_free char *text = file_read(AT_FDCWD, "/proc/self/status", STATUS_MAX, NULL, e);

	if (!text)
		return -1;
	*bytes = 0;
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		const char *at = strstr(text, fields[i]);

		if (at)
			*bytes += strtoull(at + strlen(fields[i]), NULL, 10) << 10;
	}
	return 0;
}

/* Counts anew. Several receivers may come here at once; the first to count serves the others. */
static int charge_slowly(struct place *p, int64_t bytes)
{
	struct err e;
	uint64_t now;
	int64_t room;
	int rc = 0;

	pthread_mutex_lock(&p->counting);
	if (atomic_load(&p->credit) >= bytes) {
		atomic_fetch_sub(&p->credit, bytes);
	} else if (resident_bytes(&now, &e) < 0) {
		rc = -EIO;
	} else {
		now = now > p->baseline ? now - p->baseline : 0;
		room = (int64_t)(p->max_bytes + LIMIT_SLACK) - (int64_t)now;
		if (room < bytes)
			rc = -EDQUOT;
		else
			atomic_store(&p->credit, room - bytes);
	}
	pthread_mutex_unlock(&p->counting);
	return rc;
}

static int charge(struct place *p, uint64_t bytes)
{
	int64_t n = (int64_t)bytes;

	if (p->max_bytes == 0)
		return 0;
	if (atomic_fetch_sub_explicit(&p->credit, n, memory_order_relaxed) >= n)
		return 0;
	return charge_slowly(p, n);
}

/* The range of huge pages that addr lies in or that starts next; count when there is none. */
static size_t find_range(const struct huge *h, uint64_t addr)
{
	size_t low = 0, high = h->count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (h->range[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static _Atomic uint8_t *block_at(const struct huge *h, const struct huge_range *r, uint64_t addr)
{
	return &h->block[r->first + ((addr - r->start) >> HUGE_SHIFT)];
}

/* One small page in each block, then each block collapsed into one huge page: as fast as a huge page fault, and the mapping keeps no advice.
 * Several blocks a call, since each call has every processor empty its lists of pages first. */
static int collapse(struct place *p, uint64_t start, uint64_t end)
{
	for (uint64_t at = start; at < end; at += HUGE_SIZE) {
		if (madvise(staged_at(p, at), DRAY_PAGE_SIZE, MADV_POPULATE_WRITE) < 0)
			return -errno;
	}
	return madvise(staged_at(p, start), end - start, MADV_COLLAPSE) < 0 ? -errno : 0;
}

/* Makes the awaited blocks from `at` on huge. Where the kernel can't (before 6.1, or no huge page is free, or a block lies in two mappings) small
 * pages come as they are touched; to find that out again for the next ones costs little. With the lock held. */
static void make_huge(struct place *p, const struct huge_range *r, uint64_t at)
{
	_Atomic uint8_t *state = block_at(&p->huge, r, at);
	size_t left = (size_t)((r->end - at) >> HUGE_SHIFT), n = 0;
	enum block_state made = BLOCK_LEFT;

	while (n < left && n < COLLAPSE_BLOCKS && atomic_load_explicit(&state[n], memory_order_relaxed) == BLOCK_AWAITED)
		n++;
	if (charge(p, n * HUGE_SIZE) == 0 && collapse(p, at, at + n * HUGE_SIZE) == 0)
		made = BLOCK_HUGE;
	for (size_t i = 0; i < n; i++)
		atomic_store_explicit(&state[i], (uint8_t)made, memory_order_release);
}

/* A receiver that meets a block in the making waits for it: pages that come meanwhile would be small ones, and be copied. */
static void prepare_blocks(struct place *p, uint64_t start, uint64_t end)
{
	struct huge *h = &p->huge;

	for (size_t i = find_range(h, start); i < h->count && h->range[i].start < end; i++) {
		const struct huge_range *r = &h->range[i];
		uint64_t at = r->start > start ? r->start : start & ~(HUGE_SIZE - 1), stop = r->end < end ? r->end : end;

		for (; at < stop; at += HUGE_SIZE) {
			_Atomic uint8_t *state = block_at(h, r, at);

			if (atomic_load_explicit(state, memory_order_acquire) != BLOCK_AWAITED)
				continue;
			pthread_mutex_lock(&p->collapsing);
			if (atomic_load_explicit(state, memory_order_relaxed) == BLOCK_AWAITED)
				make_huge(p, r, at);
			pthread_mutex_unlock(&p->collapsing);
		}
	}
}

/* Whether [start, end) is staged without a hole, all of it memory that pages may be placed in. Since neighbours at the source are neighbours
 * here, as long as the bit doesn't lie between them, one iovec holds it. */
static bool covered(const struct place *p, uint64_t start, uint64_t end, size_t *first)
{
	size_t i = segments_find(&p->segs, start);

	*first = i;
	if ((start ^ (end - 1)) & p->bit)
		return false;
	for (; i < p->segs.count && p->segs.v[i].start <= start && p->segs.v[i].kind != SEGMENT_FILE_SHARED; i++) {
		if (p->segs.v[i].end >= end)
			return true;
		start = p->segs.v[i].end;
	}
	return false;
}

/* Fresh small pages made in one call save a fifth of what they cost one fault at a time. Whether a run is fresh its first page tells: looking at
 * each would cost the later rounds what the first one saves. */
static void populate_ahead(const struct place *p, const struct page_run *run, size_t first)
{
	const struct segment *s = &p->segs.v[first];
	void *at = staged_at(p, run->addr);
	unsigned char present;

	if (run->pages < POPULATE_MIN || s->kind != SEGMENT_ANON || run_end(run) > s->end)
		return;
	if (mincore(at, DRAY_PAGE_SIZE, &present) == 0 && !(present & 1))
		madvise(at, run_end(run) - run->addr, MADV_POPULATE_WRITE);
}

int place_iovec(struct place *p, const struct page_run *run, struct iovec *iov)
{
	uint64_t end = run_end(run);
	size_t first;
	int rc;

	if (run->pages == 0 || run->addr >= PLACE_ADDRESS_END || end > PLACE_ADDRESS_END || !covered(p, run->addr, end, &first))
		return -EFAULT;
	rc = charge(p, end - run->addr);
	if (rc < 0)
		return rc;
	if (p->huge.count > 0)
		prepare_blocks(p, run->addr, end);
	populate_ahead(p, run, first);
	*iov = (struct iovec){ .iov_base = staged_at(p, run->addr), .iov_len = end - run->addr };
	return 0;
}

static int discard(struct place *p, uint64_t start, uint64_t end, enum segment_kind kind)
{
	int advice = kind == SEGMENT_SHMEM ? MADV_REMOVE : MADV_DONTNEED;

	if (kind == SEGMENT_FILE_SHARED)
		return 0;
	return madvise(staged_at(p, start), end - start, advice) < 0 ? -errno : 0;
}

/* In the round that announced a block as wholly present, a short drop in it is a page full of zeros that travelled as nothing: the source has
 * that page, so it stays, and the huge page whole. */
static bool zero_in_place(struct place *p, const struct page_run *run)
{
	size_t i = find_range(&p->huge, run->addr);
	const struct huge_range *r;

	if (run->pages >= ZERO_IN_PLACE || i == p->huge.count)
		return false;
	r = &p->huge.range[i];
	if (r->start > run->addr || r->end < run_end(run))
		return false;
	if ((run->addr ^ (run_end(run) - 1)) >> HUGE_SHIFT || atomic_load(block_at(&p->huge, r, run->addr)) != BLOCK_HUGE)
		return false;
	memset(staged_at(p, run->addr), 0, run_end(run) - run->addr);
	return true;
}

int place_drop(struct place *p, const struct page_run *run)
{
	uint64_t at = run->addr, end = run_end(run);
	size_t i;

	if (run->pages == 0 || at >= PLACE_ADDRESS_END || end > PLACE_ADDRESS_END || !covered(p, at, end, &i))
		return -EFAULT;
	if (zero_in_place(p, run))
		return 0;
	for (; at < end; i++) {
		uint64_t stop = p->segs.v[i].end < end ? p->segs.v[i].end : end;
		int rc = discard(p, at, stop, p->segs.v[i].kind);

		if (rc < 0)
			return rc;
		at = stop;
	}
	return 0;
}

/* A mapping that is new or was replaced by one of the same kind. Shared memory is an object of its own, which a new mapping of it
 * leaves as it is. Addresses that aren't mapped any more are of no interest. */
int place_reset(struct place *p, uint64_t start, uint64_t end, struct err *e)
{
	for (size_t i = segments_find(&p->segs, start); i < p->segs.count && p->segs.v[i].start < end; i++) {
		const struct segment *s = &p->segs.v[i];
		uint64_t from = s->start > start ? s->start : start, to = s->end < end ? s->end : end;
		int rc;

		if (s->kind == SEGMENT_SHMEM || s->kind == SEGMENT_FILE_SHARED)
			continue;
		if ((from | to) & (DRAY_PAGE_SIZE - 1))
			return err_set(e, ERR_PROTOCOL, 0, "reset %llx-%llx: not whole pages", (unsigned long long)start,
				       (unsigned long long)end);
		rc = discard(p, from, to, s->kind);
		if (rc < 0)
			return err_set(e, ERR_SYSTEM, -rc, "reset %llx-%llx", (unsigned long long)from, (unsigned long long)to);
	}
	return 0;
}

static bool is_anonymous(const struct place *p, uint64_t start, uint64_t end)
{
	size_t i = segments_find(&p->segs, start);

	for (; i < p->segs.count && p->segs.v[i].start <= start && p->segs.v[i].kind == SEGMENT_ANON; i++) {
		if (p->segs.v[i].end >= end)
			return true;
		start = p->segs.v[i].end;
	}
	return false;
}

int huge_announce(struct place *p, Drayage__Range *const *range, size_t count, struct err *e)
{
	struct huge new = { 0 };
	uint64_t last_end = 0;
	size_t blocks = 0;

	huge_finish(&p->huge);
	if (count == 0)
		return 0;
	new.range = malloc(count * sizeof(*new.range));
	if (!new.range)
		return err_set(e, ERR_SYSTEM, ENOMEM, "huge pages");
	for (size_t i = 0; i < count; i++) {
		uint64_t start = range[i]->start, end = range[i]->end;

		if ((start | end) & (HUGE_SIZE - 1) || start >= end || start < last_end || end > PLACE_ADDRESS_END) {
			huge_finish(&new);
			return err_set(e, ERR_PROTOCOL, 0, "populate %llx-%llx: not 2 MiB pages above the range before",
				       (unsigned long long)start, (unsigned long long)end);
		}
		last_end = end;
		if (!is_anonymous(p, start, end) || blocks + ((end - start) >> HUGE_SHIFT) > HUGE_BLOCKS_MAX)
			continue; /* only anonymous memory has huge pages of this kind */
		new.range[new.count++] = (struct huge_range){ .start = start, .end = end, .first = blocks };
		blocks += (size_t)((end - start) >> HUGE_SHIFT);
	}
	new.block = calloc(blocks ? blocks : 1, sizeof(*new.block));
	if (!new.block) {
		huge_finish(&new);
		return err_set(e, ERR_SYSTEM, ENOMEM, "huge pages");
	}
	p->huge = new;
	return 0;
}

void huge_finish(struct huge *h)
{
	free(h->range);
	free((void *)(uintptr_t)h->block);
	*h = (struct huge){ 0 };
}
