/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/late/late_order.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { TOLD_MAX = 4096, /* changes of one period */
       TRIES_MAX = 4000, SEEN_MAX = 1 << 13 /* more than tries */, AHEAD_MAX = 16, /* threads that have done what they did not come to say yet */
       GROWN_MAX = 1024 /* pages that it is looked for */,
       LOOKS = 16 /* stretches of what is missing */, LOOKS_IN = 16 /* places of one */,
       LARGE = 8 /* pages: more than what something grows by, mostly */,
       HOLE = 8 /* as unlikely as so many unmaps of something unknown */ };

int late_order_note(struct late_order *o, const struct late_change *c)
{
	if (o->count == TOLD_MAX)
		return -EUCLEAN;
	if (o->count == o->capacity) {
		size_t more = o->capacity ? o->capacity * 2 : 16;
		struct late_told *v = realloc(o->v, more * sizeof(*v));

		if (!v)
			return -ENOMEM;
		o->v = v;
		o->capacity = more;
	}
	o->v[o->count] = (struct late_told){ .c = *c, .number = o->count };
	o->count++;
	return 0;
}

void late_order_clear(struct late_order *o)
{
	o->count = 0;
}

void late_order_finish(struct late_order *o)
{
	free(o->v);
	*o = (struct late_order){ 0 };
}

static int apply(const struct late_change *c, struct late_map *m)
{
	int rc;

	if (c->kind == LATE_MOVED) {
		rc = late_map_move(m, c->from, c->to, c->pages);
		return rc == 0 ? late_map_fill(m, c->to + pages_to_bytes(c->pages), c->grown) : rc;
	}
	return late_map_drop(m, c->from, c->pages, c->kind == LATE_UNMAPPED);
}

static int apply_to_outline(const struct late_change *c, struct late_map *m)
{
	return c->kind == LATE_DISCARDED ? late_map_clear_outline(m, c->from, c->pages) : apply(c, m);
}

int late_order_apply(const struct late_order *o, struct late_map *m)
{
	int rc = 0;

	for (size_t i = 0; i < o->count && rc == 0; i++)
		rc = apply(&o->v[i].c, m);
	return rc;
}

int late_order_find_grown(struct late_order *o, struct late_map *m, const struct late_look *look)
{
	int rc = 0;

	for (size_t i = 0; i < o->count && rc == 0; i++) {
		struct late_change *c = &o->v[i].c;
		uint64_t end = c->to + pages_to_bytes(c->pages), at = end;

		if (c->kind != LATE_MOVED || !late_map_holds(m, at - DRAY_PAGE_SIZE, 1))
			continue;
		while (rc == 0 && c->grown < GROWN_MAX && !late_map_holds(m, at, 1)) {
			int is = look->there(look->arg, at);

			if (is <= LATE_UNWATCHED) {
				rc = is;
				break;
			}
			c->grown++;
			at += DRAY_PAGE_SIZE;
		}
		if (rc == 0)
			rc = late_map_fill(m, end, c->grown);
	}
	return rc;
}

/* ---- which touch each other's places ---- */

static bool meet(uint64_t a, uint64_t a_pages, uint64_t b, uint64_t b_pages)
{
	return a < b + pages_to_bytes(b_pages) && b < a + pages_to_bytes(a_pages);
}

static bool touch(const struct late_change *x, const struct late_change *y)
{
	bool mx = x->kind == LATE_MOVED, my = y->kind == LATE_MOVED;

	return meet(x->from, x->pages, y->from, y->pages) || (mx && meet(x->to, x->pages, y->from, y->pages)) ||
	       (my && meet(x->from, x->pages, y->to, y->pages)) || (mx && my && meet(x->to, x->pages, y->to, y->pages));
}

