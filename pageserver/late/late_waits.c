/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/late/late_waits.h"

/* Times below LATE_WAITS_STEPS have a bucket each; from there on each doubling has so many. */
static size_t bucket_of(uint64_t us)
{
	unsigned shift = 0;
	size_t i;

	while (us >> shift >= 2 * LATE_WAITS_STEPS)
		shift++;
	i = (size_t)shift * LATE_WAITS_STEPS + (size_t)(us >> shift);
	return i < LATE_WAITS_BUCKETS ? i : LATE_WAITS_BUCKETS - 1;
}

static uint64_t least_of(size_t bucket)
{
	size_t shift = bucket < LATE_WAITS_STEPS ? 0 : bucket / LATE_WAITS_STEPS - 1;

	return (uint64_t)(bucket - shift * LATE_WAITS_STEPS) << shift;
}

void late_waits_begin(struct late_waits *w, uint64_t addr, uint64_t now)
{
	for (size_t i = 0; i < w->open_count; i++)
		if (w->open[i].addr == addr)
			return;
	if (w->open_count == LATE_WAITS_OPEN)
		return;
	w->open[w->open_count].addr = addr;
	w->open[w->open_count++].since = now;
}

void late_waits_placed(struct late_waits *w, uint64_t addr, uint64_t end, uint64_t now)
{
	for (size_t i = 0; i < w->open_count;) {
		if (w->open[i].addr < addr || w->open[i].addr >= end) {
			i++;
			continue;
		}
		w->bucket[bucket_of(now - w->open[i].since)]++;
		w->count++;
		w->open[i] = w->open[--w->open_count];
	}
}

uint64_t late_waits_us(const struct late_waits *w, unsigned permille)
{
	uint64_t rank = (w->count * permille + 999) / 1000, seen = 0;

	for (size_t i = 0; i < LATE_WAITS_BUCKETS; i++) {
		seen += w->bucket[i];
		if (seen > 0 && seen >= rank)
			return least_of(i);
	}
	return 0;
}
