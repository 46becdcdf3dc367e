/* SPDX-License-Identifier: Apache-2.0 */
/* load_pages.h - the pages of an image directory read right to where they belong: the staged memory of the process that is being rebuilt
 * (place.h), in that very process. No buffer in between; what is wholly there becomes huge pages where place_apply was told so.
 * Threads: called by the owner of the place, who does nothing else meanwhile; reads with threads of its own, which have ended on return.
 * Fails: err naming the page map and the address. Some pages are placed then. */
#ifndef DRAY_PAGESERVER_LOAD_PAGES_H
#define DRAY_PAGESERVER_LOAD_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pageserver/images/page_sink.h"
#include "pageserver/place.h"
#include "proto/base/err.h"

/* One page map. A task's goes to the addresses that it names, but for the ranges to skip (a vdso is the kernel's own); that of shared memory into
 * the memory file that was staged as file_id. */
struct load_map { enum pagemap_kind kind; uint64_t id; uint32_t file_id; };
struct load_skip { uint64_t start, end; };
struct load_options {
	int dirfd;      /* the image directory; borrowed */
	bool punch;     /* what was read is given back to the filesystem, in the parents too: nobody can read it again */
	bool leave_lazy; /* pages that are marked lazy are left out: somebody else brings them, whether they are stored or not */
	unsigned threads; /* 1 or more */
	const struct load_skip *skip;
	size_t skips;
};
/* Adds to *pages what was read. */
int load_pages(struct place *p, const struct load_map *map, const struct load_options *o, uint64_t *pages, struct err *e);

#endif
