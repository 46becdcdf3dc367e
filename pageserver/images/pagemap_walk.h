/* SPDX-License-Identifier: Apache-2.0 */
/* pagemap_walk.h - a chain of page maps, each range once with where its pages are, as pagemap.h's reader gives it, but forwards only: each set's
 * page map is read along. That takes some 64 KiB a set, however long the page maps are, where the reader holds 32 bytes a range of each and 48 a range of all.
 * A set before is opened at the first hole that needs it. For who writes, punches or checks in the order of addresses; who jumps wants a reader.
 * Threads: a walk belongs to one. Fails: err naming file and level; a fault of a page map shows when it is reached. */
#ifndef DRAY_PAGESERVER_PAGEMAP_WALK_H
#define DRAY_PAGESERVER_PAGEMAP_WALK_H

#include "pageserver/images/pagemap.h"

struct pagemap_walk;
/* dirfd is not needed afterwards. NULL with e set; ERR_GONE when the set has no such page map. */
struct pagemap_walk *pagemap_walk_open(int dirfd, enum pagemap_kind kind, uint64_t id, struct err *e);
/* 1 with the next range, ascending; flags PAGE_IN_PARENT: a hole that no set fills. 0 at the end, -1. The descriptor in it is the walk's. */
int pagemap_walk_next(struct pagemap_walk *w, struct page_extent *out, struct err *e);
/* Whether the contents of nr pages are all there: 1, 0, -1. Asked for ascending ranges only, instead of pagemap_walk_next. */
int pagemap_walk_covers(struct pagemap_walk *w, uint64_t vaddr, uint64_t nr, struct err *e);
void pagemap_walk_close(struct pagemap_walk *w); /* accepts NULL */

#endif
