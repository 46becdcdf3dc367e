/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs that do what a request of the RPC does: made into that request, and handled by what handles those. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/criu/criu_call.h"
#include "migrate/rpc/handlers.h"
#include "proto/base/cleanup.h"
#include "proto/base/daemon.h"
#include "proto/base/io.h"
#include "proto/base/log.h"

enum { KILLED_BY = 128 }; /* as shells say it */

static int set_string(char **field, const char *text, struct err *e)
{
	char *copy = strdup(text);

	if (!copy)
		return err_set(e, ERR_SYSTEM, ENOMEM, "options");
	free(*field);
	*field = copy;
	return 0;
}

/* Where the pages go. */
static int say_page_server(const struct criu_command *c, CriuOpts *o, struct err *e)
{
	/* A lazy dump is itself what others connect to. */
	if (!c->page_server && !(o->lazy_pages && (c->port >= 0 || c->address)))
		return 0;
	o->ps = malloc(sizeof(*o->ps));
	if (!o->ps)
		return err_set(e, ERR_SYSTEM, ENOMEM, "options");
	criu_page_server_info__init(o->ps);
	o->ps->has_fd = c->ps_socket >= 0;
	o->ps->fd = c->ps_socket;
	o->ps->has_port = c->port >= 0;
	o->ps->port = c->port;
	if (!o->ps->has_fd && !c->address && !o->lazy_pages)
		return err_set(e, ERR_USAGE, 0, "--page-server: neither --address nor --ps-socket says where it is");
	return c->address ? set_string(&o->ps->address, c->address, e) : 0;
}

static int prepare(struct criu_call *c, struct err *e)
{
	CriuOpts *o = c->command.opts;

	if (c->command.stream)
		return err_set(e, ERR_USAGE, 0, "--stream is not supported: images are files in a directory here");
	o->has_images_dir_fd = o->has_work_dir_fd = true;
	o->images_dir_fd = c->images;
	o->work_dir_fd = c->work;
	return say_page_server(&c->command, o, e);
}

static int request(struct criu_call *c, CriuReqType type, struct rpc_answer *a, struct err *e)
{
	struct rpc_worker_config config = { .sock = -1, .mode = RPC_LOCAL, .ack_timeout_ms = -1,
					    .scripts = { c->command.scripts.v, c->command.scripts.n } };
	struct rpc_worker w = { .config = &config };
	CriuReq req = CRIU_REQ__INIT;
	struct rpc_call call;

	if (prepare(c, e) != 0 || ps_choice_parse(c->command.ps_protocol, c->command.ps_layout, c->command.streams, &config.choice, e) < 0)
		return -1;
	req.type = type;
	req.opts = c->command.opts;
	rpc_peer_local(&w.peer);
	rpc_call_run(&call, &w, &req);
	*a = call.answer;
	rpc_call_end(&call);
	if (!a->success)
		*e = a->error;
	return a->success ? 0 : -1;
}

/* --- dump ----------------------------------------------------------------------------------------------------------------------- */

/* Who says where a page server is thinks that the pages go there. Criu goes on, so under its name that is all; what only a file says is for other verbs too. */
static int check_where(const struct criu_call *c, struct err *e)
{
	static const char what[] = "has no effect without --page-server: the pages stay in the images directory";

	if (!c->command.typed_where || c->command.page_server || c->command.opts->lazy_pages)
		return 0;
	if (!c->as_criu)
		return err_set(e, ERR_USAGE, 0, "%s %s", c->command.typed_where, what);
	log_event(LOG_WARN, "option-without-effect", "option=%s reason=\"%s %s\"", c->command.typed_where, c->command.typed_where, what);
	return 0;
}

static int dump(struct criu_call *c, CriuReqType type, struct err *e)
{
	struct rpc_answer a;

	if (!c->command.opts->has_pid)
		return err_set(e, ERR_USAGE, 0, "--tree PID is missing: the root of what is to be dumped");
	if (check_where(c, e) != 0)
		return -1;
	return request(c, type, &a, e);
}

int criu_run_dump(struct criu_call *c, struct err *e)
{
	return dump(c, CRIU_REQ_TYPE__DUMP, e);
}

