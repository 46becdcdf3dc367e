/* SPDX-License-Identifier: Apache-2.0 */
/* dump_plan.h - which pages of a task a set stores, and which it leaves to its parent: the tracker's findings, split by mapping and by what the
 * parent has. Pure. Threads: one. Lifetime: a zeroed plan is valid; finish. Fails: -ENOMEM. */
#ifndef DRAY_MIGRATE_DUMP_PLAN_H
#define DRAY_MIGRATE_DUMP_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migrate/mm/vma.h"
#include "proto/wire/runs.h"

enum dump_item_bits {
	ITEM_DATA = 1,    /* to be stored; else it is a hole: the parent has it */
	ITEM_LAZY = 2,    /* may be fetched late: private anonymous memory that is no stack */
	ITEM_COMPARE = 4, /* stored unless the parent has the same */
	ITEM_LEFT = 8,    /* neither stored nor a parent's: it stays with the task until somebody asks for it. With ITEM_LAZY alone */
};
struct dump_item {
	uint64_t addr;
	uint32_t pages;
	uint32_t bits;
};
struct dump_plan {
	struct dump_item *item; /* ascending */
	size_t count, capacity;
	uint64_t data_pages, hole_pages, left_pages;
};

struct dump_findings {
	const struct vma_list *vmas;
	const struct run_list *changed; /* the tracker's RUN_DATA runs */
	const struct run_list *held;    /* tracker_holds(): what is there. NULL: no tracker's word counts, all that is there is in changed */
	const struct run_list *covered; /* what the parent has. NULL: it is elsewhere, and has what is held */
	bool leave_lazy;                /* what may be fetched late and would be stored is left */
	bool compare;                   /* without held: what the parent has is to be compared */
};
int dump_plan_make(struct dump_plan *p, const struct dump_findings *f);
void dump_plan_finish(struct dump_plan *p);

#endif
