/* SPDX-License-Identifier: Apache-2.0 */
/* DUMP, PRE_DUMP, SINGLE_PRE_DUMP. */
#include "migrate/rpc/handlers.h"
#include "migrate/rpc/operations.h"

/* One for all rounds of the connection: it keeps its tracker armed between them. */
static struct dumper *dumper_of(struct rpc_worker *w, struct err *e)
{
	if (!w->dumper)
		w->dumper = dumper_create(e);
	return w->dumper;
}

int rpc_pre_dump(struct rpc_call *c, struct err *e)
{
	const struct rpc_stages stages = { .reached = rpc_call_reached, .arg = c };
	struct dumper *d = dumper_of(c->w, e);

	return d ? rpc_do_pre_dump(d, &c->opts, &stages, e) : -1;
}

int rpc_dump(struct rpc_call *c, struct err *e)
{
	const struct rpc_stages stages = { .reached = rpc_call_reached, .arg = c };
	const CriuOpts *o = c->opts.opts;
	struct dumper *d = dumper_of(c->w, e);

	if (!d || rpc_do_dump(d, &c->opts, c->opts.self ? c->w->config->sock : -1, &stages, e) != 0)
		return -1;
	c->answer.unheard = c->opts.self && !o->leave_running && !o->leave_stopped; /* who asked is gone */
	return 0;
}
