/* SPDX-License-Identifier: Apache-2.0 */
/* late_guard.h - a process that sees to it that nobody reads zeros where a page is still on its way.
 *
 * The kernel gives zeros to a process whose userfaultfd nobody holds any more. So a second process holds it too: when the session that
 * feeds the memory is killed, the guard ends the process before it lets go. Its original still stands frozen at the source.
 * Threads: started by the single-threaded session. */
#ifndef DRAY_MIGRATE_LATE_GUARD_H
#define DRAY_MIGRATE_LATE_GUARD_H

#include <sys/types.h>

#include "migrate/freeze/freezer.h"
#include "proto/base/err.h"

struct late_guard { pid_t pid; int line; /* 0, -1: none */ };

int late_guard_start(struct late_guard *g, int uffd, const struct freezer *freezer, struct err *e);
/* Every page is there, or the process is being ended anyway: the guard goes without a deed, and is waited for. */
void late_guard_release(struct late_guard *g);

#endif
