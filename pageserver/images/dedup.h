/* SPDX-License-Identifier: Apache-2.0 */
/* dedup.h - punching pages out of the sets before, one page map at a time; the whole set: image_set_dedup (pagemap.h).
 * Threads: any. Fails: err naming the page map. */
#ifndef DRAY_PAGESERVER_DEDUP_H
#define DRAY_PAGESERVER_DEDUP_H

#include <limits.h>
#include <stdint.h>

#include "pageserver/images/page_sink.h"
#include "proto/base/err.h"

/* What each of the first `levels` sets of the chain has is punched out of all sets before it (UINT_MAX: each; 1: only what the newest has).
 * What the filesystem took back is added to *pages_freed, unless that is NULL. */
int dedup_map(int dirfd, enum pagemap_kind kind, uint64_t id, unsigned levels, uint64_t *pages_freed, struct err *e);

#endif
