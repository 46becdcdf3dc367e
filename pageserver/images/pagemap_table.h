/* SPDX-License-Identifier: Apache-2.0 */
/* pagemap_table.h - one pagemap-*.img as a table: ranges ascending and apart, with where their pages stand in the pages file.
 * Built an entry at a time from bytes that are not trusted; no I/O but in pagemap_table_load.
 * Threads: a table belongs to one. Lifetime: a zeroed table is valid and empty, pagemap_table_finish() accepts it.
 * Fails: err that names the entry's address. */
#ifndef DRAY_PAGESERVER_PAGEMAP_TABLE_H
#define DRAY_PAGESERVER_PAGEMAP_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pageserver/images/page_sink.h"
#include "proto/base/err.h"
#include "proto/image/image.h"

struct pagemap_range {
	uint64_t vaddr, end; /* bytes */
	uint64_t first;      /* PAGE_PRESENT: its first page's number in the pages file */
	uint32_t flags;      /* enum page_flags, checked: one of present, in parent; or lazy alone */
};

struct pagemap_table {
	struct pagemap_range *v;
	size_t count, capacity;
	uint64_t stored; /* pages in the pages file */
	uint32_t pages_id;
	bool has_head, has_holes;
	bool last_only; /* set before the first entry: only the last range is kept */
};

/* The next entry's bytes: the head first, then page map entries. 0, -1. */
int pagemap_table_take(struct pagemap_table *t, const uint8_t *body, size_t len, struct err *e);
/* The first range that ends past vaddr, or count. */
size_t pagemap_table_find(const struct pagemap_table *t, uint64_t vaddr);
void pagemap_table_finish(struct pagemap_table *t);

/* A whole file. ERR_GONE when there is none. */
int pagemap_table_load(struct pagemap_table *t, int dirfd, enum pagemap_kind kind, uint64_t id, struct err *e);

enum image_type pagemap_image_type(enum pagemap_kind kind);

/* Of two ends, the nearer one. */
static inline uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

#endif
