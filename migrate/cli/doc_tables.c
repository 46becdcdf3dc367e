/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/cli/doc_tables.h"

#include <stddef.h>
#include <string.h>

#include "migrate/rpc/options.h"
#include "migrate/rpc/rpc_session.h"
#include "proto/base/metrics.h"

static void agent_man(FILE *out)
{
	metrics_print_man(DAEMON_AGENT, out);
}

static void page_server_man(FILE *out)
{
	metrics_print_man(DAEMON_PAGE_SERVER, out);
}

static const struct { const char *name; void (*print)(FILE *out); } tables[] = {
	{ "rpc-session", rpc_session_print_table },
	{ "rpc-session-drawing", rpc_session_print_drawing },
	{ "rpc-options", rpc_options_print },
	{ "metrics", metrics_print_table },
	{ "metrics-agent-man", agent_man },
	{ "metrics-page-server-man", page_server_man },
};

bool doc_table_print(const char *name, FILE *out)
{
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		if (strcmp(tables[i].name, name) == 0) {
			tables[i].print(out);
			return true;
		}
	}
	return false;
}
