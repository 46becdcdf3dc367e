/* SPDX-License-Identifier: Apache-2.0 */
/* ps_held.h - commands of a numbered session (proto/wire/ps_native.h) that were said and of which the server has not said that it took them: their bytes, one
 * behind the other in a ring, each whole. A place in it is a number that only grows; places of commands that were let go of stand for the oldest that is held.
 * Pure. Threads: belongs to one. Lifetime: init, finish; finish accepts a zeroed one. */
#ifndef DRAY_MIGRATE_PS_HELD_H
#define DRAY_MIGRATE_PS_HELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ps_held {
	uint8_t *ring;
	size_t size;
	uint64_t from, to;    /* places: the oldest, the next one's */
	uint64_t first, next; /* numbers: the oldest's, the next one's */
};

struct ps_held_item {
	uint64_t number, after; /* after: the place behind it */
	uint8_t *bytes;
	size_t len;
	unsigned stream;
};

int ps_held_init(struct ps_held *h, size_t size); /* 0 or -ENOMEM */
void ps_held_finish(struct ps_held *h);
/* Where len bytes of the next one go; NULL: there is no room. Half of the ring always fits an empty one. */
uint8_t *ps_held_room(struct ps_held *h, size_t len);
/* They are there, and belong to this stream. Right behind ps_held_room. */
void ps_held_add(struct ps_held *h, size_t len, unsigned stream);
/* The first one at a place or behind it; false: there is none. */
bool ps_held_at(const struct ps_held *h, uint64_t place, struct ps_held_item *item);
/* Lets go of those numbered below next, which is h->next at most. */
void ps_held_let_go(struct ps_held *h, uint64_t next);

#endif
