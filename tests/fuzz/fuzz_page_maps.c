/* SPDX-License-Identifier: Apache-2.0 */
/* Page maps that build on each other, flattened: the same as asking the levels one after the other for each page.
 * Input: groups of 4 bytes: level, first page, pages, flags. A group that does not ascend in its level is left out by the table itself. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "images.pb-c.h"
#include "pageserver/images/pagemap_flat.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LEVELS = 4, REACH = 512 };

static void add_head(struct pagemap_table *t)
{
	struct err e = { 0 };

	assert(pagemap_table_take(t, (const uint8_t *)"\x08\x01", 2, &e) == 0);
}

static void add_entry(struct pagemap_table *t, const uint8_t *group)
{
	PagemapEntry m = PAGEMAP_ENTRY__INIT;
	uint8_t body[64];
	struct err e = { 0 };

	m.vaddr = (uint64_t)group[1] * DRAY_PAGE_SIZE;
	m.compat_nr_pages = group[2];
	m.has_flags = true;
	m.flags = group[3];
	pagemap_table_take(t, body, pagemap_entry__pack(&m, body), &e);
}

/* One page, the slow way: the level that has it, or the depth where nobody has; flags as the flattened list has them. */
static unsigned owner(const struct pagemap_chain *c, uint64_t vaddr, uint32_t *flags, uint64_t *offset)
{
	for (unsigned l = 0; l < c->depth; l++) {
		const struct pagemap_table *t = &c->level[l].table;
		size_t i = pagemap_table_find(t, vaddr);

		if (i == t->count || t->v[i].vaddr > vaddr)
			break;
		if (t->v[i].flags & PAGE_IN_PARENT)
			continue;
		*flags = t->v[i].flags;
		*offset = t->v[i].first * DRAY_PAGE_SIZE + (vaddr - t->v[i].vaddr);
		return l;
	}
	*flags = PAGE_IN_PARENT;
	return c->depth;
}

static bool asked_for(const struct pagemap_chain *c, uint64_t vaddr)
{
	size_t i = pagemap_table_find(&c->level[0].table, vaddr);

	return i < c->level[0].table.count && c->level[0].table.v[i].vaddr <= vaddr;
}

static void compare(const struct pagemap_flat *f, const struct pagemap_chain *c)
{
	for (uint64_t vaddr = 0; vaddr < REACH * DRAY_PAGE_SIZE; vaddr += DRAY_PAGE_SIZE) {
		const struct page_extent *x = pagemap_flat_find(f, vaddr);
		uint64_t offset = 0;
		uint32_t flags;
		unsigned level;

		assert(!x || page_extent_end(x) > vaddr);
		assert((x && x->vaddr <= vaddr) == asked_for(c, vaddr));
		if (!x || x->vaddr > vaddr)
			continue;
		level = owner(c, vaddr, &flags, &offset);
		assert(x->flags == flags);
		if (flags & PAGE_PRESENT)
			assert(x->depth == level && x->fd == (int)level && x->offset + (vaddr - x->vaddr) == offset);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pagemap_level level[LEVELS] = { 0 };
	struct pagemap_chain chain = { level, LEVELS };
	struct pagemap_flat flat = { 0 };
	struct err e = { 0 };

	for (int i = 0; i < LEVELS; i++) {
		level[i].pages = i;
		add_head(&level[i].table);
	}
	for (size_t at = 0; at + 4 <= size; at += 4)
		add_entry(&level[data[at] % LEVELS].table, data + at);
	assert(pagemap_flatten(&flat, &chain, &e) == 0);
	compare(&flat, &chain);
	pagemap_flat_finish(&flat);
	for (int i = 0; i < LEVELS; i++)
		pagemap_table_finish(&level[i].table);
	return 0;
}
