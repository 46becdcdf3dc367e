/* SPDX-License-Identifier: Apache-2.0 */
/* husk.h - the process that will become the target: forked by a session with the target's PID, it stages the mappings, has its
 * receiver threads place pages in them, makes the descriptors, and at the end is emptied and filled by its tracer (rebuild.h).
 * It dies with its session until the tree is prepared. Threads: start by the single-threaded session. */
#ifndef DRAY_MIGRATE_HUSK_H
#define DRAY_MIGRATE_HUSK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "control.pb-c.h"
#include "proto/base/err.h"

struct husk {
	pid_t pid;     /* as the session sees it; 0: none */
	pid_t ns_init; /* first process of the PID namespace made for it; 0: none was made */
	int init_line; /* keeps ns_init waiting; -1 */
	int channel;   /* to it; -1 */
	uint32_t tree_pid; /* its number in its own PID namespace */
};

/* Chooses where the PID is free as the offer asks, forks. new_namespace in h->ns_init. ERR_CONFLICT when --pid same can't be had. */
int husk_start(struct husk *h, const Drayage__Offer *offer, uint64_t max_bytes, struct err *e);
/* Kills it and its namespace, waits until they are gone. Accepts a zeroed object. */
void husk_kill(struct husk *h);
/* The tree is on its own now: only our lines to it are closed. */
void husk_let_go(struct husk *h);

#endif
