/* SPDX-License-Identifier: Apache-2.0 */
/* options.h - the option tables of dray's verbs. Each fills the struct of migrate/conduct/config.h that bears its name and checks what
 * no single option can: that values go together. Const data. */
#ifndef DRAY_MIGRATE_OPTIONS_H
#define DRAY_MIGRATE_OPTIONS_H

#include <stddef.h>

#include "migrate/cli/opt.h"

extern const struct opt_command migrate_command; /* struct migrate_config */
extern const struct opt_command agent_command;   /* struct agent_config */
extern const struct opt_command recover_command; /* struct recover_config */
extern const struct opt_command page_server_command; /* struct page_server_options of pageserver/stock/page_server.h */
extern const struct opt_command service_command; /* struct service_config (migrate/rpc/service.h) */
extern const struct opt_command status_command;  /* struct status_config (migrate/cli/status.h) */
extern const struct opt_command swrk_command;    /* struct swrk_config (migrate/rpc/rpc_worker.h) */

/* Shared rows. config: the verb's struct, which has a field of the option's name. */
extern const struct opt_choice log_level_choices[];
#define LOG_LEVEL_OPTION(config, level)                                                                                              \
	{ .name = "log-level", .type = OPT_CHOICE, .offset = offsetof(config, log_level), .argument = "LEVEL",                       \
	  .choices = log_level_choices, .preset = level, .help = "What is logged on standard error." }
#define STATE_DIR_OPTION(config, text)                                                                                               \
	{ .name = "state-dir", .type = OPT_STRING, .offset = offsetof(config, state_dir), .argument = "DIR", .preset = DRAY_STATE_DIR, .help = text }
#define METRICS_OPTION(config)                                                                                                       \
	{ .name = "metrics", .type = OPT_STRING, .offset = offsetof(config, metrics), .argument = "ADDRESS:PORT|unix:PATH",          \
	  .help = "Serve metrics over HTTP there, and what dray status shows. Port 0 lets the kernel choose; the log says which." }

#endif
