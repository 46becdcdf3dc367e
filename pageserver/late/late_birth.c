/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/late/late_order_priv.h"

#include <errno.h>

/* How many of a group's changes, in their order, had been done when the child was forked. */
struct birth { size_t done; struct late_map outcome; int fit; bool found, two, ended; };

static int try_birth(struct birth *b, const struct late_trial *t, const struct late_map *state, size_t done, const struct late_look *look)
{
	bool discarded = done > 0 && t->t[done - 1].c.kind == LATE_DISCARDED; /* with it or without it is both right */
	int fit = late_trial_check(t, state, look);

	b->ended |= fit == -ESRCH;
	if (b->ended)
		return 0;
	if (fit == -EAGAIN) /* the child is changing its own already: they are not seen as they were */
		return -EUCLEAN;
	if (fit < LATE_NOT_SO)
		return fit;
	if (fit == LATE_NOT_SO || (b->found && fit > b->fit))
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
static size_t least_done(const struct late_trial *t, size_t told)
{
	size_t n = 0;

	for (size_t i = 0; i < t->count; i++)
		if (t->t[i].c.kind == LATE_DISCARDED && t->t[i].number < told)
			n = i + 1;
	return n;
}

static int find_birth(struct birth *b, const struct late_trial *t, size_t told, const struct late_look *look)
{
	size_t least = least_done(t, told);
	struct late_map state = { 0 };
	int rc = late_map_outline_copy(&t->base, &state);

	for (size_t done = 0; done <= t->count && rc == 0; done++) {
		if (done >= least)
			rc = try_birth(b, t, &state, done, look);
		if (rc == 0 && done < t->count)
			rc = late_change_apply_to_outline(&t->t[done].c, &state);
	}
	late_map_finish(&state);
	return rc == 0 && !b->ended && (!b->found || b->two || b->fit >= LATE_HOLE) ? -EUCLEAN : rc;
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
	struct late_trial trial = { .t = t, .count = count, .m = m };
	int rc = only_discards(t, count) ? 0 : late_trial_outline(t, count, m, &trial.base);

	if (rc == 0 && late_map_outline_misses(&trial.base))
		rc = find_birth(&b, &trial, told, look);
	for (size_t i = 0; i < b.done && rc == 0; i++)
		rc = late_change_apply(&t[i].c, m);
	late_map_finish(&trial.base);
	late_map_finish(&b.outcome);
	return rc;
}

int late_order_apply_born(const struct late_order *o, size_t told, struct late_map *m, const struct late_look *look)
{
	int rc = 0;

	for (size_t from = 0, end; from < o->count && rc == 0; from = end) {
		end = late_order_group_end(o, from);
		rc = apply_group_born(o->v + from, end - from, told, m, look);
	}
	return rc;
}
