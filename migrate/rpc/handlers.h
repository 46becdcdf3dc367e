/* SPDX-License-Identifier: Apache-2.0 */
/* handlers.h - what is done for a request, one function a type. What it needs from the client was taken before it is called; it reads and
 * writes the socket for notifications only, and says what came of it.
 * Threads: the worker's only one; those that are quick run in the service's own process, without a worker. */
#ifndef DRAY_MIGRATE_RPC_HANDLERS_H
#define DRAY_MIGRATE_RPC_HANDLERS_H

#include "migrate/rpc/answer.h"
#include "migrate/rpc/apply.h"
#include "migrate/rpc/notifier.h"
#include "migrate/rpc/rpc_worker.h"

struct dumper;

struct rpc_worker {
	const struct rpc_worker_config *config;
	struct rpc_peer peer;
	struct dumper *dumper; /* keeps the tracker over the rounds of the connection; NULL: none yet */
	struct rpc_notifier notifier; /* of the request that is being handled */
};

/* opts: applied; NULL for types that look at none, and for a CHECK that has none. a: zeroed but for pid, which is -1. 0, or -1 with e set. */
typedef int rpc_handler_function(struct rpc_worker *w, const CriuReq *req, const struct rpc_applied *opts, struct rpc_answer *a, struct err *e);

struct rpc_handler {
	rpc_handler_function *run;
	void (*answered)(struct rpc_worker *w, const struct rpc_answer *a); /* after a success was sent; NULL: nothing is left to do */
	bool needs_opts;
	bool quick; /* answers at once, from what the kernel is, whoever asks: w is NULL in the service's own process */
};

/* Of a type that the session lets run. */
const struct rpc_handler *rpc_handler_of(CriuReqType type);
/* Applies the options and runs it. w may be NULL for one that is quick. */
void rpc_handle(struct rpc_worker *w, const CriuReq *req, struct rpc_answer *a);

/* --- those with a file of their own --- */
rpc_handler_function rpc_page_server, rpc_page_server_child;
void rpc_page_server_answered(struct rpc_worker *w, const struct rpc_answer *a);

#endif
