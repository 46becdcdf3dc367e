/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/agent/agent.h"
#include "migrate/cli/run.h"
#include "migrate/rpc/service.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"

/* By a descriptor: the agent waits for every child of this process, and its number may be another's by now. */
static void stop(int service)
{
	syscall(SYS_pidfd_send_signal, service, SIGTERM, NULL, 0);
	waitid(P_PIDFD, (id_t)service, &(siginfo_t){ 0 }, WEXITED);
}

int run_agent(const void *config, struct err *e)
{
	const struct agent_config *c = config;
	const struct service_config rpc = { .address = c->rpc, .mode = c->rpc_mode, .group = c->rpc_group,
					    .max_clients = SERVICE_MAX_CLIENTS, .ack_timeout_ms = SERVICE_ACK_TIMEOUT_MS,
					    .log_level = c->log_level };
	cleanup_fd int service = -1;
	pid_t pid = 0;
	int rc;

	log_set_level(c->log_level);
	if (c->rpc && (pid = service_start(&rpc, e)) < 0)
		return err_wrap(e, "--rpc");
	service = pid > 0 ? pidfd_open_(pid, 0) : -1;
	rc = agent_run(c, e);
	if (service >= 0)
		stop(service);
	return rc;
}
