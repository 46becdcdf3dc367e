/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/cli/options.h"

#include "migrate/cli/tls_options.h"
#include "migrate/conduct/config.h"
#include "proto/wire/hello.h"

#define FIELD(name) offsetof(struct recover_config, name)

static const struct opt positionals[] = {
	{ .name = "ID", .type = OPT_STRING, .offset = FIELD(id), .optional = true,
	  .help = "The migration, as 32 hex digits. Without it, every one whose processes are gone." },
	{ .name = NULL },
};

static const struct opt options[] = {
	{ .name = "list", .short_name = 'l', .type = OPT_FLAG, .offset = FIELD(list),
	  .help = "Only say which migrations are not settled, and what stands in the way." },
	{ .name = "thaw", .type = OPT_FLAG, .offset = FIELD(thaw),
	  .help = "Let the process here run on without asking the destination. If it runs there too, there are then two of it." },
	{ .name = "kill", .type = OPT_FLAG, .offset = FIELD(kill),
	  .help = "End the process here without asking the destination. If it does not run there, it is then lost." },
	{ .name = "json", .type = OPT_FLAG, .offset = FIELD(json), .help = "One JSON object a line for each migration; where nothing is unsettled, no line." },
	TLS_CLIENT_OPTIONS(struct recover_config, tls),
	STATE_DIR_OPTION(struct recover_config, "Where the decisions are recorded."),
	LOG_LEVEL_OPTION(struct recover_config, "warn"),
	{ .name = NULL },
};

static int check(const void *config, struct err *e)
{
	const struct recover_config *c = config;
	struct migration_id id;

	if (c->id && !migration_id_parse(c->id, &id))
		return err_set(e, ERR_USAGE, 0, "ID: '%.40s' is not 32 hex digits", c->id);
	if (tls_options_check(&c->tls, e) < 0)
		return -1;
	if (c->list + c->thaw + c->kill > 1)
		return err_set(e, ERR_USAGE, 0, "--list, --thaw and --kill exclude each other");
	if ((c->thaw || c->kill) && !c->id)
		return err_set(e, ERR_USAGE, 0, "%s wants the ID of one migration; dray recover --list shows them",
			       c->thaw ? "--thaw" : "--kill");
	return 0;
}

const struct opt_command recover_command = {
	.name = "recover",
	.summary = "Settles migrations whose source was killed before it knew the outcome.",
	.about = "Asks each destination what became of the process. If it runs there, the frozen original here is ended; if it never did, "
		 "the original runs on. What can't be learnt stays frozen.",
	.options = options,
	.positionals = positionals,
	.config_size = sizeof(struct recover_config),
	.check = check,
};