static int by_group(const void *a, const void *b)
{
	const struct late_told *x = a, *y = b;

	if (x->group != y->group)
		return x->group < y->group ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

/* A group's number is that of the first of it that was told. */
static void make_groups(struct late_order *o)
{
	for (size_t i = 0; i < o->count; i++) {
		o->v[i].group = i;
		for (size_t j = 0; j < i; j++) {
			size_t was = o->v[i].group, is = o->v[j].group;

			if (was == is || !touch(&o->v[i].c, &o->v[j].c))
				continue;
			for (size_t k = 0; k <= i; k++)
				if (o->v[k].group == (was > is ? was : is))
					o->v[k].group = was > is ? is : was;
		}
	}
	qsort(o->v, o->count, sizeof(*o->v), by_group);
}

static size_t group_end(const struct late_order *o, size_t from)
{
	size_t end = from;

	while (end < o->count && o->v[end].group == o->v[from].group)
		end++;
	return end;
}

static int outline_of(const struct late_told *t, size_t count, const struct late_map *m, struct late_map *out)
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

/* ---- what memory itself tells ---- */

/* One outcome, held against what is there. -1: it is not so. Else how much is watched though nothing should be there, which may be what was not known, as
 * what a mapping grew by. Or an error. */
struct trial { const struct late_told *t; size_t count; const struct late_map *m /* whose bits say what is missing */; struct late_map base; };
enum { NOT_SO = -1 };

/* So that not each page of a long stretch is looked at, but its last. */
static uint64_t step_through(uint64_t pages)
{
	return pages > LOOKS_IN ? (pages - 1) / (LOOKS_IN - 1) : 1;
}

static int check_missing(const struct trial *t, const struct late_seg *s, const struct late_look *look)
{
	struct late_cursor c = { 0 };
	struct late_stretch x;

	for (unsigned i = 0; i < LOOKS && late_map_next(t->m, s->source, s->pages, &c, &x); i++) {
		uint64_t step = step_through(x.pages);

		for (uint64_t p = 0; p < x.pages; p += step) {
			int is = look->there(look->arg, s->at + (x.source - s->source) + pages_to_bytes(p));

			if (is != LATE_ABSENT)
				return is < 0 ? is : NOT_SO;
		}
	}
	return 0;
}

/* Where the outcome says that nothing is: 0: so it is; 1: some is watched, as by what another one grew by; HOLE: all of it, and it is large. */
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
	return watched == 0 ? 0 : watched == looked && pages >= LARGE ? HOLE : 1;
}

static bool is_lost(const struct late_map *outcome, const struct late_seg *was)
{
	for (size_t i = 0; i < outcome->count; i++)
		if (meet(outcome->seg[i].source, outcome->seg[i].pages, was->source, was->pages))
			return false;
	return was->misses;
}

/* What was somewhere, and is not there any more. */
static int check_left(const struct trial *t, const struct late_map *outcome, const struct late_seg *was, const struct late_look *look)
{
	int rc = check_empty(outcome, was->at, was->pages, look), sum = rc;

	for (size_t i = 0; i < t->count && rc >= 0 && is_lost(outcome, was); i++) {
		const struct late_change *c = &t->t[i].c;

		if (c->kind == LATE_MOVED && meet(c->from, c->pages, was->at, 1))
			sum += rc = check_empty(outcome, was->at - c->from + c->to, was->pages, look);
	}
	return rc < 0 ? rc : sum;
}

static int check(const struct trial *t, const struct late_map *outcome, const struct late_look *look)
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

/* ---- an order that explains what was told ---- */

struct search {
	struct trial trial;
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
		fit = check(&s->trial, &s->outcome, s->look);
		if (fit < NOT_SO)
			return fit;
		s->fit = fit == NOT_SO ? INT32_MAX : fit + s->best_unknown;
	}
	fit = check(&s->trial, state, s->look);
	if (fit < NOT_SO)
		return fit;
	fit += fit != NOT_SO ? s->unknown : 0;
	if (fit != NOT_SO && fit < s->fit)
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

		if (!meet(g->at, g->pages, t->c.from, t->c.pages))
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
	return 2 * held < c->pages || late_map_held(&s->trial.base, c->from, c->pages) > held ? HOLE : 1;
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
		rc = apply_to_outline(c, &next);
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
				if (near[j] && touch(&s->trial.t[i].c, &s->trial.t[j].c))
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
	int fit = s->fit >= 0 ? s->fit : check(&s->trial, &s->outcome, s->look);

	if (fit < NOT_SO)
		return fit;
	return fit == NOT_SO || fit == INT32_MAX ? -E2BIG : 0;
}

