/* SPDX-License-Identifier: Apache-2.0 */
/* layout.h - a round's RoundBegin: the mappings as they are now, the files behind them, what became void, what deserves huge pages.
 * Threads: one. Lifetime: a zeroed layout is valid; layout_finish frees. It remembers over the rounds which files were told. */
#ifndef DRAY_MIGRATE_LAYOUT_H
#define DRAY_MIGRATE_LAYOUT_H

#include <stdbool.h>
#include <sys/types.h>

#include "control.pb-c.h"
#include "migrate/mm/vma.h"
#include "migrate/track/track.h"

struct layout_file {
	uint64_t inode;
	uint32_t dev_major, dev_minor, id;
	uint64_t told_size; /* bytes */
	char *path;
};

struct layout {
	Drayage__RoundBegin message; /* of the last layout_build; owned here */
	struct run_list zero_ok;     /* private anonymous memory: where a zero page needs no bytes */
	struct layout_file *file;
	size_t files, file_capacity;
};

/* Replaces message and zero_ok. c: what the round carries. first: fresh memory, worth populating ahead. */
int layout_build(struct layout *l, pid_t pid, const struct vma_list *vmas, const struct collected *c, uint32_t round, bool last,
		 struct err *e);
/* After layout_build of the last round: these pages come late. What was placed there before is void. */
int layout_add_late(struct layout *l, const struct run_list *late, struct err *e);
void layout_finish(struct layout *l);

#endif
