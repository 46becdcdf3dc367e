/* SPDX-License-Identifier: Apache-2.0 */
/* dump_set.h - the small files of a set that no task's state is in: a pre-dump's inventory, the statistics. Threads: any. Fails: err. */
#ifndef DRAY_MIGRATE_DUMP_SET_H
#define DRAY_MIGRATE_DUMP_SET_H

#include <stdint.h>

#include "migrate/dump/dump.h"

/* Microseconds since boot as tasks' start times count them, in steps of a tick: what inventories call dump_uptime. */
int dump_uptime(uint64_t *us, struct err *e);
/* What marks a pre-dump: an inventory that can't be restored, and drayage.img with the set's id and the task's start time. The inventory last. */
int dump_write_pre_dump(int dirfd, uint8_t *set_id, uint32_t pid, uint64_t start_time, uint64_t uptime_us, struct err *e);
/* The set is whole by then, and its task in its final state: that they can't be written is logged. */
void dump_write_stats(int work_dir, const struct dump_stats *s);
/* `parent` in an image directory whose pages go elsewhere; one that is there is kept. */
int dump_link_parent(int dirfd, const char *parent, struct err *e);

#endif
