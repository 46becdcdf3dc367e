/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/cli/options.h"
#include "migrate/cli/status.h"

#define FIELD(name) offsetof(struct status_config, name)

static const struct opt positionals[] = {
	{ .name = "WHERE", .type = OPT_STRING, .offset = FIELD(where), .optional = true,
	  .help = "What the daemon was given with --metrics: the path of a socket, a directory with metrics.sock in it, or ADDRESS:PORT. Without it, "
		  "those of the installed units: /run/drayage-agent and /run/drayage-page-server." },
	{ .name = NULL },
};

static const struct opt options[] = {
	{ .name = "watch", .short_name = 'w', .type = OPT_FLAG, .offset = FIELD(watch),
	  .help = "Look again and again until interrupted; a terminal is redrawn." },
	{ .name = "interval", .type = OPT_MS, .offset = FIELD(interval_ms), .argument = "MS", .min = 50, .max = 3600000, .preset = "1s",
	  .help = "How long after each look." },
	{ .name = "json", .type = OPT_FLAG, .offset = FIELD(json), .help = "One JSON object a line for each look at a daemon." },
	{ .name = NULL },
};

const struct opt_command status_command = {
	.name = "status",
	.summary = "Shows the sessions of a page server or an agent.",
	.about = "Asks a daemon that was started with --metrics for its sessions: peer, state, age, pages, bytes, rate, and what is left of its time.",
	.options = options,
	.positionals = positionals,
	.config_size = sizeof(struct status_config),
};
