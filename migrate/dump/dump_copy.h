/* SPDX-License-Identifier: Apache-2.0 */
/* dump_copy.h - the pages of a plan out of a task and into a sink. Two threads: this one reads into buffers of 1 MiB, one that lives for the
 * call compares with the parent where that is asked for, and hands on. What is written is in the plan's order, whatever the sink is.
 * Threads: one caller; no other may use the sink or the parent meanwhile. Fails: err. */
#ifndef DRAY_MIGRATE_DUMP_COPY_H
#define DRAY_MIGRATE_DUMP_COPY_H

#include <sys/types.h>

#include "migrate/dump/dump_plan.h"
#include "pageserver/images/page_sink.h"
#include "pageserver/images/pagemap.h"
#include "proto/base/err.h"

struct dump_copier; /* buffers, touched: made before the freeze so that it does not pay for them */
struct dump_copier *dump_copier_create(struct err *e);
void dump_copier_destroy(struct dump_copier *c); /* accepts NULL */

struct dump_copied {
	uint64_t pages_written, holes;
	uint64_t write_us; /* that the sink took */
};
/* The sink has its page map open. parent: for ITEM_COMPARE; NULL where the plan has none. Pages that are not there (any more) are left out. */
int dump_copy(struct dump_copier *c, pid_t pid, const struct dump_plan *plan, struct page_sink *sink, struct pagemap_reader *parent,
	      struct dump_copied *out, struct err *e);

#endif
