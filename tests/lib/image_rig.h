/* SPDX-License-Identifier: Apache-2.0 */
/* image_rig.h - children of a test, dumped into image directories and restored from them. CHECK of subject.h ends the test on anything that
 * should not be. What was made goes with the test. Threads: the test's only one (a restore forks). */
#ifndef DRAY_TESTS_IMAGE_RIG_H
#define DRAY_TESTS_IMAGE_RIG_H

#include <sys/types.h>

#include "migrate/restore/restore.h"

/* A fresh image directory below /tmp: its path, and a descriptor of it. Removed at the end of the test, or by image_rig_remove. */
struct image_rig { char dir[64]; int fd; };
void image_rig_make(struct image_rig *g);
void image_rig_make_in(struct image_rig *g, const char *where); /* below another directory */
void image_rig_remove(struct image_rig *g);
/* A child that sleeps, with /dev/null as 0 to 2 and copies of the descriptors as SLEEPER_FD and on, and no others. */
enum { SLEEPER_FD = 10 };
pid_t image_rig_sleeper(const int *fds, size_t n, bool own_session);
/* Dumps the child, which ends of it, and reaps it. */
void image_rig_dump(struct image_rig *g, pid_t child);
/* A request for what the directory holds; the caller adds to it. */
struct restore_request image_rig_request(const struct image_rig *g);
/* Restores it under its PID, a child of the test again. */
void image_rig_restore(const struct image_rig *g, pid_t child);
/* Both. */
void image_rig_move(pid_t child);

#endif
