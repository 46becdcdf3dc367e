/* SPDX-License-Identifier: Apache-2.0 */
/* stage_files.h - the files and memory files that staged mappings refer to, opened or made from a RoundBegin's MappedFiles.
 * A file on disk must be there, regular, of the size and build id that the source has. A memory file is made here: a memfd of its
 * name, or, under the name "/dev/zero", a segment of shared anonymous memory with a descriptor to map it from again.
 * Threads: the owner's. Lifetime: a zeroed object is valid; finish closes all. Fails: err naming the file. */
#ifndef DRAY_PAGESERVER_STAGE_FILES_H
#define DRAY_PAGESERVER_STAGE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control.pb-c.h"
#include "proto/base/err.h"

struct staged_file {
	uint32_t id;
	bool shmem;
	bool writable; /* opened for writing too: a shared mapping of it may be written */
	int fd;
	char *path;
};

struct stage_files {
	struct staged_file *file; /* ascending by id */
	size_t count, capacity;
};

/* Adds a file. A memory file that is there already takes the new size; a disk file that is there already is checked again. */
int stage_files_add(struct stage_files *f, const Drayage__MappedFile *m, struct err *e);
struct staged_file *stage_files_find(const struct stage_files *f, uint64_t id); /* NULL: unknown */
/* Opens a disk file again for writing, once a shared mapping needs it. */
int stage_files_make_writable(struct staged_file *f, struct err *e);
void stage_files_finish(struct stage_files *f);

#endif