int criu_run_pre_dump(struct criu_call *c, struct err *e)
{
	return dump(c, CRIU_REQ_TYPE__SINGLE_PRE_DUMP, e);
}

/* --- restore -------------------------------------------------------------------------------------------------------------------- */

/* Until the root ends; what else was left to us is reaped on the way. */
static int wait_for_root(pid_t root, struct err *e)
{
	int status;
	pid_t pid;

	do {
		pid = waitpid(-1, &status, 0);
	} while ((pid > 0 && pid != root) || (pid < 0 && errno == EINTR));
	if (pid < 0)
		return err_sys(e, "wait for the root, %d", (int)root);
	return WIFSIGNALED(status) ? KILLED_BY + WTERMSIG(status) : WEXITSTATUS(status);
}

static int become(struct criu_call *c, struct criu_list *words, struct err *e)
{
	char **argv = reallocarray(words->v, words->n + 1, sizeof(*argv));

	if (!argv)
		return err_set(e, ERR_SYSTEM, ENOMEM, "--exec-cmd");
	words->v = argv;
	argv[words->n] = NULL;
	if (c->own_stderr >= 0)
		dup2(c->own_stderr, STDERR_FILENO);
	execvp(argv[0], argv);
	return err_sys(e, "--exec-cmd: %s", argv[0]);
}

static int check_restore(const struct criu_command *c, const struct criu_list *command, struct err *e)
{
	if (command->n && c->detach)
		return err_set(e, ERR_USAGE, 0, "--restore-detached and --exec-cmd exclude each other: the command becomes the root's parent");
	if (c->opts->rst_sibling && !c->detach)
		return err_set(e, ERR_USAGE, 0, "--restore-sibling wants --restore-detached: nobody can wait for a sibling");
	return 0;
}

/* The file is made before there is anything that would have to be undone. */
static int restore(struct criu_call *c, pid_t *root, struct err *e)
{
	const char *path = c->command.pidfile;
	cleanup_fd int pidfile = -1;
	struct rpc_answer a;

	if (path && (pidfile = pidfile_create(path, e)) < 0)
		return -1;
	if (request(c, CRIU_REQ_TYPE__RESTORE, &a, e) != 0) {
		if (path)
			unlinkat(c->work, path, 0);
		return err_wrap(e, "%s", c->command.opts->images_dir ? c->command.opts->images_dir : "the current directory");
	}
	*root = a.pid;
	if (path && dprintf(pidfile, "%d", (int)a.pid) < 0)
		return err_sys(e, "--pidfile: the tree runs, its root is %d", (int)a.pid);
	return 0;
}

static int restore_and_go_on(struct criu_call *c, struct criu_list *command, struct err *e)
{
	pid_t root;
	int status;

	if (check_restore(&c->command, command, e) != 0 || restore(c, &root, e) != 0)
		return -1;
	if (command->n)
		return become(c, command, e);
	if (c->command.detach)
		return 0;
	status = wait_for_root(root, e);
	return status < 0 ? -1 : c->as_criu ? 0 : status;
}

int criu_run_restore(struct criu_call *c, struct err *e)
{
	CriuOpts *o = c->command.opts;
	struct criu_list command = { o->exec_cmd, o->n_exec_cmd };
	int rc;

	o->exec_cmd = NULL;
	o->n_exec_cmd = 0;
	rc = restore_and_go_on(c, &command, e);
	o->exec_cmd = command.v;
	o->n_exec_cmd = command.n;
	return rc;
}

/* --- cpuinfo -------------------------------------------------------------------------------------------------------------------- */

int criu_run_cpuinfo(struct criu_call *c, struct err *e)
{
	const char *what = c->command.words.v[1];
	struct rpc_answer a;

	if (strcmp(what, "dump") == 0)
		return request(c, CRIU_REQ_TYPE__CPUINFO_DUMP, &a, e);
	if (strcmp(what, "check") == 0)
		return request(c, CRIU_REQ_TYPE__CPUINFO_CHECK, &a, e);
	return err_set(e, ERR_USAGE, 0, "'%.40s' is neither dump nor check", what);
}
