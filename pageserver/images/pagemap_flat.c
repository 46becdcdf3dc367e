/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/images/pagemap_flat.h"

#include <stdlib.h>

#include "proto/base/grow.h"

/* The flattening: a cursor a level. */
struct flatten {
	struct pagemap_flat *out;
	const struct pagemap_chain *chain;
	size_t at[PAGEMAP_CHAIN_MAX];
	struct err *e;
};

static bool continues(const struct page_extent *a, const struct page_extent *b)
{
	return page_extent_end(a) == b->vaddr && a->flags == b->flags && a->depth == b->depth &&
	       (a->fd < 0 || a->offset + pages_to_bytes(a->nr) == b->offset);
}

static int emit(struct flatten *f, struct page_extent x)
{
	struct pagemap_flat *r = f->out;

	if (r->count && continues(&r->v[r->count - 1], &x)) {
		r->v[r->count - 1].nr += x.nr;
		return 0;
	}
	if (!array_room(&r->v, r->count, &r->capacity, sizeof(*r->v), 64))
		return err_sys(f->e, "memory for more than %zu ranges", r->count);
	r->v[r->count++] = x;
	return 0;
}

/* No level has it. */
static int emit_unfilled(struct flatten *f, unsigned depth, uint64_t start, uint64_t end)
{
	return emit(f, (struct page_extent){ start, bytes_to_pages(end - start), PAGE_IN_PARENT, -1, 0, depth });
}

static int emit_range(struct flatten *f, unsigned depth, const struct pagemap_range *r, uint64_t start, uint64_t end)
{
	struct page_extent x = { start, bytes_to_pages(end - start), r->flags, -1, 0, depth };

	if (r->flags & PAGE_PRESENT) {
		x.fd = f->chain->level[depth].pages;
		x.offset = pages_to_bytes(r->first) + (start - r->vaddr);
	}
	return emit(f, x);
}

/* What the chain from depth on has of [start, end). Asked for in ascending order at each level, as deep as PAGEMAP_CHAIN_MAX. */
static int resolve(struct flatten *f, unsigned depth, uint64_t start, uint64_t end)
{
	const struct pagemap_table *t;
	int rc = 0;

	if (depth == f->chain->depth)
		return emit_unfilled(f, depth, start, end);
	t = &f->chain->level[depth].table;
	while (start < end && rc == 0) {
		const struct pagemap_range *r;
		uint64_t stop;

		while (f->at[depth] < t->count && t->v[f->at[depth]].end <= start)
			f->at[depth]++;
		if (f->at[depth] == t->count || t->v[f->at[depth]].vaddr >= end)
			return emit_unfilled(f, depth, start, end);
		r = &t->v[f->at[depth]];
		stop = r->vaddr > start ? r->vaddr : least(r->end, end);
		if (r->vaddr > start)
			rc = emit_unfilled(f, depth, start, stop);
		else if (r->flags & PAGE_IN_PARENT)
			rc = resolve(f, depth + 1, start, stop);
		else
			rc = emit_range(f, depth, r, start, stop);
		start = stop;
	}
	return rc;
}

int pagemap_flatten(struct pagemap_flat *out, const struct pagemap_chain *c, struct err *e)
{
	struct flatten f = { .out = out, .chain = c, .e = e };
	const struct pagemap_table *t = &c->level[0].table;

	for (size_t i = 0; i < t->count; i++)
		if (resolve(&f, 0, t->v[i].vaddr, t->v[i].end) < 0)
			return -1;
	return 0;
}

const struct page_extent *pagemap_flat_find(const struct pagemap_flat *f, uint64_t vaddr)
{
	size_t low = 0, high = f->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (page_extent_end(&f->v[mid]) > vaddr)
			high = mid;
		else
			low = mid + 1;
	}
	return low < f->count ? &f->v[low] : NULL;
}

void pagemap_flat_finish(struct pagemap_flat *f)
{
	free(f->v);
	*f = (struct pagemap_flat){ 0 };
}
