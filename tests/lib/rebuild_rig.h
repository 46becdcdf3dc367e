/* SPDX-License-Identifier: Apache-2.0 */
/* rebuild_rig.h - takes a process of the test's apart and rebuilds it under its PID, on the same machine: capture, the pages by copying, the
 * husk as a fork of the test. What /proc says before and after is compared. CHECK ends the test on anything that should not be.
 * Threads: the test's only one (the husk is forked from it). */
#ifndef DRAY_TESTS_REBUILD_RIG_H
#define DRAY_TESTS_REBUILD_RIG_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "migrate/native/capture.h"
#include "migrate/native/rebuild.h"
#include "migrate/remote/remote.h"

enum { RIG_TEXTS = 13 };
struct rig_pages { uint64_t addr; size_t count; unsigned char *data; };

struct rebuild_rig {
	pid_t pid;
	struct remote remote; /* of the source, then of the husk */
	Drayage__TreeState *tree;
	struct rig_pages *run;
	size_t runs;
	uint64_t *abort_ip; /* by thread: where it must go on, being inside a restartable sequence; 0: it isn't */
	char *before[RIG_TEXTS];
	int line; /* to the husk */
};

/* Seizes, captures and copies the child pid, then kills and reaps it. */
void rebuild_rig_take(struct rebuild_rig *g, pid_t pid);
/* The husk up to its handover: 0, or -1 with what it said was wrong; it has ended then. */
int rebuild_rig_inside(struct rebuild_rig *g, struct rebuild_handover *h, struct err *e);
/* The outside half: 0, or -1, the husk is killed then. */
int rebuild_rig_outside(struct rebuild_rig *g, const struct rebuild_handover *h, struct err *e);
/* /proc tells of the stopped copy what it told of the source. */
void rebuild_rig_compare(struct rebuild_rig *g);
void rebuild_rig_release(struct rebuild_rig *g); /* the copy runs */
void rebuild_rig_finish(struct rebuild_rig *g);
/* All of it: the process of that PID goes on as its own copy. Returns how many threads were inside a restartable sequence. */
unsigned rebuild_rig_move(pid_t pid);

#endif
