/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>

#include "migrate/cli/options.h"
#include "migrate/rpc/rpc_listen.h"
#include "migrate/rpc/rpc_worker.h"
#include "migrate/rpc/service.h"

#define FIELD(name) offsetof(struct service_config, name)
#define ACK_TIMEOUT "10m"
#define ACK_TIMEOUT_HELP "How long a client may take to acknowledge a notification, during which its tree is frozen. After it the request fails and " \
	"the tree runs on. 0 waits for ever, as criu does."

#define ENGINE_OPTIONS(config)                                                                                                             \
	{ .name = "engine", .type = OPT_STRING, .offset = offsetof(config, engine), .argument = "NAME",                                   \
	  .help = "Who dumps and restores: native; criu, the one that is installed; or auto, native where it can carry everything, else " \
		  "criu if its own check is content. Default: what DRAY_ENGINE says, else auto." },                                       \
	{ .name = "criu", .type = OPT_STRING, .offset = offsetof(config, criu), .argument = "PATH",                                       \
	  .help = "The criu that is meant. Default: what DRAY_CRIU says, else the first of that name in PATH that is not this program." }

enum { DAY_MS = 24 * 3600 * 1000 };

static const struct opt no_positionals[] = { { .name = NULL } };

static const struct opt service_options[] = {
	{ .name = "address", .type = OPT_STRING, .offset = FIELD(address), .argument = "PATH", .preset = RPC_DEFAULT_ADDRESS,
	  .help = "Where the socket is made. One that a service manager passes (LISTEN_FDS) is taken instead." },
	{ .name = "rpc-mode", .type = OPT_STRING, .offset = FIELD(mode), .argument = "MODE", .preset = "0600",
	  .help = "Who may connect: the mode of the socket, octal. Clients other than root act with their own rights." },
	{ .name = "rpc-group", .type = OPT_STRING, .offset = FIELD(group), .argument = "GROUP", .help = "The group of the socket." },
	{ .name = "pidfile", .type = OPT_STRING, .offset = FIELD(pidfile), .argument = "FILE",
	  .help = "Gets the process's PID. Must not exist; is removed at the end." },
	{ .name = "daemon", .short_name = 'd', .type = OPT_FLAG, .offset = FIELD(daemon),
	  .help = "Go on in the background once the socket listens." },
	{ .name = "status-fd", .type = OPT_STRING, .offset = FIELD(status_fd), .argument = "FD",
	  .help = "A descriptor that gets a NUL byte, and is closed, once the socket listens." },
	{ .name = "max-clients", .type = OPT_NUMBER, .offset = FIELD(max_clients), .argument = "N", .min = 1, .max = 65536, .preset = "4096",
	  .help = "Connections at a time. More wait until one ends; half of them is the most that one user other than root gets." },
	{ .name = "ack-timeout", .type = OPT_MS, .offset = FIELD(ack_timeout_ms), .argument = "MS", .max = DAY_MS, .preset = ACK_TIMEOUT,
	  .help = ACK_TIMEOUT_HELP },
	ENGINE_OPTIONS(struct service_config),
	{ .name = "log-file", .type = OPT_STRING, .offset = FIELD(log_file), .argument = "FILE",
	  .help = "Where the service's own events go. Without it, standard error. Each request has a log of its own." },
	{ .name = "log-level", .type = OPT_CHOICE, .offset = FIELD(log_level), .argument = "LEVEL", .choices = log_level_choices,
	  .preset = "info", .help = "What is logged." },
	{ .name = NULL },
};

static int check_service(const void *config, struct err *e)
{
	const struct service_config *c = config;
	uint64_t fd = 0;
	mode_t mode;

	if (rpc_mode_parse(c->mode, &mode, e) != 0)
		return err_wrap(e, "--rpc-mode");
	if (c->status_fd && opt_parse_number(c->status_fd, OPT_NUMBER, &fd, e) != 0)
		return err_wrap(e, "--status-fd");
	return fd > INT_MAX ? err_set(e, ERR_USAGE, 0, "--status-fd: '%.20s' is too large", c->status_fd) : 0;
}

const struct opt_command service_command = {
	.name = "service",
	.summary = "Answers requests of CRIU's RPC on a unix socket.",
	.about = "Runs until SIGTERM. Says that it is ready on standard output, and to a service manager that set NOTIFY_SOCKET.",
	.options = service_options,
	.positionals = no_positionals,
	.config_size = sizeof(struct service_config),
	.check = check_service,
};

static const struct opt swrk_options[] = {
	{ .name = "ack-timeout", .type = OPT_MS, .offset = offsetof(struct swrk_config, ack_timeout_ms), .argument = "MS", .max = DAY_MS,
	  .preset = ACK_TIMEOUT, .help = ACK_TIMEOUT_HELP },
	ENGINE_OPTIONS(struct swrk_config),
	{ .name = NULL },
};

static const struct opt swrk_positionals[] = {
	{ .name = "FD", .type = OPT_NUMBER, .offset = offsetof(struct swrk_config, fd), .max = INT_MAX,
	  .help = "The descriptor of the inherited socket." },
	{ .name = NULL },
};

const struct opt_command swrk_command = {
	.name = "swrk",
	.summary = "Answers requests of CRIU's RPC on a socket that was inherited.",
	.about = "For programs that start it themselves, as libcriu does. The exit status is 0 when the last request was done, 1 when it was a dump or a "
		 "restore that failed, 255 when the connection ended otherwise.",
	.options = swrk_options,
	.positionals = swrk_positionals,
	.config_size = sizeof(struct swrk_config),
};
