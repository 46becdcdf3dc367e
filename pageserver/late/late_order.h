/* SPDX-License-Identifier: Apache-2.0 */
/* late_order.h - which came first, a fork or another thread's mremap, of which the kernel tells in either order, after both are done.
 *
 * The child's own userfaultfd knows: it watches the mapping where the child has it.
 *
 *   moved, then forked   child watches `to`    told the other way round: its map is moved after it
 *   forked, then moved   child watches `from`  told the other way round: the move is taken back in its map
 *
 * Only moves of one period can have changed places with a fork: while the kernel has something to tell of the parent, or waits for it to be heard, pages can't
 * be placed in it; when they can, a period is over. Moves onto each other's places within one period are not told apart.
 *
 * Threads: one. By value, zeroed it is empty. Fails: -ENOMEM. */
#ifndef DRAY_PAGESERVER_LATE_ORDER_H
#define DRAY_PAGESERVER_LATE_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "pageserver/late/late_map.h"

enum { LATE_MOVES = 16 }; /* the latest of a period; more threads than that don't move memory at once */

struct late_move { uint64_t from, to, pages; };
struct late_order {
	struct late_move move[LATE_MOVES];
	unsigned moves;  /* of this period, all of them */
	uint64_t period;
};

/* unreadable: a page of ours without access: a copy from it changes nothing, and fails in a way that tells. */

/* Has the process's every change been heard of? Then a period is over. */
bool late_order_quiet(struct late_order *o, int uffd, void *unreadable);
void late_order_note(struct late_order *o, const struct late_move *m);
/* m: a copy of the parent's map, which has all those moves. Takes those back that came after the child was forked. */
int late_order_take_back(const struct late_order *o, int child, void *unreadable, struct late_map *m);
/* m: of a child that was heard of before the move. Moves it there too if the child was forked behind it. */
int late_order_follow(const struct late_move *move, int child, void *unreadable, struct late_map *m);

#endif
