/* SPDX-License-Identifier: Apache-2.0 */
/* handlers.h - what is done for a request, one function a type. What it needs from the client was taken before it is called; it reads and
 * writes the socket for notifications only, and says what came of it.
 * Threads: the worker's only one; those that are quick run in the service's own process, without a worker. */
#ifndef DRAY_MIGRATE_RPC_HANDLERS_H
#define DRAY_MIGRATE_RPC_HANDLERS_H

#include "migrate/rpc/answer.h"
#include "migrate/rpc/apply.h"
#include "migrate/rpc/rpc_worker.h"

struct rpc_worker {
	const struct rpc_worker_config *config;
	struct rpc_peer peer;
};

/* One request, from its packet to what is left to do once its answer was sent. */
struct rpc_call {
	struct rpc_worker *w; /* NULL: in the service's own process */
	const CriuReq *req;   /* borrowed */
	bool has_opts;
	struct rpc_applied opts; /* where it has; their log file is standard error until the end */
	struct rpc_answer answer;
};

/* 0, or -1 with e set. The answer's success and error are the caller's business. */
typedef int rpc_handler_function(struct rpc_call *c, struct err *e);

struct rpc_handler {
	rpc_handler_function *run;
	void (*answered)(struct rpc_call *c); /* after a success was sent; NULL: nothing is left to do */
	bool needs_opts;
	bool quick; /* answers at once, from what the kernel is, whoever asks */
};

/* Of a type that the session lets run. */
const struct rpc_handler *rpc_handler_of(CriuReqType type);

/* Applies the options and runs it; c->answer is what to send. */
void rpc_call_run(struct rpc_call *c, struct rpc_worker *w, const CriuReq *req);
/* What is left to do; gives everything back. */
void rpc_call_end(struct rpc_call *c);

/* Tells the client of a stage, if it asked for notifications, and runs the action scripts. For struct rpc_stages: arg is the call. */
int rpc_call_reached(void *call, const char *stage, pid_t pid, CriuReq **ack, struct err *e);

/* --- those with a file of their own --- */
rpc_handler_function rpc_dump, rpc_pre_dump, rpc_restore, rpc_page_server, rpc_page_server_child;
void rpc_restore_answered(struct rpc_call *c);
void rpc_page_server_answered(struct rpc_call *c);

#endif
