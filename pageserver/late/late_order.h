/* SPDX-License-Identifier: Apache-2.0 */
/* late_order.h - in which order a process's threads changed its mappings. The kernel tells of a change after it is done, when the thread that made it comes to
 * say so: of several threads' changes in any order. Pure, but for the questions that are handed in.
 *
 * What was told is gathered while the kernel has something to tell, or waits for it to be heard (a period: pages can't be placed meanwhile). Then all of
 * it is known but the order, which must explain what was told:
 *
 *   moved to where something is      whatever was there was moved away or unmapped before
 *   moved or unmapped                something was there
 *   moved                            its old place is unmapped along with it, and told behind it (not with MREMAP_DONTUNMAP)
 *   discarded                        told before it is done: behind all that was told before
 *   changed twice                    in the order told, unless threads change the same block at once without waiting for each other
 *
 *   told:  c -> a,  a -> b,  a unmapped        done:  a -> b (with its unmap),  c -> a
 *
 * Changes that touch no common place need no order. Where several explain it, and what is missing would be at different places, it is looked where
 * memory is watched; where that does not tell either, it can't be told.
 *
 * Threads: one. By value; zeroed it is empty; late_order_finish. Fails: -ENOMEM; -EUCLEAN: can't be told; -EAGAIN: a question could not be answered,
 * for the process is changing its mappings again: hear it, and ask again. */
#ifndef DRAY_PAGESERVER_LATE_ORDER_H
#define DRAY_PAGESERVER_LATE_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pageserver/late/late_map.h"

enum late_change_kind { LATE_MOVED, LATE_UNMAPPED, LATE_DISCARDED };
struct late_change {
	enum late_change_kind kind;
	uint64_t from, to /* moved */, pages;
	uint64_t grown; /* of what moved: pages behind it that were not there before, which nobody tells of; as far as it is known */
};

struct late_told {
	struct late_change c;
	size_t number, group; /* when it was told; those that touch each other's places have one group */
};
struct late_order { struct late_told *v; size_t count, capacity; };

/* What is at an address of the process: enum late_there, or -EAGAIN; -ESRCH: it has ended. */
enum late_there { LATE_UNWATCHED, LATE_ABSENT, LATE_PRESENT };
/* How many threads the process has, at most: 1: what is told is in order. 0: not known; of several orders the one nearest to what was told is taken. */
struct late_look { int (*there)(void *arg, uint64_t at); unsigned (*threads)(void *arg); void *arg; };

int late_order_note(struct late_order *o, const struct late_change *c);
void late_order_clear(struct late_order *o); /* keeps the memory */
void late_order_finish(struct late_order *o);

/* Puts what was told into the order in which it was done, group by group. m: as it was before. Then late_order_apply does it to a map. */
int late_order_sort(struct late_order *o, const struct late_map *m, const struct late_look *look);
int late_order_apply(const struct late_order *o, struct late_map *m);
/* Looks how much what moved has grown by. m: as it is now. Makes it known to both. */
int late_order_find_grown(struct late_order *o, struct late_map *m, const struct late_look *look);
/* m: of a child, a copy of its parent's from before; when it was forked `told` changes had been told. Does what had been done by then. look: at it. */
int late_order_apply_born(const struct late_order *o, size_t told, struct late_map *m, const struct late_look *look);

#endif
