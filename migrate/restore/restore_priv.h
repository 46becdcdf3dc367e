/* SPDX-License-Identifier: Apache-2.0 */
/* restore_priv.h - what the parts of restore share. One struct restore lives for one restore_run. */
#ifndef DRAY_MIGRATE_RESTORE_PRIV_H
#define DRAY_MIGRATE_RESTORE_PRIV_H

#include "control.pb-c.h"
#include "migrate/agent/session_answers.h"
#include "migrate/images/tree_images.h"
#include "migrate/native/rebuild.h"
#include "migrate/restore/restore.h"
#include "proto/wire/runs.h"

enum { RESTORE_GIVEN_MAX = 256 };

struct restore {
	const struct restore_request *q;
	Drayage__TreeState *tree;
	Drayage__TaskState *task; /* its only one */
	struct tree_images_facts facts;
	struct rebuild_given given[RESTORE_GIVEN_MAX];
	size_t givens;
	int line[2]; /* of the fresh pair: the process's end, ours; -1 */
	struct restore_stats stats;
	struct err *e;
};

/* All that is known beforehand, and the tree brought into the form that this restore is to have. */
int restore_prepare(struct restore *r);
/* Which descriptors take the place of what open files; into r->given. */
int restore_inherit(struct restore *r);
/* The vdso of the images is this kernel's. */
int restore_check_vdso(struct restore *r);

/* The layout that the husk stages, made of the mappings and the page maps, and what is read into it. Borrows from the tree. */
struct restore_layout {
	Drayage__RoundBegin message;
	VmaEntry *vma;
	VmaEntry **vmas;
	Drayage__MappedFile *file;
	Drayage__MappedFile **files;
	Drayage__Range *populate;
	Drayage__Range **populates;
	size_t populate_room;
	struct run_list late; /* what a lazy-pages daemon brings */
	Drayage__Range **lates;
	struct load_request *load; /* the task's page map, then those of shared memory */
	size_t loads;
};
int restore_layout_build(struct restore_layout *l, struct restore *r);
void restore_layout_finish(struct restore_layout *l); /* accepts a zeroed one */

/* With lazy pages: the process's late memory is watched and given to the daemon on sock. The uffd of the husk. */
struct restore_late {
	struct restore *r;
	const struct restore_layout *l;
	int sock, uffd; /* owned; -1 */
};
int restore_late_watch(void *arg, struct remote *held, struct err *e); /* a rebuild_watch; arg: struct restore_late */

bool restore_is_given(const struct restore *r, uint32_t file_id);

#endif
