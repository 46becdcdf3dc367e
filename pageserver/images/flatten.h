/* SPDX-License-Identifier: Apache-2.0 */
/* flatten.h - one page map with all its pages, wherever in its chain they are, into a set that is being written.
 * Threads: any. Fails: err that names the page map. */
#ifndef DRAY_PAGESERVER_FLATTEN_H
#define DRAY_PAGESERVER_FLATTEN_H

#include "pageserver/images/page_sink.h"

/* to: an image set (image_set_create) in another directory, or in the same. consume: frees the pages of all levels when they are written; what the set
 * `from` had is lost then, whether `to` is finished or not. */
int flatten_map(struct page_sink *to, int from, enum pagemap_kind kind, uint64_t id, bool consume, struct err *e);

#endif
