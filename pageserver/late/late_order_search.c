/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/late/late_order_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES_MAX = 4000, SEEN_MAX = 1 << 13 /* more than tries */, AHEAD_MAX = 16 /* threads that have done what they did not come to say yet */ };

struct search {
	struct late_trial trial;
	const struct late_look *look;
	uint64_t *seen;               /* what was tried: which are used, and what came of it; SEEN_MAX, 0: free */
	uint64_t used_key;
	bool *used;
	size_t *picked, depth;        /* changes, in order; the unmap of a move's old place is used, but not picked */
	bool raced;                   /* threads may change the same block at once, without waiting for each other */
	bool dontunmap;               /* moves may leave their old place mapped */
	unsigned tries, ahead;        /* left; most threads that have something to say */
	size_t *best, best_depth;     /* the first of those that fit best */
	struct late_map outcome;      /* its */
	bool found, two;              /* another one fits as well */
	int fit;                      /* its unexplained places and unmaps of what nobody knew of; -1: not looked at yet */
	int unknown, best_unknown;    /* those unmaps */
};

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 31) * 0x7fb5d329728ea185ull;
	x = (x ^ x >> 27) * 0x81dadef4bc2dd44dull;
	return x ^ x >> 33;
}

static uint64_t key_of(const struct search *s, const struct late_map *state)
{
	uint64_t key = s->used_key;

	for (size_t i = 0; i < state->count; i++) {
		const struct late_seg *g = &state->seg[i];

		key += mix(mix(g->at + 1) + mix(g->source + 2) + mix(g->pages + 3) + g->last);
	}
	return key | 1;
}

/* Many orders of the same changes come to the same: one is enough. */
static bool was_seen(struct search *s, const struct late_map *state)
{
	uint64_t key = key_of(s, state);

	for (size_t i = key % SEEN_MAX;; i = (i + 1) % SEEN_MAX) {
		if (s->seen[i] == key)
			return true;
		if (s->seen[i] == 0) {
			s->seen[i] = key;
			return false;
		}
	}
}

/* What nobody knew of may have been there, as what a mapping had grown by: not where a move has something that is known. */
static bool is_possible(const struct search *s, const struct late_map *state, const struct late_change *c)
{
	if (c->kind != LATE_MOVED)
		return true;
	return !late_map_holds(state, c->to, c->pages) &&
	       (late_map_holds(state, c->from, c->pages) || !late_map_holds(&s->trial.base, c->from, c->pages));
}

/* The unmap of a move's old place, or count. */
static size_t own_unmap(const struct search *s, size_t move)
{
	const struct late_change *m = &s->trial.t[move].c;

	for (size_t i = move + 1; i < s->trial.count; i++) {
		const struct late_change *c = &s->trial.t[i].c;

		if (!s->used[i] && c->kind == LATE_UNMAPPED && c->from == m->from && c->pages == m->pages)
			return i;
	}
	return s->trial.count;
}

static int take_best(struct search *s, const struct late_map *state, int fit)
{
	late_map_finish(&s->outcome);
	memcpy(s->best, s->picked, s->depth * sizeof(*s->best));
	s->best_depth = s->depth;
	s->found = true;
	s->two = false;
	s->fit = fit;
	s->best_unknown = s->unknown;
	return late_map_outline_copy(state, &s->outcome);
}

/* Only where two differ memory is looked at. */
static int solved(struct search *s, const struct late_map *state)
{
	int fit;

	if (!s->found)
		return take_best(s, state, -1);
	if (late_map_outlines_agree(&s->outcome, state))
		return 0;
	if (s->fit < 0) {
		fit = late_trial_check(&s->trial, &s->outcome, s->look);
		if (fit < LATE_NOT_SO)
			return fit;
		s->fit = fit == LATE_NOT_SO ? INT32_MAX : fit + s->best_unknown;
	}
	fit = late_trial_check(&s->trial, state, s->look);
	if (fit < LATE_NOT_SO)
		return fit;
	fit += fit != LATE_NOT_SO ? s->unknown : 0;
	if (fit != LATE_NOT_SO && fit < s->fit)
		return take_best(s, state, fit);
	s->two |= fit == s->fit;
	return 0;
}

static int search(struct search *s, const struct late_map *state);

/* Who changes what another thread has changed before him waits until it was told of: else he would not know where it is. False: it was not so. */
static bool pass_on(struct late_map *state, const struct late_told *t)
{
	bool in_turn = true;

	for (size_t i = 0; i < state->count; i++) {
		struct late_seg *g = &state->seg[i];

		if (!late_stretches_meet(g->at, g->pages, t->c.from, t->c.pages))
			continue;
		in_turn &= g->last <= t->number;
		g->last = t->number + 1;
	}
	return in_turn;
}

/* By what would have to have been there without our knowing. Little of it may: what a mapping had grown by is unmapped, or moves with it. */
static int how_unlikely(const struct search *s, const struct late_map *state, const struct late_change *c)
{
	uint64_t held = late_map_held(state, c->from, c->pages);

	if (c->kind == LATE_DISCARDED || held == c->pages)
		return 0;
	if (c->kind == LATE_UNMAPPED)
		return held == 0;
	return 2 * held < c->pages || late_map_held(&s->trial.base, c->from, c->pages) > held ? LATE_HOLE : 1;
}

