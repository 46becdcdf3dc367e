/* SPDX-License-Identifier: Apache-2.0 */
/* pagemap_chain.h - the page maps of one task or shared memory in a set and in the sets before it, with their pages files.
 *
 * All of its ranges are in memory, for who asks for addresses in any order. Who goes through them once takes a walk (pagemap_walk.h).
 *
 *   level 0   the set itself        parent ->
 *   level 1   the set before        parent ->
 *   ...
 *
 * A parent is whatever directory the name `parent` leads to, a link or a directory; the files in it are opened without following links.
 * A chain ends where there is no parent, no page map in it, or no hole that needs it; it may not come back to itself.
 * Threads: a chain belongs to one. Fails: err naming file and level. */
#ifndef DRAY_PAGESERVER_PAGEMAP_CHAIN_H
#define DRAY_PAGESERVER_PAGEMAP_CHAIN_H

#include <sys/types.h>

#include "pageserver/images/pagemap_table.h"

enum { PAGEMAP_CHAIN_MAX = 256 };

struct pagemap_level {
	struct pagemap_table table;
	int pages; /* descriptor of its pages file; -1: it stores none */
};
struct pagemap_chain {
	struct pagemap_level *level;
	unsigned depth; /* levels; at least 1 after opening */
};

/* As deep as holes go. */
int pagemap_chain_open(struct pagemap_chain *c, int dirfd, enum pagemap_kind kind, uint64_t id, struct err *e);
void pagemap_chain_close(struct pagemap_chain *c); /* accepts a zeroed one */

/* The set before: a descriptor; -1 with e clear when there is none, or with e set. A link that leads nowhere is an error. */
int image_parent_open(int dirfd, struct err *e);

/* The directories that somebody has come through from parent to parent: a zeroed trail is empty. */
struct set_trail {
	struct { dev_t dev; ino_t ino; } seen[PAGEMAP_CHAIN_MAX];
	unsigned count;
};
/* Fails when dirfd is among them, or when they are too many. */
int set_trail_add(struct set_trail *t, int dirfd, struct err *e);

#endif
