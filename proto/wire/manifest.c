/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire/manifest.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "proto/base/le.h"

/* The hash of a page is F(end of the page) - F(start of the page), F being XXH3-128 of (mm, round, kind, address). Summed over a run
 * all inner terms cancel, so a run costs two hashes however long it is. Nothing is lost: the sum tells how often each
 * address begins or ends a stretch of placements, and that determines how often each page was placed. */
static XXH128_hash_t boundary(uint32_t mm, uint32_t round, uint32_t kind, uint64_t addr)
{
	uint8_t key[20];

	le32_put(key, mm);
	le32_put(key + 4, round);
	le32_put(key + 8, kind);
	le64_put(key + 12, addr);
	return XXH3_128bits(key, sizeof(key));
}

static void add128(struct manifest *m, uint64_t low, uint64_t high)
{
	m->low += low;
	m->high += high + (m->low < low);
}

void manifest_add(struct manifest *m, uint32_t mm, uint32_t round, const struct page_run *run)
{
	XXH128_hash_t start = boundary(mm, round, run->kind, run->addr);
	XXH128_hash_t end = boundary(mm, round, run->kind, run_end(run));

	add128(m, end.low64, end.high64);
	add128(m, ~start.low64, ~start.high64); /* minus start: its complement plus one */
	add128(m, 1, 0);
	m->pages += run->pages;
}

void manifest_merge(struct manifest *into, const struct manifest *from)
{
	add128(into, from->low, from->high);
	into->pages += from->pages;
}

bool manifest_equal(const struct manifest *a, const struct manifest *b)
{
	return a->low == b->low && a->high == b->high && a->pages == b->pages;
}
