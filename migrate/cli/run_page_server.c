/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/cli/run.h"
#include "pageserver/stock/page_server.h"
#include "proto/base/log.h"

int run_page_server(const void *config, struct err *e)
{
	const struct page_server_options *o = config;

	log_set_level(o->log_level);
	return page_server_run(o, e);
}
