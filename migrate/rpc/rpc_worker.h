/* SPDX-License-Identifier: Apache-2.0 */
/* rpc_worker.h - serve one connection to its end, in a process of its own: request after request through the session's table.
 * Threads: the only one of its process. */
#ifndef DRAY_MIGRATE_RPC_WORKER_H
#define DRAY_MIGRATE_RPC_WORKER_H

#include <stdint.h>

#include "migrate/criu/action_script.h"
#include "migrate/criu/stock_criu.h"
#include "migrate/pagesink/ps_sink.h"
#include "migrate/rpc/options.h"
#include "migrate/rpc/peer.h"

struct swrk_config { /* of the verb */
	uint64_t fd, ack_timeout_ms;
	const char *engine, *criu; /* as stock_criu.h has them; NULL: not said */
};

struct rpc_worker_config {
	int sock; /* borrowed */
	enum rpc_mode mode;
	const CriuOpts *base; /* what requests leave unsaid; NULL: the protocol's defaults. swrk: from configuration files and command line */
	int ack_timeout_ms;   /* for the acknowledgement of a notification; -1: none */
	struct action_scripts scripts; /* run at the moments of every request; borrowed */
	struct engine_choice engine;
	struct ps_choice choice; /* of page servers that requests send to, unless their configuration file says otherwise */
	char *const *criu_argv; /* what criu is started with in our place, ends with NULL; NULL: "criu swrk SOCK" */
};

/* Says nothing before a request came. Returns the exit status of the process (rpc_session.h). */
int rpc_worker_run(const struct rpc_worker_config *c);
/* The same on a socket that was inherited: not handed on to what is restored or executed from here. -1, e set: it is no such socket. */
int rpc_swrk_run(const struct rpc_worker_config *c, struct err *e);

#endif
