/* SPDX-License-Identifier: Apache-2.0 */
/* turn.h - when a session gets a processor: at once where it may have been asked something, since the tasks of who asks stand still meanwhile; behind those
 * where it takes pages.
 *
 * From Linux 6.12 on a thread may say how long its slices are. Among those that have had no more than their share the next to run is the one whose slice
 * would end first (sched-eevdf in the kernel's documentation), so who takes short ones passes all who take long ones. That needs no privilege, and everybody's
 * share of the processors stays what it was (docs/decisions/015-who-is-asked-comes-first.md).
 * Threads: the one that calls, until it ends. Fails: never; where the kernel knows nothing of it, or another policy than SCHED_OTHER was chosen, everything
 * stays as it was. */
#ifndef DRAY_PAGESERVER_TURN_H
#define DRAY_PAGESERVER_TURN_H

#include <stdbool.h>

struct turn { bool begun, streams; }; /* { 0 }: the slices are somebody else's matter, and the last two calls do nothing */

void turn_begin(struct turn *t);         /* the shortest slices; where there are none t stays { 0 } */
void turn_for_questions(struct turn *t); /* the shortest again: what comes next may be one */
void turn_for_pages(struct turn *t);     /* the longest: many pages come */

#endif
