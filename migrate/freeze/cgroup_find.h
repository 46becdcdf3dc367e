/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup_find.h - the directory of the cgroup (version 2) that a process is in. Threads: any. */
#ifndef DRAY_MIGRATE_CGROUP_FIND_H
#define DRAY_MIGRATE_CGROUP_FIND_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* False: there is none, or none that we can reach. */
bool cgroup_find(pid_t pid, char *dir, size_t len);

#endif
