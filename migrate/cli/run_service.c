/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "migrate/cli/run.h"
#include "migrate/rpc/rpc_worker.h"
#include "migrate/rpc/service.h"

int run_service(const void *config, struct err *e)
{
	return service_run(config, e);
}

int run_swrk(const void *config, struct err *e)
{
	const struct swrk_config *c = config;
	struct rpc_worker_config w = { .sock = (int)c->fd, .mode = RPC_SWRK,
				       .ack_timeout_ms = c->ack_timeout_ms ? (int)c->ack_timeout_ms : -1 };
	int status;

	if (engine_choose(c->engine, c->criu, &w.engine, e) != 0)
		return -1;
	status = rpc_swrk_run(&w, e);
	if (status < 0)
		return -1;
	exit(status);
}
