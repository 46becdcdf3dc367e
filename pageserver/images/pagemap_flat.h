/* SPDX-License-Identifier: Apache-2.0 */
/* pagemap_flat.h - a chain of page maps as one list: each range once, with the level that has its pages. Each level is walked forward only, so that
 * it costs what the page maps are long. No I/O.
 * Threads: a list belongs to one. Lifetime: a zeroed list is valid and empty; pagemap_flat_finish() accepts it.
 * Fails: err, for want of memory only. */
#ifndef DRAY_PAGESERVER_PAGEMAP_FLAT_H
#define DRAY_PAGESERVER_PAGEMAP_FLAT_H

#include "pageserver/images/pagemap.h"
#include "pageserver/images/pagemap_chain.h"
#include "proto/wire/runs.h"

struct pagemap_flat {
	struct page_extent *v; /* ascending and apart; flags PAGE_IN_PARENT: a hole that no level fills */
	size_t count, capacity;
};
/* Into an empty list. The chain has a level at least, and must outlive the descriptors in the list. */
int pagemap_flatten(struct pagemap_flat *f, const struct pagemap_chain *c, struct err *e);
/* The first that ends past vaddr, or NULL. */
const struct page_extent *pagemap_flat_find(const struct pagemap_flat *f, uint64_t vaddr);
void pagemap_flat_finish(struct pagemap_flat *f);

static inline uint64_t page_extent_end(const struct page_extent *x)
{
	return x->vaddr + pages_to_bytes(x->nr);
}

#endif
