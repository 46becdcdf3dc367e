/* SPDX-License-Identifier: Apache-2.0 */
/* turn.h - when a session that wakes up gets a processor: soon, since it may have been asked something, and the tasks of who asks stand still meanwhile.
 *
 * From Linux 6.12 on a thread may want short slices, and is then the next one that runs more often. It needs no privilege for that, and its share of the processors stays
 * what it was.
 * Threads: each for itself. Fails: never; where the kernel knows nothing of it, or another policy than SCHED_OTHER was chosen, everything stays as it was. */
#ifndef DRAY_PAGESERVER_TURN_H
#define DRAY_PAGESERVER_TURN_H

void ps_turn_soon(void); /* for the calling thread, until it ends */

#endif
