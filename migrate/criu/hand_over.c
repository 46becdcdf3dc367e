/* SPDX-License-Identifier: Apache-2.0 */
/* A command that the installed criu takes over. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/criu/criu_call.h"
#include "migrate/rpc/engine.h"
#include "proto/base/cleanup.h"

/* How many words an option of ours takes up that criu does not know: 0, 1, 2. */
static int words_of_own_option(const char *arg)
{
	static const char *const own[] = { "--engine", "--criu", "--ps-layout", "--ps-protocol", "--streams" };

	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		size_t len = strlen(own[i]);

		if (strncmp(arg, own[i], len) == 0 && (!arg[len] || arg[len] == '='))
			return arg[len] ? 1 : 2;
	}
	return 0;
}

char **criu_call_stock_argv(const struct criu_call *c)
{
	static char name[] = "criu";
	char **argv = calloc((size_t)c->argc + 1, sizeof(*argv));
	bool options = true;
	int n = 1;

	if (!argv)
		return NULL;
	argv[0] = name;
	for (int i = 1; i < c->argc; i++) {
		int skipped = options ? words_of_own_option(c->argv[i]) : 0;

		options = options && strcmp(c->argv[i], "--") != 0;
		if (skipped)
			i += skipped - 1;
		else
			argv[n++] = c->argv[i];
	}
	return argv;
}

static int say_where_images_are(CriuOpts *o, struct err *e)
{
	if (!o->images_dir)
		o->images_dir = strdup(".");
	return o->images_dir ? 0 : err_set(e, ERR_SYSTEM, ENOMEM, "options");
}

int criu_call_hand_over(struct criu_call *c, unsigned ops, struct err *e)
{
	cleanup_free char **argv = NULL;
	struct engine_choice choice;
	struct rpc_peer self;
	char path[PATH_MAX];
	int rc;

	if (!(ops & (RPC_OP_DUMP | RPC_OP_PRE_DUMP | RPC_OP_RESTORE)))
		return 0;
	if (engine_choose(c->command.engine, c->command.criu, &choice, e) != 0 || say_where_images_are(c->command.opts, e) != 0)
		return -1;
	rpc_peer_local(&self);
	rc = engine_is_criu(&choice, c->command.opts, (enum rpc_op)ops, &self, path, e);
	if (rc <= 0)
		return rc;
	argv = criu_call_stock_argv(c);
	if (!argv)
		return err_set(e, ERR_SYSTEM, ENOMEM, "command line");
	fprintf(stderr, "%s: engine criu, %s: %s\n", c->as_criu ? "criu" : "dray", path, e->text);
	return stock_criu_become(path, argv, -1, e);
}
