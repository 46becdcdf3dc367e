/* SPDX-License-Identifier: Apache-2.0 */
/* handlers.h - what is done for a request, one function a type. Each validates and takes what it needs from the client first, then does it,
 * then says what came of it; none reads or writes the socket but for notifications.
 * Threads: the worker's only one; those that are quick run in the service's own process, without a worker. */
#ifndef DRAY_MIGRATE_RPC_HANDLERS_H
#define DRAY_MIGRATE_RPC_HANDLERS_H

#include "migrate/rpc/answer.h"
#include "migrate/rpc/peer.h"
#include "migrate/rpc/rpc_worker.h"

struct dumper;

struct rpc_worker {
	const struct rpc_worker_config *config;
	struct rpc_peer peer;
	struct dumper *dumper; /* keeps the tracker over the rounds of the connection; NULL: none yet */
};

/* a: zeroed but for pid, which is -1. */
typedef void rpc_handler_function(struct rpc_worker *w, const CriuReq *req, struct rpc_answer *a);

struct rpc_handler {
	rpc_handler_function *run;
	bool needs_opts;
	bool quick; /* answers at once, from what the kernel is, whoever asks: w is NULL in the service's own process */
};

/* Of a type that the session lets run. */
const struct rpc_handler *rpc_handler_of(CriuReqType type);
/* Runs it, once what it needs is there. */
void rpc_handle(struct rpc_worker *w, const CriuReq *req, struct rpc_answer *a);

#endif