static int pick(struct search *s, const struct late_map *state, size_t i)
{
	const struct late_change *c = &s->trial.t[i].c;
	size_t unmap = c->kind == LATE_MOVED ? own_unmap(s, i) : s->trial.count;
	uint64_t key = mix(i + 1) + (unmap < s->trial.count ? mix(unmap + 1) : 0);
	int unlikely = how_unlikely(s, state, c);
	struct late_map next = { 0 };
	int rc;

	if (c->kind == LATE_MOVED && unmap == s->trial.count && !s->dontunmap)
		return 0;
	rc = late_map_outline_copy(state, &next);
	if (rc == 0 && c->kind != LATE_DISCARDED && !pass_on(&next, &s->trial.t[i]) && !s->raced)
		goto out;
	if (rc == 0)
		rc = late_change_apply_to_outline(c, &next);
	if (rc == 0) {
		s->used[i] = true;
		if (unmap < s->trial.count)
			s->used[unmap] = true;
		s->picked[s->depth++] = i;
		s->unknown += unlikely;
		s->used_key += key;
		rc = search(s, &next);
		s->used_key -= key;
		s->unknown -= unlikely;
		s->depth--;
		s->used[i] = false;
		if (unmap < s->trial.count)
			s->used[unmap] = false;
	}
out:
	late_map_finish(&next);
	return rc;
}

/* Who is picked before the first that is left has done what it did not come to say yet: a thread for each. */
static unsigned picked_ahead(const struct search *s, size_t first)
{
	unsigned n = 0;

	for (size_t i = 0; i < s->depth; i++)
		n += s->picked[i] > first;
	return n;
}

/* Those of what is left that the first has anything to do with: in which order the others are done is another matter. near: room for as many. */
static void find_near(const struct search *s, size_t first, bool *near)
{
	bool more = true;

	memset(near, 0, s->trial.count * sizeof(*near));
	near[first] = true;
	while (more) {
		more = false;
		for (size_t i = first; i < s->trial.count; i++)
			for (size_t j = first; j < s->trial.count && !near[i] && !s->used[i]; j++)
				if (near[j] && late_changes_touch(&s->trial.t[i].c, &s->trial.t[j].c))
					more = near[i] = true;
	}
}

static int search(struct search *s, const struct late_map *state)
{
	bool *near;
	size_t first = 0;
	int rc = 0;

	while (first < s->trial.count && s->used[first])
		first++;
	if (first == s->trial.count)
		return solved(s, state);
	if (was_seen(s, state))
		return 0;
	near = calloc(s->trial.count, sizeof(*near));
	if (!near)
		return -ENOMEM;
	find_near(s, first, near);
	for (size_t i = first; i < s->trial.count && rc == 0; i++) {
		const struct late_change *c = &s->trial.t[i].c;

		if (!near[i])
			continue;
		if (i > first && (c->kind == LATE_DISCARDED || picked_ahead(s, first) >= s->ahead))
			continue;
		if (s->used[i] || !is_possible(s, state, c))
			continue;
		rc = s->tries-- > 0 ? pick(s, state, i) : -E2BIG;
		if (s->trial.t[first].c.kind == LATE_DISCARDED)
			break;
	}
	free(near);
	return rc;
}

static void rearrange(struct late_told *t, const struct search *s)
{
	struct late_told *old = t + s->trial.count; /* room for it, behind */

	memcpy(old, t, s->trial.count * sizeof(*t));
	for (size_t i = 0; i < s->best_depth; i++)
		t[i] = old[s->best[i]];
}

static int run_search(struct search *s)
{
	static const struct { bool raced, dontunmap; } assume[] = { { false, false }, { false, true }, { true, false }, { true, true } };
	int rc = 0;

	for (size_t i = 0; i < sizeof(assume) / sizeof(assume[0]) && rc == 0 && !s->found; i++) {
		memset(s->seen, 0, SEEN_MAX * sizeof(*s->seen));
		s->tries = TRIES_MAX;
		s->raced = assume[i].raced;
		s->dontunmap = assume[i].dontunmap;
		rc = search(s, &s->trial.base);
	}
	return rc;
}

/* -E2BIG: no. */
static int is_so(struct search *s)
{
	int fit = s->fit >= 0 ? s->fit : late_trial_check(&s->trial, &s->outcome, s->look);

	if (fit < LATE_NOT_SO)
		return fit;
	return fit == LATE_NOT_SO || fit == INT32_MAX ? -E2BIG : 0;
}

int late_order_search(struct late_told *t, size_t count, const struct late_map *m, const struct late_look *look, size_t *kept)
{
	struct search s = { .trial = { .t = t, .count = count, .m = m }, .look = look, .used = calloc(count, sizeof(*s.used)),
		.seen = malloc(SEEN_MAX * sizeof(*s.seen)),
		.picked = calloc(2 * count, sizeof(*s.picked)) };
	unsigned threads = look->threads(look->arg);
	int rc = s.used && s.picked && s.seen ? late_trial_outline(t, count, m, &s.trial.base) : -ENOMEM;

	*kept = count;
	s.best = s.picked ? s.picked + count : NULL;
	s.ahead = threads > 0 && threads < AHEAD_MAX ? threads - 1 : AHEAD_MAX;
	if (rc == 0 && threads != 1)
		rc = run_search(&s);
	if (threads != 1 && s.found && !s.two && (rc == 0 || (rc == -E2BIG && !s.raced))) /* what was not tried is farther from what was told */
		rc = is_so(&s);
	else if (threads != 1 && rc == 0)
		rc = -E2BIG;
	if (rc == -E2BIG)
		rc = threads > 0 && late_map_outline_misses(&s.trial.base) ? -EUCLEAN : 0;
	if (rc == 0 && s.found) {
		rearrange(t, &s);
		*kept = s.best_depth;
	}
	late_map_finish(&s.trial.base);
	late_map_finish(&s.outcome);
	free(s.seen);
	free(s.used);
	free(s.picked);
	return rc;
}
