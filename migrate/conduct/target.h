/* SPDX-License-Identifier: Apache-2.0 */
/* target.h - what is known of a process before it is touched. Threads: any. */
#ifndef DRAY_MIGRATE_TARGET_H
#define DRAY_MIGRATE_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/base/err.h"

struct target_facts {
	bool found;             /* also where target_read fails behind that */
	char comm[32];
	uint32_t tree_pid;      /* in its own PID namespace */
	uint32_t *tid;          /* in its own PID namespace, leader first */
	size_t tids;
	size_t mappings;
	uint64_t present_bytes; /* that would travel */
};

/* ERR_GONE: no such process. ERR_USAGE: it is a thread, or we ourselves. ERR_PERMISSION: the caller may not trace it. */
int target_read(struct target_facts *t, pid_t pid, struct err *e);
void target_finish(struct target_facts *t);
/* Shuts down the process's established TCP connections, so that its peers learn at once. An ending process gives its memory back before
 * its descriptors: with much of it, that is long after it is gone. Best effort. */
void target_end_connections(pid_t pid);
bool target_lives(pid_t pid); /* not gone, not a zombie; waits for one that is dying */

#endif
