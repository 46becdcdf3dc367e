/* SPDX-License-Identifier: Apache-2.0 */
/* notifier.h - tell the client of a moment and wait until it says that it has seen to it. A refusal, a wrong message, a client that is
 * gone (noticed at once) and one that says nothing for too long are all errors; what an error means is the caller's business.
 * Threads: the worker's only one. Owns nothing. */
#ifndef DRAY_MIGRATE_RPC_NOTIFIER_H
#define DRAY_MIGRATE_RPC_NOTIFIER_H

#include <stdbool.h>
#include <sys/types.h>

#include "proto/base/err.h"
#include "rpc.pb-c.h"

struct rpc_notifier {
	int sock;       /* borrowed */
	bool on;        /* the request asked for notifications */
	int timeout_ms; /* for one acknowledgement; -1: for ever, as stock criu waits */
};

/* pid: 0 none. ack: NULL, or where the acknowledgement goes (owned by the caller; NULL when notifications are off). 0 acknowledged or off,
 * else -1. */
int rpc_notify(const struct rpc_notifier *n, const char *script, pid_t pid, CriuReq **ack, struct err *e);

#endif
