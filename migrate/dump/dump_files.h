/* SPDX-License-Identifier: Apache-2.0 */
/* dump_files.h - the files of a set that are no pages: written aside (pageserver/images/aside.h), given their names together, the inventory last, and taken
 * back where the dump fails after that: then the images directory is as it was, with the set in it that was there before, if there was one.
 * Threads: one. Lifetime: open/close; close accepts DUMP_FILES_NONE, and keeps what has its name. Fails: err. */
#ifndef DRAY_MIGRATE_DUMP_FILES_H
#define DRAY_MIGRATE_DUMP_FILES_H

#include <stddef.h>

#include "pageserver/images/aside.h"
#include "proto/image/image.h"

struct dump_files {
	struct aside aside; /* its dir is where they are written */
	char (*name)[IMAGE_NAME_MAX];
	size_t names, given; /* names[0 .. given) are in the images directory */
};
#define DUMP_FILES_NONE ((struct dump_files){ .aside = { .dir = -1 } })

int dump_files_open(struct dump_files *f, int images_dir, struct err *e);
int dump_files_publish(struct dump_files *f, struct err *e); /* all or none */
void dump_files_take_back(struct dump_files *f); /* what was published, if anything was */
void dump_files_close(struct dump_files *f);

#endif
