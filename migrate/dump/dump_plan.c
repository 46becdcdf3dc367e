/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/dump/dump_plan.h"

#include <errno.h>
#include <stdlib.h>

#include "proto/base/grow.h"

static int add(struct dump_plan *p, uint64_t addr, uint64_t pages, uint32_t bits)
{
	struct dump_item *last = p->count ? &p->item[p->count - 1] : NULL;

	*(bits & ITEM_DATA ? &p->data_pages : bits & ITEM_LEFT ? &p->left_pages : &p->hole_pages) += pages;
	if (last && last->bits == bits && last->addr + pages_to_bytes(last->pages) == addr && last->pages + pages <= UINT32_MAX) {
		last->pages += (uint32_t)pages;
		return 0;
	}
	while (pages) {
		uint32_t piece = pages > UINT32_MAX ? UINT32_MAX : (uint32_t)pages;

		if (!array_room(&p->item, p->count, &p->capacity, sizeof(*p->item), 256))
			return -ENOMEM;
		p->item[p->count++] = (struct dump_item){ .addr = addr, .pages = piece, .bits = bits };
		addr += pages_to_bytes(piece);
		pages -= piece;
	}
	return 0;
}

/* A list that is asked about ascending addresses. */
struct cursor {
	const struct run_list *list;
	size_t at;
};

/* Whether addr is in a data run; lowers *until to where the answer changes. */
static bool cursor_in(struct cursor *c, uint64_t addr, uint64_t *until)
{
	const struct run_list *l = c->list;
	uint64_t change;
	bool in;

	while (c->at < l->count && (l->run[c->at].kind != RUN_DATA || run_end(&l->run[c->at]) <= addr))
		c->at++;
	if (c->at == l->count)
		return false;
	in = l->run[c->at].addr <= addr;
	change = in ? run_end(&l->run[c->at]) : l->run[c->at].addr;
	if (change < *until)
		*until = change;
	return in;
}

static bool may_be_late(const struct vma *v)
{
	return v->kind == VMA_ANON && !v->shared && !v->stack && !v->grows_down;
}

struct planning {
	struct dump_plan *plan;
	struct cursor changed, held, covered;
	bool tracked, compare, leave_lazy;
};

/* The vdso is the kernel's: always there, never written, and no tracker looks at it. */
static bool is_there(struct planning *k, const struct vma *v, uint64_t at, uint64_t *until, bool *changed)
{
	if (v->kind == VMA_VDSO) {
		*changed = !k->tracked;
		return true;
	}
	*changed = cursor_in(&k->changed, at, until);
	return k->tracked ? cursor_in(&k->held, at, until) : *changed;
}

static int plan_mapping(struct planning *k, const struct vma *v)
{
	uint32_t late = may_be_late(v) ? ITEM_LAZY : 0;

	for (uint64_t at = v->start, until; at < v->end; at = until) {
		bool changed, there, covered;
		int rc = 0;

		until = v->end;
		there = is_there(k, v, at, &until, &changed);
		covered = k->covered.list ? cursor_in(&k->covered, at, &until) : k->tracked;
		if (there && k->tracked && !changed && covered)
			rc = add(k->plan, at, bytes_to_pages(until - at), late);
		else if (there && late && k->leave_lazy)
			rc = add(k->plan, at, bytes_to_pages(until - at), late | ITEM_LEFT);
		else if (there)
			rc = add(k->plan, at, bytes_to_pages(until - at), late | ITEM_DATA | (k->compare && covered ? ITEM_COMPARE : 0));
		if (rc < 0)
			return rc;
	}
	return 0;
}

int dump_plan_make(struct dump_plan *p, const struct dump_findings *f)
{
	struct planning k = { .plan = p, .changed = { f->changed, 0 }, .held = { f->held, 0 }, .covered = { f->covered, 0 },
		.tracked = f->held != NULL, .compare = f->compare, .leave_lazy = f->leave_lazy };
	int rc = 0;

	p->count = 0;
	p->data_pages = p->hole_pages = p->left_pages = 0;
	for (size_t i = 0; rc == 0 && i < f->vmas->count; i++) {
		const struct vma *v = &f->vmas->vma[i];

		if (v->kind == VMA_VDSO || (vma_carries_pages(v) && v->kind != VMA_SHMEM))
			rc = plan_mapping(&k, v);
	}
	return rc;
}

void dump_plan_finish(struct dump_plan *p)
{
	free(p->item);
	*p = (struct dump_plan){ 0 };
}
