/* SPDX-License-Identifier: Apache-2.0 */
/* DUMP, PRE_DUMP, SINGLE_PRE_DUMP. */
#include "migrate/rpc/handlers.h"
#include "migrate/rpc/operations.h"

/* A dumper for each request, given up before it is answered: it leaves its tracker to a process of its own (migrate/dump/tracker_left.h), where the
 * next round finds it, whether that comes on this connection or, right behind the answer, on another one. */
int rpc_pre_dump(struct rpc_call *c, struct err *e)
{
	struct dumper *d = dumper_create(e);
	int rc = d ? rpc_do_pre_dump(d, &c->opts, e) : -1;

	dumper_destroy(d);
	return rc;
}

int rpc_dump(struct rpc_call *c, struct err *e)
{
	const struct rpc_stages stages = { .reached = rpc_call_reached, .arg = c };
	const CriuOpts *o = c->opts.opts;
	struct dumper *d = dumper_create(e);
	int rc = d ? rpc_do_dump(d, &c->opts, c->opts.self ? c->w->config->sock : -1, &stages, e) : -1;

	dumper_destroy(d);
	c->answer.unheard = rc == 0 && c->opts.self && !o->leave_running && !o->leave_stopped; /* who asked is gone */
	return rc;
}
