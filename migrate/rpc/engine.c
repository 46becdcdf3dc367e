/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/rpc/engine.h"

#include <errno.h>

#include "migrate/dump/tracker_left.h"
#include "migrate/images/tree_images.h"
#include "migrate/native/capture.h"
#include "migrate/rpc/apply.h"
#include "migrate/rpc/request.h"

enum { BY_ENGINE = RPC_OP_DUMP | RPC_OP_PRE_DUMP | RPC_OP_RESTORE };

/* What a dump would stumble over. A dump of the client itself is left to find it out: its connection to us is no obstacle. */
static bool carries_tree(const struct rpc_applied *a, struct err *why)
{
	const struct capture_options o = { .tcp_close = a->opts->tcp_close, .shared_memory_apart = true, .dump = true, .writes_untracked_ok = true,
					   .tracked = tracker_left_for(a->pid) /* by the round before */ };
	struct obstacles found = { 0 };
	bool good = a->self || capture_check(a->pid, &o, &found, why) != 0 || found.count == 0;

	if (!good)
		obstacles_refuse(&found, NULL, why);
	obstacles_finish(&found);
	return good;
}

/* Images that can't be read at all are for the native engine to complain of. */
static bool carries_images(const struct rpc_applied *a, struct err *why)
{
	struct tree_images_facts facts;
	Drayage__TreeState *tree = tree_images_read(a->images_dir, &facts, why);

	if (tree)
		drayage__tree_state__free_unpacked(tree, NULL);
	return tree || why->kind != ERR_UNSUPPORTED;
}

static bool refused_by_its_row(const struct rpc_applied *a, enum rpc_op op, enum rpc_words w, struct err *why)
{
	char shown[RPC_SHOWN_MAX];
	const struct rpc_option *o = a->opts ? rpc_options_refused(a->opts, op) : NULL;

	if (o)
		err_set(why, ERR_UNSUPPORTED, 0, "%s", rpc_option_shown(o, w, shown));
	return o;
}

/* Options are taken as for the operation itself, but for the log: it is made by who does it. */
static bool native_can(const CriuOpts *opts, enum rpc_op op, const struct rpc_peer *peer, struct err *why)
{
	CriuOpts silent = CRIU_OPTS__INIT, *all;
	struct rpc_applied a;
	bool good;

	silent.has_log_to_stderr = silent.log_to_stderr = true;
	all = rpc_options_merge(opts, &silent);
	if (!all)
		return true;
	if (rpc_options_apply(all, op, peer, &a, why) != 0)
		good = !refused_by_its_row(&a, op, peer->mode == RPC_LOCAL ? RPC_WORDS_CLI : RPC_WORDS_FIELDS, why);
	else
		good = op == RPC_OP_RESTORE ? carries_images(&a, why) : carries_tree(&a, why);
	rpc_applied_finish(&a);
	criu_opts__free_unpacked(all, NULL);
	return good;
}

/* criu does as root what it is asked for: nobody else may ask. */
static int chosen(const struct engine_choice *c, const struct rpc_peer *peer, char path[PATH_MAX], struct err *e)
{
	if (peer->uid != 0)
		return err_set(e, ERR_PERMISSION, 0, "engine criu is for root only");
	if (!stock_criu_find(c, path))
		return err_set(e, ERR_UNSUPPORTED, 0, "engine criu: there is no %s", c->criu ? c->criu : "criu beside this program");
	err_set(e, ERR_NONE, 0, "it was chosen");
	return 1;
}

int engine_is_criu(const struct engine_choice *c, const CriuOpts *opts, enum rpc_op op, const struct rpc_peer *peer, char path[PATH_MAX],
		   struct err *e)
{
	err_clear(e);
	if (c->engine == ENGINE_CRIU)
		return chosen(c, peer, path, e);
	if (c->engine == ENGINE_NATIVE || !(op & BY_ENGINE) || !opts || peer->uid != 0 || !stock_criu_find(c, path))
		return 0;
	return !native_can(opts, op, peer, e) && stock_criu_works(path);
}
