/* SPDX-License-Identifier: Apache-2.0 */
/* RESTORE, and what comes behind its answer. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "migrate/rpc/handlers.h"
#include "migrate/rpc/operations.h"
#include "proto/base/cleanup.h"
#include "proto/base/log.h"

/* A process that asked for its own dump waits for this since. */
static void tell_requester(int line)
{
	const struct rpc_answer a = { .success = true, .restored = true };

	if (line >= 0)
		rpc_answer_send(line, CRIU_REQ_TYPE__DUMP, &a);
}

int rpc_restore(struct rpc_call *c, struct err *e)
{
	const struct rpc_stages stages = { .reached = rpc_call_reached, .arg = c };
	cleanup_fd int line = -1;

	if (rpc_do_restore(&c->opts, &stages, &c->answer.pid, &line, e) != 0)
		return -1;
	tell_requester(line);
	return 0;
}

static char **command_of(const CriuOpts *o)
{
	char **argv = calloc(o->n_exec_cmd + 1, sizeof(*argv));

	for (size_t i = 0; argv && i < o->n_exec_cmd; i++)
		argv[i] = o->exec_cmd[i];
	return argv;
}

/* The worker becomes the command, in the work directory, its output in the log. The restored root stays its child. */
void rpc_restore_answered(struct rpc_call *c)
{
	const CriuOpts *o = c->opts.opts;
	cleanup_free char **argv = NULL;

	if (o->n_exec_cmd == 0)
		return;
	argv = command_of(o);
	if (argv && fchdir(c->opts.work_dir) == 0 && dup2(STDERR_FILENO, STDOUT_FILENO) >= 0)
		execvp(argv[0], argv); /* every descriptor of ours is close-on-exec, the client's connection too */
	log_event(LOG_ERROR, "exec-cmd", "command=\"%s\" error=\"%s\"", o->exec_cmd[0], strerror(errno));
}
