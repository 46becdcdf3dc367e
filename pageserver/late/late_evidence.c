/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/late/late_order_priv.h"

#include <errno.h>
#include <stdlib.h>

enum { LOOKS = 16 /* stretches of what is missing */, LOOKS_IN = 16 /* places of one */, LARGE = 8 /* pages: more than what something grows by, mostly */ };

int late_trial_outline(const struct late_told *t, size_t count, const struct late_map *m, struct late_map *out)
{
	struct page_run *ranges = calloc(2 * count, sizeof(*ranges));
	size_t n = 0;
	int rc;

	if (!ranges)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		ranges[n++] = (struct page_run){ .addr = t[i].c.from, .pages = (uint32_t)t[i].c.pages };
		if (t[i].c.kind == LATE_MOVED)
			ranges[n++] = (struct page_run){ .addr = t[i].c.to, .pages = (uint32_t)t[i].c.pages };
	}
	rc = late_map_outline(m, ranges, n, out);
	free(ranges);
	return rc;
}

/* So that not each page of a long stretch is looked at, but its last. */
static uint64_t step_through(uint64_t pages)
{
	return pages > LOOKS_IN ? (pages - 1) / (LOOKS_IN - 1) : 1;
}

static int check_missing(const struct late_trial *t, const struct late_seg *s, const struct late_look *look)
{
	struct late_cursor c = { 0 };
	struct late_stretch x;

	for (unsigned i = 0; i < LOOKS && late_map_next(t->m, s->source, s->pages, &c, &x); i++) {
		uint64_t step = step_through(x.pages);

		for (uint64_t p = 0; p < x.pages; p += step) {
			int is = look->there(look->arg, s->at + (x.source - s->source) + pages_to_bytes(p));

			if (is != LATE_ABSENT)
				return is < 0 ? is : LATE_NOT_SO;
		}
	}
	return 0;
}

/* Where the outcome says that nothing is: 0: so it is; 1: some is watched, as by what another one grew by; LATE_HOLE: all of it, and it is large. */
static int check_empty(const struct late_map *outcome, uint64_t at, uint64_t pages,
		       const struct late_look *look)
{
	uint64_t step = step_through(pages);
	unsigned looked = 0, watched = 0;

	for (uint64_t p = 0; p < pages; p += step, looked++) {
		int is = late_map_holds(outcome, at + pages_to_bytes(p), 1) ? LATE_UNWATCHED : look->there(look->arg, at + pages_to_bytes(p));

		if (is < 0)
			return is;
		watched += is != LATE_UNWATCHED;
	}
	return watched == 0 ? 0 : watched == looked && pages >= LARGE ? LATE_HOLE : 1;
}

static bool is_lost(const struct late_map *outcome, const struct late_seg *was)
{
	for (size_t i = 0; i < outcome->count; i++)
		if (late_stretches_meet(outcome->seg[i].source, outcome->seg[i].pages, was->source, was->pages))
			return false;
	return was->misses;
}

/* What was somewhere, and is not there any more. */
static int check_left(const struct late_trial *t, const struct late_map *outcome, const struct late_seg *was, const struct late_look *look)
{
	int rc = check_empty(outcome, was->at, was->pages, look), sum = rc;

	for (size_t i = 0; i < t->count && rc >= 0 && is_lost(outcome, was); i++) {
		const struct late_change *c = &t->t[i].c;

		if (c->kind == LATE_MOVED && late_stretches_meet(c->from, c->pages, was->at, 1))
			sum += rc = check_empty(outcome, was->at - c->from + c->to, was->pages, look);
	}
	return rc < 0 ? rc : sum;
}

int late_trial_check(const struct late_trial *t, const struct late_map *outcome, const struct late_look *look)
{
	int rc = 0, sum = 0;

	for (size_t i = 0; i < outcome->count && rc == 0; i++)
		if (outcome->seg[i].misses)
			rc = check_missing(t, &outcome->seg[i], look);
	for (size_t i = 0; i < t->base.count && rc >= 0; i++)
		sum += rc = check_left(t, outcome, &t->base.seg[i], look);
	for (size_t i = 0; i < t->count && rc >= 0; i++)
		if (t->t[i].c.kind == LATE_MOVED)
			sum += rc = check_empty(outcome, t->t[i].c.to, t->t[i].c.pages, look);
	return rc < 0 ? rc : sum;
}
