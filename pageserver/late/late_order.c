/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/late/late_order_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/grow.h"

enum { TOLD_MAX = 4096 /* changes of one period */, GROWN_MAX = 1024 /* pages that it is looked for */ };

int late_order_note(struct late_order *o, const struct late_change *c)
{
	if (o->count == TOLD_MAX)
		return -EUCLEAN;
	if (!array_room(&o->v, o->count, &o->capacity, sizeof(*o->v), 16))
		return -ENOMEM;
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

int late_change_apply(const struct late_change *c, struct late_map *m)
{
	int rc;

	if (c->kind == LATE_MOVED) {
		rc = late_map_move(m, c->from, c->to, c->pages);
		return rc == 0 ? late_map_fill(m, c->to + pages_to_bytes(c->pages), c->grown) : rc;
	}
	return late_map_drop(m, c->from, c->pages, c->kind == LATE_UNMAPPED);
}

int late_change_apply_to_outline(const struct late_change *c, struct late_map *m)
{
	return c->kind == LATE_DISCARDED ? late_map_clear_outline(m, c->from, c->pages) : late_change_apply(c, m);
}

int late_order_apply(const struct late_order *o, struct late_map *m)
{
	int rc = 0;

	for (size_t i = 0; i < o->count && rc == 0; i++)
		rc = late_change_apply(&o->v[i].c, m);
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

bool late_stretches_meet(uint64_t a, uint64_t a_pages, uint64_t b, uint64_t b_pages)
{
	return a < b + pages_to_bytes(b_pages) && b < a + pages_to_bytes(a_pages);
}

bool late_changes_touch(const struct late_change *x, const struct late_change *y)
{
	bool mx = x->kind == LATE_MOVED, my = y->kind == LATE_MOVED;

	return late_stretches_meet(x->from, x->pages, y->from, y->pages) || (mx && late_stretches_meet(x->to, x->pages, y->from, y->pages)) ||
	       (my && late_stretches_meet(x->from, x->pages, y->to, y->pages)) || (mx && my && late_stretches_meet(x->to, x->pages, y->to, y->pages));
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

			if (was == is || !late_changes_touch(&o->v[i].c, &o->v[j].c))
				continue;
			for (size_t k = 0; k <= i; k++)
				if (o->v[k].group == (was > is ? was : is))
					o->v[k].group = was > is ? is : was;
		}
	}
	qsort(o->v, o->count, sizeof(*o->v), by_group);
}

size_t late_order_group_end(const struct late_order *o, size_t from)
{
	size_t end = from;

	while (end < o->count && o->v[end].group == o->v[from].group)
		end++;
	return end;
}

/* ---- the order ---- */

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

		end = late_order_group_end(o, from);
		kept = end - from;
		memcpy(sorted + n, o->v + from, kept * sizeof(*sorted));
		if (!is_plain(sorted + n, kept))
			rc = late_order_search(sorted + n, end - from, m, look, &kept);
		n += kept;
	}
	if (rc == 0) {
		memcpy(o->v, sorted, n * sizeof(*sorted));
		o->count = n;
	}
	free(sorted);
	return rc;
}
