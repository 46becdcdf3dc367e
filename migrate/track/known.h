/* SPDX-License-Identifier: Apache-2.0 */
/* known.h - what the last list of mappings said of private memory, and where a new one says something else.
 *
 * A destination makes its mappings by the lists, and what it makes anew is void, whatever was sent there. The lists can't say it in time: a mapping that comes after
 * the list was read and before its pages are looked at is tracked and sent as what the list has there, and what it is the next list says, of memory in which
 * nothing is new. And a list may say something else of what stayed: a file gets another name, a piece of the first thread's stack that was locked in
 * memory is listed without the stack's name, as what does not grow. So what a list says otherwise counts as new.
 *
 * Threads: one. Lifetime: a zeroed one knows nothing yet; finish. Fails: -ENOMEM. */
#ifndef DRAY_MIGRATE_KNOWN_H
#define DRAY_MIGRATE_KNOWN_H

#include <stdbool.h>
#include <stddef.h>

#include "migrate/mm/vma.h"
#include "proto/wire/runs.h"

struct known_mapping;
struct known {
	struct known_mapping *mapping; /* ascending */
	size_t count;
	bool told;
};

/* Appends, ascending, as RUN_DROP: private memory of vmas that was not in the list before or was something else there; nothing where there was no list before.
 * keep: from now on vmas is the list before. */
int known_compare(struct known *k, const struct vma_list *vmas, bool keep, struct run_list *differs);
void known_finish(struct known *k);

#endif
