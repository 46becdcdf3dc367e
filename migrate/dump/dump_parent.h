/* SPDX-License-Identifier: Apache-2.0 */
/* dump_parent.h - the set that a round builds on: what it says of itself, and which pages of the task it has.
 * Threads: one. Lifetime: a zeroed parent with dir -1 is valid (DUMP_PARENT_NONE); close. Fails: err. */
#ifndef DRAY_MIGRATE_DUMP_PARENT_H
#define DRAY_MIGRATE_DUMP_PARENT_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate/images/images_ext.h"
#include "pageserver/images/pagemap.h"
#include "proto/wire/runs.h"

struct dump_parent {
	int dir;               /* owned; -1: there is none */
	bool ours;             /* written by us: it has an id */
	uint8_t id[IMAGES_SET_ID];
	uint64_t start_time;   /* of the task as its images say; 0 unknown */
	uint64_t uptime_us;    /* when it was taken; 0 unknown */
	struct pagemap_reader *pages; /* NULL: none here */
	bool elsewhere;               /* they are at a page server, and it was noted which */
	struct run_list covered;      /* what pages has, or the page server; ascending */
};
#define DUMP_PARENT_NONE ((struct dump_parent){ .dir = -1 })

/* path: below images_dir, or absolute; NULL: none. pid: the task's own number for itself. A directory that isn't there is no error: the
 * set is then whole, and a warning says so. Pages that can't be read are. */
int dump_parent_open(struct dump_parent *p, int images_dir, const char *path, uint32_t pid, struct err *e);
void dump_parent_close(struct dump_parent *p);

#endif
