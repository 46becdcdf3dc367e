/* SPDX-License-Identifier: Apache-2.0 */
/* witness.h - whether pages with clear soft-dirty bits are still those whose bits were cleared.
 *
 * mremap moves pages one by one and sets their bits, but what is aligned to 2 MiB at both ends it moves with the page table that stands for it (to a GiB, with
 * a table of tables), and the bits stay as they were; only huge pages are marked (mm/mremap.c: move_normal_pmd, move_normal_pud, move_huge_pmd). Where a mapping
 * was unmapped and another one moved to its place between two looks, its pages look unchanged. What goes with a table goes as a whole: the clean pages of
 * a block of 2 MiB have all been there, or have all come. So of each page we remember what stood behind it: the number of a page frame, or a place in swap.
 * Where a page that is still clean has another one now, or none can tell, all of the block counts as changed. That is more than what changed after the
 * kernel has moved its pages in memory, or all of them to swap, or the process forked and they were read, pinned, while the child had them too (each got
 * another frame, as in witness.c). It is less only if each clean page of a table that came was given, since the last look,
 * just the frame that the page of that place had then.
 *
 * Threads: any, for different arrays. */
#ifndef DRAY_MIGRATE_WITNESS_H
#define DRAY_MIGRATE_WITNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate/track/pagemap.h"

enum { WITNESS_BLOCK = 512 }; /* pages, those of a page table */

/* Of a page: 30 bits of its frame's number (4 TiB) or of its place in swap; bit 30, others map it too; bit 31, it is in swap. 0: none. */
typedef uint32_t witness_t;

/* Of n pages of one block: what was remembered, and their pagemap words now. */
bool witnesses_agree(const witness_t *witness, const uint64_t *words, unsigned n, const struct zero_pages *zero);
/* What to remember of them, when bits are cleared. */
void witnesses_call(witness_t *witness, const uint64_t *words, unsigned n, const struct zero_pages *zero);

#endif
