/* SPDX-License-Identifier: Apache-2.0 */
/* obstacles.h - what stands against moving a process, and how it is said. Threads: any; a list belongs to one. Ownership: the list owns its entries;
 * zeroed is empty. */
#ifndef DRAY_MIGRATE_OBSTACLES_H
#define DRAY_MIGRATE_OBSTACLES_H

#include <stddef.h>

#include "proto/base/err.h"

/* One object that can't be carried: "task 41 fd 7: AF_NETLINK socket", with the option that would let it go, or none. */
struct obstacle { char what[320]; char way_out[96]; };
struct obstacles { struct obstacle *v; size_t count, capacity; };
void obstacles_finish(struct obstacles *o);
/* Drops from o what again, a later look at the same process, does not have in the same words. */
void obstacles_keep(struct obstacles *o, const struct obstacles *again);

/* Sets e to an error that names them all, each with its way out, as far as a line has room; the others are counted in it and named in the log.
 * otherwise: what may be done about those that have no way out; NULL: nothing. Returns -1. */
int obstacles_refuse(const struct obstacles *o, const char *otherwise, struct err *e);

#endif
