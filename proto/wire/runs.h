/* SPDX-License-Identifier: Apache-2.0 */
/* runs.h - lists of page runs: what a tracker finds, a sender sends and a receiver places.
 * A run is a page-aligned address and a page count, never a byte length. Lists are kept in the order of insertion; callers
 * that need ascending order insert so. Threads: a list belongs to one thread. Lifetime: a zeroed list is valid and empty;
 * run_list_finish() accepts it. */
#ifndef DRAY_WIRE_RUNS_H
#define DRAY_WIRE_RUNS_H

#include <stddef.h>
#include <stdint.h>

#define DRAY_PAGE_SHIFT 12u /* x86-64: 4 KiB; a peer with another page size is refused in the offer */
#define DRAY_PAGE_SIZE (1ul << DRAY_PAGE_SHIFT)

enum run_kind {
	RUN_DATA = 0, /* contents follow, or are to be read */
	RUN_DROP = 1, /* the page is not there (any more): the destination makes it zero, or as the file has it */
};

struct page_run {
	uint64_t addr;  /* bytes, page aligned */
	uint32_t pages; /* >= 1 */
	uint32_t kind;  /* enum run_kind */
};

struct run_list {
	struct page_run *run;
	size_t count, capacity;
	uint64_t data_pages; /* sum over RUN_DATA */
};

/* Appends [addr, addr + pages), merged with the last run where it continues it; splits beyond UINT32_MAX. 0 or -ENOMEM. */
int run_list_add(struct run_list *l, uint64_t addr, uint64_t pages, enum run_kind kind);
void run_list_clear(struct run_list *l); /* keeps the memory */
void run_list_finish(struct run_list *l);

static inline uint64_t pages_to_bytes(uint64_t pages) { return pages << DRAY_PAGE_SHIFT; }
static inline uint64_t bytes_to_pages(uint64_t bytes) { return bytes >> DRAY_PAGE_SHIFT; }
static inline uint64_t run_end(const struct page_run *r) { return r->addr + pages_to_bytes(r->pages); }

#endif
