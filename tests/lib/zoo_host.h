/* SPDX-License-Identifier: Apache-2.0 */
/* zoo_host.h - a zoo (zoo.h) in a process of its own, for tests. CHECK of subject.h ends the test when one can't be had.
 * It ends with the test. Threads: the test's own. */
#ifndef DRAY_TESTS_ZOO_HOST_H
#define DRAY_TESTS_ZOO_HOST_H

#include <stdbool.h>
#include <sys/types.h>

struct zoo_host { pid_t pid; char dir[128]; };

/* kinds: names, blanks between. Returns when all are made; false when a kind can't be made on this machine (it says why on stderr). */
bool zoo_start(struct zoo_host *z, const char *kinds);
void zoo_ask(const struct zoo_host *z); /* the verdict is awaited, and must be "ok" */
void zoo_end(struct zoo_host *z);       /* kills it and removes its directory */
/* One that is moved, and moved again, for a copy is as good a source, is asked before and after. */
void zoo_moves(const char *kinds, void (*move)(pid_t pid));

#endif
