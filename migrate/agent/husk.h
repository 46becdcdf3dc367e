/* SPDX-License-Identifier: Apache-2.0 */
/* husk.h - the process that will become the target: forked with the target's PID by a session (migration) or a restore (images), it stages
 * the mappings, has pages placed in them by receiver threads or from files, makes the descriptors, and at the end is emptied and filled
 * by its tracer (rebuild.h). It dies with whoever forked it until the tree is prepared. Threads: start by a process that has only one. */
#ifndef DRAY_MIGRATE_HUSK_H
#define DRAY_MIGRATE_HUSK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "control.pb-c.h"
#include "migrate/native/rebuild.h"
#include "proto/base/err.h"

struct husk_request {
	uint32_t pid;                 /* wished; in a PID namespace of its own too */
	const uint32_t *tids;         /* of its threads: all must be free for PID_AUTO to do without a namespace; borrowed */
	size_t n_tids;
	Drayage__PidPolicy pid_policy;
	unsigned streams;             /* that bring pages; 0: none, they come by CHANNEL_LOAD */
	bool streams_again;           /* cut ones come again: stream_recv_allow_again */
	uint64_t max_bytes;           /* as place_create takes it */
	bool sibling;                 /* a child of our parent instead of ours */
	bool keep_session;            /* it stays in our session and process group */
};

struct husk {
	pid_t pid;     /* as who forked it sees it; 0: none */
	bool sibling;  /* not ours to reap */
	pid_t ns_init; /* first process of the PID namespace made for it; 0: none was made */
	int init_line; /* keeps ns_init waiting; -1 */
	int channel;   /* to it; -1 */
	uint32_t tree_pid; /* its number in its own PID namespace */
};

/* Chooses where the PID is free as the policy asks, forks. new_namespace in h->ns_init. ERR_CONFLICT with EEXIST when the PID can't be had. */
int husk_start(struct husk *h, const struct husk_request *q, struct err *e);
/* The outer half of the rebuild (rebuild.h), for a husk that answered CHANNEL_STATE with `from`. All threads of the tree are held in r then,
 * stopped before their next instruction. On failure the husk is killed and r released. */
int husk_rebuild(const struct husk *h, struct remote *r, const Drayage__TreeState *tree, const struct rebuild_handover *from,
		 const struct rebuild_watch *watch, struct err *e);
/* Kills it and its namespace, waits until they are gone (a sibling is left to its parent to reap). Accepts a zeroed object. */
void husk_kill(struct husk *h);
/* The tree is on its own now: only our lines to it are closed. */
void husk_let_go(struct husk *h);

#endif
