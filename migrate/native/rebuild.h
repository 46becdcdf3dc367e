/* SPDX-License-Identifier: Apache-2.0 */
/* rebuild.h - make a process out of a TreeState and staged memory (pageserver/place.h). Two halves:
 *
 *   inside   rebuild_inside(): ordinary code in the process that will become the target (the husk): descriptors, cwd, root,
 *            limits, signal handlers, timers. Ends with the husk waiting to be seized.
 *   outside  rebuild_outside(): its tracer. Has the husk drop its own mappings and move the staged ones to their places, makes
 *            the threads, gives each its state and registers, credentials last. Ends with every thread stopped at its next instruction.
 *
 * Neither half resumes anything: that is commit's. Fails: err naming the object; the husk is then only good to be killed.
 *
 * Where the destination can't do as the source:
 *   hard limits      above ours need CAP_SYS_RESOURCE; without it the process gets ours, unless its soft limit is above that: an error
 *   capabilities     that it holds and we don't: an error. The bounding set loses what ours lacks
 *   CPU affinity     to CPUs none of which is here: dropped
 *   session          its leader stays behind: the process leads one of its own
 *   parent-death     signal: dropped, for the parent that it was to tell of stays behind, and it would tell of the mover's end
 *   socket files     that nobody here serves are replaced; one in use is an error, as is a port in use
 *   time left        of a sleep or a poll that was cut short starts anew */
#ifndef DRAY_MIGRATE_REBUILD_H
#define DRAY_MIGRATE_REBUILD_H

#include "migrate/remote/remote.h"
#include "pageserver/place.h"
#include "proto/base/err.h"
#include "state.pb-c.h"

/* What only the husk knows and its tracer needs. */
struct rebuild_handover {
	uint64_t stage_bit;
	int exe_fd;      /* in the husk: the target's executable, opened; closed by the outside half */
	int channel_fd;  /* in the husk: its line to the session; closed by the outside half. -1: none */
};

/* A descriptor that takes an open file's place: what was asked for instead of what the tree describes. Borrowed; the target gets a copy. */
struct rebuild_given { uint32_t file_id; int fd; };
struct rebuild_options {
	const struct rebuild_given *given;
	size_t givens;
	bool keep_session;    /* it stays in the session and group that the husk is in; otherwise it leads a session of its own */
	bool staged_by_file;  /* the ids of place's files are those of the tree's: memory files that no mapping has are found there too */
};

/* channel_fd is moved out of the way of the target's descriptors; the number it has afterwards stands in out, and whenever that is not -1 it
 * is the one to use, also to say what failed. On success every other descriptor is the target's, 0 to 2 included: nothing may be logged. */
int rebuild_inside(const Drayage__TreeState *tree, struct place *place, const struct rebuild_options *o, int channel_fd, struct rebuild_handover *out,
		   struct err *e);
/* Counts, sizes and addresses make sense, nothing overlaps. Both halves check it before they act on anything. */
int rebuild_check_tree(const Drayage__TreeState *tree, struct err *e);
/* Called when all mappings are at their places and all threads are there, before any of them has registered what the kernel writes to by itself
 * (restartable sequences): whoever is to notice the first touch of a page begins here. Calls may be run in r. */
struct rebuild_watch { int (*fn)(void *arg, struct remote *r, struct err *e); void *arg; };
/* r: the husk, seized with REMOTE_EXITKILL, one thread. tree as given to the inside half. watch: NULL for none. */
int rebuild_outside(struct remote *r, const Drayage__TreeState *tree, const struct rebuild_handover *h, const struct rebuild_watch *watch,
		    struct err *e);

#endif
