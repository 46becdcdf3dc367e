/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "migrate/cli/run.h"
#include "migrate/rpc/rpc_worker.h"
#include "migrate/rpc/service.h"
#include "proto/base/log.h"

int run_service(const void *config, struct err *e)
{
	return service_run(config, e);
}

int run_swrk(const void *config, struct err *e)
{
	const struct swrk_config *c = config;
	struct rpc_worker_config w = { .sock = (int)c->fd, .mode = RPC_SWRK,
				       .ack_timeout_ms = c->ack_timeout_ms ? (int)c->ack_timeout_ms : -1 };
	int type = 0;
	socklen_t len = sizeof(type);

	if (getsockopt(w.sock, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return err_sys(e, "descriptor %d", w.sock);
	if (type != SOCK_SEQPACKET)
		return err_set(e, ERR_USAGE, 0, "descriptor %d is no SOCK_SEQPACKET socket", w.sock);
	fcntl(w.sock, F_SETFD, FD_CLOEXEC); /* of what is restored or executed from here, nothing may hold it */
	log_set_role("swrk");
	exit(rpc_worker_run(&w));
}
