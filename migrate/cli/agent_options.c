/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/cli/options.h"

#include "migrate/cli/tls_options.h"
#include "migrate/conduct/config.h"
#include "migrate/rpc/rpc_listen.h"
#include "proto/base/exporter.h"
#include "proto/base/sock.h"

#define FIELD(name) offsetof(struct agent_config, name)

static const struct opt none[] = { { .name = NULL } };

static const struct opt options[] = {
	{ .name = "listen", .type = OPT_STRING, .offset = FIELD(listen), .argument = "ADDRESS:PORT", .preset = DRAY_LISTEN,
	  .help = "Where migrations come in. Port 0 lets the kernel choose; the line printed when ready says which." },
	{ .name = "insecure", .type = OPT_FLAG, .offset = FIELD(insecure),
	  .help = "Without TLS, allow an address that other hosts can reach, though anyone who reaches it can start processes here as any user." },
	TLS_FILE_OPTIONS(struct agent_config, tls),
	TLS_ALLOW_OPTION(struct agent_config, tls,
			 "Names of which a source's certificate must bear one: DNS names, addresses, or common names where there are no DNS names. "
			 "Without it every certificate of the authority is let in."),
	STATE_DIR_OPTION(struct agent_config, "Where decisions are recorded."),
	{ .name = "max-memory", .type = OPT_BYTES, .offset = FIELD(max_memory), .argument = "BYTES", .preset = "0",
	  .help = "Refuse what would make the memory of incoming processes exceed this. 0 means what the host has." },
	{ .name = "drain-timeout", .type = OPT_MS, .offset = FIELD(drain_timeout_ms), .argument = "MS", .max = 3600000,
	  .preset = "30s",
	  .help = "How long SIGTERM waits for migrations under way before it ends those not committed. 0 waits as long as they take." },
	{ .name = "rpc", .type = OPT_STRING, .offset = FIELD(rpc), .argument = "PATH",
	  .help = "Answer CRIU's RPC on a unix socket there too, as dray service does." },
	{ .name = "rpc-mode", .type = OPT_STRING, .offset = FIELD(rpc_mode), .argument = "MODE", .preset = "0600",
	  .help = "Who may connect to it: its mode, octal. Clients other than root act with their own rights." },
	{ .name = "rpc-group", .type = OPT_STRING, .offset = FIELD(rpc_group), .argument = "GROUP", .help = "Its group." },
	METRICS_OPTION(struct agent_config),
	LOG_LEVEL_OPTION(struct agent_config, "info"),
	{ .name = NULL },
};

static int check(const void *config, struct err *e)
{
	const struct agent_config *c = config;
	char host[SOCK_HOST_MAX];
	uint16_t port;
	mode_t mode;

	if (tls_options_check(&c->tls, e) < 0)
		return -1;
	if (rpc_mode_parse(c->rpc_mode, &mode, e) != 0)
		return err_wrap(e, "--rpc-mode");
	if (c->rpc_group && !c->rpc)
		return err_set(e, ERR_USAGE, 0, "--rpc-group has no effect without --rpc PATH");
	if (c->metrics && exporter_check(c->metrics, e) < 0)
		return err_wrap(e, "--metrics");
	return sock_parse(c->listen, DRAY_PORT, host, &port, e) != 0 ? err_wrap(e, "--listen") : 0;
}

const struct opt_command agent_command = {
	.name = "agent",
	.summary = "Receives processes from other hosts.",
	.about = "Runs until SIGTERM. Says that it is ready on standard output, and to a service manager that set NOTIFY_SOCKET.",
	.options = options,
	.positionals = none,
	.config_size = sizeof(struct agent_config),
	.check = check,
};
