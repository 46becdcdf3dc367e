/* SPDX-License-Identifier: Apache-2.0 */
/* tracker_left.h - an armed tracker between callers that share nothing, since each is a process of its own.
 *
 * In TRACKERS_DIR (0700, ours), named after the process and its start time, so that a reused number finds nothing:
 *
 *   PID-START.sock   wp-async: a small process that has the userfaultfd, and gives it to one caller. It ends when it did, when the
 *                    tracked process ends, or when nobody came for TRACKER_IDLE_S
 *   PID-START.base   soft-dirty: the kernel tracks by itself; only what the set was that tracking began with has to be known, and the
 *                    tracker's witnesses (track/witness.h; 64 KiB for each 64 MiB with pages): struct tracker_left, then struct witness_windows
 *
 * Whom it gives to: root, or the user that left it (SO_PEERCRED). Two that ask at once: one gets it, the other finds nothing.
 * Threads: one (it forks). Fails: where nothing can be left or found, callers compare contents: slower. So failures are only logged. */
#ifndef DRAY_MIGRATE_TRACKER_LEFT_H
#define DRAY_MIGRATE_TRACKER_LEFT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "migrate/images/images_ext.h"
#include "migrate/track/track.h"
#include "migrate/track/window.h"

#define TRACKERS_DIR "/run/drayage/trackers" /* DRAY_TRACKERS_DIR in the environment: another place, for tests */
enum { TRACKER_IDLE_S = 3600 };

struct tracker_left {
	uint32_t kind;                /* enum tracker_kind: TRACKER_WP_ASYNC, TRACKER_SOFT_DIRTY */
	uint8_t base[IMAGES_SET_ID];  /* the set that was written when it was armed last */
	uint64_t uptime_us;           /* when that was, as dump_uptime() tells */
};
/* Whether there is one; it stays. */
bool tracker_left_look(pid_t pid, uint64_t start_time, struct tracker_left *out);
/* Takes it away. *uffd: owned, -1 for soft-dirty. witnesses: into an empty list, soft-dirty only; NULL: they are of no interest. */
bool tracker_left_take(pid_t pid, uint64_t start_time, struct tracker_left *out, int *uffd, struct witness_list *witnesses);
/* Leaves one, in place of what is there. uffd: taken (-1 for soft-dirty). */
void tracker_left_put(pid_t pid, uint64_t start_time, const struct tracker_left *left, int uffd, const struct witness_list *witnesses);

/* For those who track by other means: whether there is one for the process; an end to it. */
bool tracker_left_for(pid_t pid);
void tracker_left_drop(pid_t pid);

#endif
