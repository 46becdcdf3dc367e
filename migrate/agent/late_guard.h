/* SPDX-License-Identifier: Apache-2.0 */
/* late_guard.h - a process that sees to it that nobody reads zeros where a page is still on its way.
 *
 * The kernel gives zeros to a process whose userfaultfd nobody holds any more. So a second process shares the session's table of descriptors: what
 * the session gets, it holds too, from that moment on, the userfaultfds of children that are forked meanwhile as well. When the session is killed,
 * the guard does what it was given to do, which is to end the process and its children, before it lets go. It outlives the session by that much, and so
 * do the session's connections and its lock: whoever finds them gone finds the process ended.
 *
 * Threads: started by the single-threaded session. */
#ifndef DRAY_MIGRATE_LATE_GUARD_H
#define DRAY_MIGRATE_LATE_GUARD_H

#include <sys/types.h>

#include "proto/base/err.h"

struct late_guard { pid_t pid; int release, session; /* 0, -1: none */ };

/* In the guard, of the session's memory as it was at the start and of its descriptors as they were at its end. */
typedef void late_guard_deed(void *arg);

int late_guard_start(struct late_guard *g, late_guard_deed *deed, void *arg, struct err *e);
/* Every page is there, or the process is being ended anyway: the guard goes without a deed, and is waited for. */
void late_guard_release(struct late_guard *g);

#endif
