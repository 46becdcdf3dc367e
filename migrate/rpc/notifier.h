/* SPDX-License-Identifier: Apache-2.0 */
/* notifier.h - tell the client of a moment and wait until it says that it has seen to it; then run the action scripts. A refusal, a wrong message, a client that is
 * gone (noticed at once) and one that says nothing for too long are all errors; what an error means is the caller's business.
 * Threads: the worker's only one. Owns nothing. */
#ifndef DRAY_MIGRATE_RPC_NOTIFIER_H
#define DRAY_MIGRATE_RPC_NOTIFIER_H

#include <stdbool.h>
#include <sys/types.h>

#include "migrate/criu/action_script.h"
#include "proto/base/err.h"
#include "rpc.pb-c.h"

struct rpc_notifier {
	int sock;       /* borrowed */
	bool on;        /* the request asked for notifications */
	int timeout_ms; /* for one acknowledgement; -1: for ever, as stock criu waits */
	struct action_scripts scripts; /* whether it is on or not; borrowed */
	int images_dir, work_dir; /* for them; borrowed */
	pid_t root;     /* for them: of the tree, 0 while it is not known */
};

/* pid: 0 none. ack: NULL, or where the acknowledgement goes (owned by the caller; NULL when notifications are off). 0 acknowledged or off,
 * else -1. */
int rpc_notify(const struct rpc_notifier *n, const char *script, pid_t pid, CriuReq **ack, struct err *e);

#endif
