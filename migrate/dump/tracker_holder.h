/* SPDX-License-Identifier: Apache-2.0 */
/* tracker_holder.h - the process that keeps a userfaultfd between two callers; tracker_left.h says when and for whom.
 *
 *   question   one packet of one byte, enum tracker_ask
 *   answer     struct tracker_left; to TRACKER_TAKE with the userfaultfd (SCM_RIGHTS), of which the holder then has none: the connection ends
 *
 * Both ends are the same program. Threads: one (it forks). Fails: err. */
#ifndef DRAY_MIGRATE_TRACKER_HOLDER_H
#define DRAY_MIGRATE_TRACKER_HOLDER_H

#include "migrate/dump/tracker_left.h"
#include "proto/base/err.h"

enum { TRACKER_PATH_MAX = 108, TRACKER_ANSWER_S = 2 }; /* what sun_path holds */
enum tracker_ask { TRACKER_LOOK = 1, TRACKER_TAKE = 2 };

/* Forks it: child of nobody, in a session of its own, with nothing open but what it needs. It listens when this returns. uffd: borrowed. */
int tracker_holder_start(const char *path, pid_t target, const struct tracker_left *left, int uffd, struct err *e);
/* Field 22 of /proc/PID/stat. -1 when there is no such process. */
int tracker_start_time(pid_t pid, uint64_t *ticks);

#endif
