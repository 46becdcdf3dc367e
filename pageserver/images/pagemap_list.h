/* SPDX-License-Identifier: Apache-2.0 */
/* pagemap_list.h - the page maps that a set has, by their files' names.
 * Threads: any. Lifetime: a zeroed list is valid and empty; pagemap_list_finish() accepts it. Fails: err. */
#ifndef DRAY_PAGESERVER_PAGEMAP_LIST_H
#define DRAY_PAGESERVER_PAGEMAP_LIST_H

#include <stddef.h>
#include <stdint.h>

#include "pageserver/images/page_sink.h"
#include "proto/base/err.h"

struct pagemap_name { enum pagemap_kind kind; uint64_t id; };
struct pagemap_list {
	struct pagemap_name *v; /* as the directory has them, in no order */
	size_t count, capacity;
};
/* Into an empty list. It is read whole before anything is done to the directory. */
int pagemap_list_read(struct pagemap_list *l, int dirfd, struct err *e);
void pagemap_list_finish(struct pagemap_list *l);

#endif
