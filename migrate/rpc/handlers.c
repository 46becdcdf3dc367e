/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/rpc/handlers.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/rpc/rpc_session.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"

static void version(struct rpc_worker *w, const CriuReq *req, struct rpc_answer *a)
{
	(void)w;
	(void)req;
	a->success = true;
}

/* Until the child ends, or the client is no longer interested. */
static int wait_for_child(const struct rpc_worker *w, pid_t pid, int *status, struct err *e)
{
	cleanup_fd int pidfd = pidfd_open_(pid, 0);
	struct pollfd p[] = { { .fd = pidfd, .events = POLLIN }, { .fd = w->config->sock, .events = POLLRDHUP } };
	pid_t got = waitpid(pid, status, WNOHANG);

	while (got == 0) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return err_sys(e, "wait for %d", (int)pid);
		got = waitpid(pid, status, WNOHANG);
		if (got == 0 && p[1].revents)
			return err_set(e, ERR_CANCELLED, 0, "the client went away");
	}
	return got < 0 ? err_sys(e, "wait for %d", (int)pid) : 0;
}

static void wait_pid(struct rpc_worker *w, const CriuReq *req, struct rpc_answer *a)
{
	struct err e = { 0 };

	if (!req->has_pid || req->pid == 0 || req->pid > INT_MAX)
		err_set(&e, ERR_USAGE, 0, "WAIT_PID names no process");
	else if (wait_for_child(w, (pid_t)req->pid, &a->status, &e) == 0)
		a->success = true;
	if (!a->success)
		rpc_answer_failed(a, &e);
}

static const struct rpc_handler handlers[] = {
	[CRIU_REQ_TYPE__VERSION] = { .run = version, .quick = true },
	[CRIU_REQ_TYPE__WAIT_PID] = { .run = wait_pid },
	[CRIU_REQ_TYPE__SINGLE_PRE_DUMP] = { .run = NULL },
};

const struct rpc_handler *rpc_handler_of(CriuReqType type)
{
	static const struct rpc_handler none = { .run = NULL };

	return (unsigned)type < sizeof(handlers) / sizeof(handlers[0]) ? &handlers[type] : &none;
}

void rpc_handle(struct rpc_worker *w, const CriuReq *req, struct rpc_answer *a)
{
	const struct rpc_handler *h = rpc_handler_of(req->type);
	struct err e;

	if (h->run && (req->opts || !h->needs_opts)) {
		h->run(w, req, a);
		return;
	}
	if (h->run)
		err_set(&e, ERR_USAGE, 0, "%s without opts", rpc_type_name((unsigned)req->type));
	else
		err_set(&e, ERR_UNSUPPORTED, 0, "%s can't be done by this build", rpc_type_name((unsigned)req->type));
	rpc_answer_failed(a, &e);
}
