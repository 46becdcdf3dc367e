/* SPDX-License-Identifier: Apache-2.0 */
/* descendants.h - the children of a process, and theirs, for where no cgroup holds them together. Whose parent ended before is nobody's any more,
 * and is not among them. Threads: any. Fails: err. */
#ifndef DRAY_MIGRATE_DESCENDANTS_H
#define DRAY_MIGRATE_DESCENDANTS_H

#include <stddef.h>
#include <sys/types.h>

#include "proto/base/err.h"

struct descendants {
	struct descendant { pid_t pid; unsigned long long start_time; } *v;
	size_t count, capacity;
};

/* Stops (SIGSTOP) pid and whoever descends from it, until no further one appears. d: zeroed; without pid itself. */
int descendants_stop(struct descendants *d, pid_t pid, struct err *e);
/* SIGKILL to them, waits until they are gone. Before that pid must have ended, or it could have more. */
int descendants_kill(const struct descendants *d, struct err *e);
void descendants_finish(struct descendants *d);

#endif
