/* SPDX-License-Identifier: Apache-2.0 */
/* late_map.h - which pages one address space misses, by where they are now and by what the source calls them. Pure.
 *
 * A segment is a stretch of registered memory with a bit a page. Moving it (mremap) changes its place, not its name:
 *
 *   seg { at 0x7f2000000000, source 0x7f1000000000, 512 pages, missing 1011..., asked 0010... }
 *
 * A stretch that misses nothing has no bits: it says that something is there. An outline is a copy of a map without any bits, to try changes on.
 *
 * Threads: one. Lifetime: a zeroed map is valid; late_map_finish. Fails: -ENOMEM. */
#ifndef DRAY_PAGESERVER_LATE_MAP_H
#define DRAY_PAGESERVER_LATE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/wire/runs.h"

struct late_seg {
	uint64_t at, source; /* bytes: where it is now, what the source calls it */
	uint64_t pages;
	uint64_t *missing, *asked; /* one bit a page; one allocation, owned; NULL: nothing is missing */
	bool misses;               /* of an outline: something is missing in it */
	size_t last;               /* of an outline: what its user will, kept when it is cut */
};
struct late_map {
	struct late_seg *seg; /* in no order */
	size_t count, capacity;
	uint64_t missing;     /* pages */
};

void late_map_finish(struct late_map *m);
int late_map_copy(const struct late_map *from, struct late_map *to); /* to: zeroed */
/* A new segment whose place is its name, nothing missing. */
int late_map_add(struct late_map *m, uint64_t addr, uint64_t pages);
int late_map_add_whole(struct late_map *m, uint64_t addr, uint64_t pages); /* nothing will ever be missing in it: costs no bits */
/* Marks pages of the segment that was added last, by the source's address. */
void late_map_mark(struct late_map *m, uint64_t source, uint64_t pages);

/* What is at an address now: the source's name of a missing page, or UINT64_MAX. *first: it was not asked for before; it is now. */
uint64_t late_map_want(struct late_map *m, uint64_t at, bool *first);
/* [at, at + pages) is discarded or unmapped: nothing is missing there. unmapped: the place itself is gone. */
int late_map_drop(struct late_map *m, uint64_t at, uint64_t pages, bool unmapped);
/* What is not known of what moved, is known to be there afterwards. */
int late_map_move(struct late_map *m, uint64_t from, uint64_t to, uint64_t pages);
int late_map_fill(struct late_map *m, uint64_t at, uint64_t pages); /* all of it is there: what was not known of misses nothing */

bool late_map_holds(const struct late_map *m, uint64_t at, uint64_t pages); /* is anything known to be there? */
uint64_t late_map_held(const struct late_map *m, uint64_t at, uint64_t pages); /* pages */
/* What lies in the ranges (kind: unused), cut at their ends. to: zeroed. */
int late_map_outline(const struct late_map *m, const struct page_run *ranges, size_t count, struct late_map *to);
int late_map_outline_copy(const struct late_map *from, struct late_map *to);
int late_map_clear_outline(struct late_map *m, uint64_t at, uint64_t pages); /* what is there misses nothing any more */
bool late_map_outline_misses(const struct late_map *m); /* anything at all */
bool late_map_outlines_agree(const struct late_map *a, const struct late_map *b); /* is what is missing in the same place? */

/* The first missing stretch inside the source's [source, source + pages) of a segment that begins at or after *cursor: its place, name and
 * length. *cursor starts at 0 and is advanced. false: no more. */
struct late_stretch { uint64_t at, source, pages; };
struct late_cursor { size_t seg; uint64_t page; };
bool late_map_next(const struct late_map *m, uint64_t source, uint64_t pages, struct late_cursor *cursor, struct late_stretch *out);
/* Came, or will never. */
void late_map_clear(struct late_map *m, uint64_t source, uint64_t pages);
/* Calls fn with the source's name of every page that is asked for and missing. */
void late_map_asked(const struct late_map *m, void (*fn)(void *arg, uint64_t source), void *arg);

#endif
