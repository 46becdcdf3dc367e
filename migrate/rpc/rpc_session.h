/* SPDX-License-Identifier: Apache-2.0 */
/* rpc_session.h - what a connection may ask for in which state, and what becomes of it: one table, one place where the state changes.
 * Service and swrk connections are the same here. Pure. Threads: an object belongs to one. Owns nothing. */
#ifndef DRAY_MIGRATE_RPC_SESSION_H
#define DRAY_MIGRATE_RPC_SESSION_H

#include <stdbool.h>
#include <stdio.h>

#include "rpc.pb-c.h"

enum rpc_state {
	RPC_IDLE,
	RPC_PRELOOP, /* a PRE_DUMP was done: another one, or the DUMP, is due */
	RPC_CLOSED,
	RPC_STATES
};

enum rpc_reaction {
	RPC_RUN,       /* do it and answer */
	RPC_SAY_EMPTY, /* answer EMPTY, success=false */
	RPC_HANG_UP,   /* close without a word */
};

enum {
	RPC_TYPE_UNKNOWN = CRIU_REQ_TYPE__SINGLE_PRE_DUMP + 1, /* stands for every type that we don't know */
	RPC_TYPES,
	RPC_EXIT_DONE = 0, RPC_EXIT_FAILED = 1, RPC_EXIT_BROKEN = 255,
};

struct rpc_session {
	enum rpc_state state;
	int exit_status; /* of a worker that ends now */
};

void rpc_session_init(struct rpc_session *s);
/* What to do with a request that came. Changes nothing, but for RPC_HANG_UP and RPC_SAY_EMPTY, which close. */
enum rpc_reaction rpc_session_request(struct rpc_session *s, const CriuReq *req);
/* A request that was to be run is answered. */
void rpc_session_answered(struct rpc_session *s, const CriuReq *req, bool success);
/* The other side is gone, or what it sent is no request. */
void rpc_session_lost(struct rpc_session *s);

const char *rpc_type_name(unsigned type);     /* as the protocol spells it; "unknown" */
void rpc_session_print_table(FILE *out);   /* for docs/rpc.md */
void rpc_session_print_drawing(FILE *out);

#endif
