/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/agent/agent.h"
#include "migrate/cli/run.h"
#include "proto/base/log.h"

int run_agent(const void *config, struct err *e)
{
	const struct agent_config *c = config;

	log_set_level(c->log_level);
	return agent_run(c, e);
}
