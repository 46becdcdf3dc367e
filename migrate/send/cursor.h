/* SPDX-License-Identifier: Apache-2.0 */
/* cursor.h - cuts a list of runs into pieces for the streams, and pieces into frames. Pure; no allocation.
 * A cursor belongs to one thread, or to a lock. It borrows the list. */
#ifndef DRAY_MIGRATE_CURSOR_H
#define DRAY_MIGRATE_CURSOR_H

#include <stddef.h>
#include <stdint.h>

#include "proto/wire/runs.h"

struct cursor {
	const struct page_run *run;
	size_t count;
	size_t at;     /* run under way */
	uint32_t into; /* pages of it that are given out */
};

static inline void cursor_init(struct cursor *c, const struct page_run *run, size_t count)
{
	*c = (struct cursor){ .run = run, .count = count };
}

/* Gives out the next runs: at most max_runs of them and max_pages data pages. A data run that has to be cut is cut at a multiple of
 * align pages (a power of two) if that leaves anything, so that one huge page at the destination is filled by one stream.
 * Drop runs are cut so that one fits into a frame. Returns how many; 0 at the end. *data_pages: their sum over RUN_DATA. */
size_t cursor_take(struct cursor *c, uint32_t max_pages, uint32_t align, struct page_run *out, size_t max_runs, uint32_t *data_pages);

#endif