/* t: a group, which has room for as many again behind it. *kept: how many of it are left, in their order. */
static int sort_group(struct late_told *t, size_t count, const struct late_map *m, const struct late_look *look, size_t *kept)
{
	struct search s = { .trial = { .t = t, .count = count, .m = m }, .look = look, .used = calloc(count, sizeof(*s.used)),
		.seen = malloc(SEEN_MAX * sizeof(*s.seen)),
		.picked = calloc(2 * count, sizeof(*s.picked)) };
	unsigned threads = look->threads(look->arg);
	int rc = s.used && s.picked && s.seen ? outline_of(t, count, m, &s.trial.base) : -ENOMEM;

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

/* One change, and at most its own unmap: nothing to sort. */
static bool is_plain(const struct late_told *t, size_t count)
{
	return count == 1 || (count == 2 && t[0].c.kind == LATE_MOVED && t[1].c.kind == LATE_UNMAPPED && t[1].c.from == t[0].c.from &&
			      t[1].c.pages == t[0].c.pages);
}

int late_order_sort(struct late_order *o, const struct late_map *m, const struct late_look *look)
{
	struct late_told *sorted = calloc(2 * o->count + 1, sizeof(*sorted));
	size_t n = 0;
	int rc = sorted ? 0 : -ENOMEM;

	make_groups(o);
	for (size_t from = 0, end; from < o->count && rc == 0; from = end) {
		size_t kept;

		end = group_end(o, from);
		kept = end - from;
		memcpy(sorted + n, o->v + from, kept * sizeof(*sorted));
		if (!is_plain(sorted + n, kept))
			rc = sort_group(sorted + n, end - from, m, look, &kept);
		n += kept;
	}
	if (rc == 0) {
		memcpy(o->v, sorted, n * sizeof(*sorted));
		o->count = n;
	}
	free(sorted);
	return rc;
}

/* ---- what a child had seen of it ---- */

/* How many of a group's changes, in their order, had been done when the child was forked. */
struct birth { size_t done; struct late_map outcome; int fit; bool found, two, ended; };

static int try_birth(struct birth *b, const struct trial *t, const struct late_map *state, size_t done, const struct late_look *look)
{
	bool discarded = done > 0 && t->t[done - 1].c.kind == LATE_DISCARDED; /* with it or without it is both right */
	int fit = check(t, state, look);

	b->ended |= fit == -ESRCH;
	if (b->ended)
		return 0;
	if (fit == -EAGAIN) /* the child is changing its own already: they are not seen as they were */
		return -EUCLEAN;
	if (fit < NOT_SO)
		return fit;
	if (fit == NOT_SO || (b->found && fit > b->fit))
		return 0;
	if (b->found && fit == b->fit) {
		b->two |= !discarded && !late_map_outlines_agree(&b->outcome, state);
		return 0;
	}
	late_map_finish(&b->outcome);
	b->found = true;
	b->two = false;
	b->fit = fit;
	b->done = done;
	return late_map_outline_copy(state, &b->outcome);
}

/* What was discarded before the fork was told of may have been discarded by who forked then; and what had been told before that had been done. */
static size_t least_done(const struct trial *t, size_t told)
{
	size_t n = 0;

	for (size_t i = 0; i < t->count; i++)
		if (t->t[i].c.kind == LATE_DISCARDED && t->t[i].number < told)
			n = i + 1;
	return n;
}

static int find_birth(struct birth *b, const struct trial *t, size_t told, const struct late_look *look)
{
	size_t least = least_done(t, told);
	struct late_map state = { 0 };
	int rc = late_map_outline_copy(&t->base, &state);

	for (size_t done = 0; done <= t->count && rc == 0; done++) {
		if (done >= least)
			rc = try_birth(b, t, &state, done, look);
		if (rc == 0 && done < t->count)
			rc = apply_to_outline(&t->t[done].c, &state);
	}
	late_map_finish(&state);
	return rc == 0 && !b->ended && (!b->found || b->two || b->fit >= HOLE) ? -EUCLEAN : rc;
}

static bool only_discards(const struct late_told *t, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (t[i].c.kind != LATE_DISCARDED)
			return false;
	return true;
}

static size_t told_before(const struct late_told *t, size_t count, size_t told)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++)
		n += t[i].number < told;
	return n;
}

static int apply_group_born(const struct late_told *t, size_t count, size_t told, struct late_map *m, const struct late_look *look)
{
	struct birth b = { .done = told_before(t, count, told) };
	struct trial trial = { .t = t, .count = count, .m = m };
	int rc = only_discards(t, count) ? 0 : outline_of(t, count, m, &trial.base);

	if (rc == 0 && late_map_outline_misses(&trial.base))
		rc = find_birth(&b, &trial, told, look);
	for (size_t i = 0; i < b.done && rc == 0; i++)
		rc = apply(&t[i].c, m);
	late_map_finish(&trial.base);
	late_map_finish(&b.outcome);
	return rc;
}

int late_order_apply_born(const struct late_order *o, size_t told, struct late_map *m, const struct late_look *look)
{
	int rc = 0;

	for (size_t from = 0, end; from < o->count && rc == 0; from = end) {
		end = group_end(o, from);
		rc = apply_group_born(o->v + from, end - from, told, m, look);
	}
	return rc;
}
