/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/rpc/handlers.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/criu/check.h"
#include "migrate/criu/features.h"
#include "migrate/images/cpuinfo.h"
#include "migrate/rpc/notifier.h"
#include "migrate/rpc/request.h"
#include "migrate/rpc/rpc_session.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"

static int version(struct rpc_call *c, struct err *e)
{
	(void)c, (void)e;
	return 0;
}

/* What a kernel can do does not change while we run: it is asked once, when a client first wants to know. */
struct feature { bool (*probe)(void); bool known, has; };

static bool has(struct feature *f, bool asked)
{
	if (asked && !f->known)
		*f = (struct feature){ .probe = f->probe, .known = true, .has = f->probe() };
	return asked && f->has;
}

static int feature_check(struct rpc_call *c, struct err *e)
{
	static struct feature mem_track = { .probe = feature_mem_track }, lazy_pages = { .probe = feature_lazy_pages },
			      pidfd_store = { .probe = feature_pidfd_store };
	const CriuFeatures *f = c->req->features;

	if (!f)
		return err_set(e, ERR_USAGE, 0, "FEATURE_CHECK without features");
	c->answer.mem_track = has(&mem_track, f->mem_track);
	c->answer.lazy_pages = has(&lazy_pages, f->lazy_pages);
	c->answer.pidfd_store = has(&pidfd_store, f->pidfd_store);
	return 0;
}

static int check(struct rpc_call *c, struct err *e)
{
	(void)c;
	return criu_check(e);
}

static int dump_cpuinfo(struct rpc_call *c, struct err *e)
{
	return cpuinfo_dump(c->opts.images_dir, e);
}

static int check_cpuinfo(struct rpc_call *c, struct err *e)
{
	const CriuOpts *o = c->opts.opts;

	return cpuinfo_check(c->opts.images_dir, o->has_cpu_cap ? o->cpu_cap : (unsigned)CPU_CAP_DEFAULT, e);
}

/* Until the child ends, or the client is no longer interested. */
static int wait_for_child(int sock, pid_t pid, int *status, struct err *e)
{
	cleanup_fd int pidfd = pidfd_open_(pid, 0);
	struct pollfd p[] = { { .fd = pidfd, .events = POLLIN }, { .fd = sock, .events = POLLRDHUP } };
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

static int wait_pid(struct rpc_call *c, struct err *e)
{
	const CriuReq *req = c->req;

	if (!req->has_pid || req->pid == 0 || req->pid > INT_MAX)
		return err_set(e, ERR_USAGE, 0, "WAIT_PID names no process");
	return wait_for_child(c->w->config->sock, (pid_t)req->pid, &c->answer.status, e);
}

static const struct rpc_handler handlers[] = {
	[CRIU_REQ_TYPE__DUMP] = { .run = rpc_dump, .needs_opts = true },
	[CRIU_REQ_TYPE__RESTORE] = { .run = rpc_restore, .answered = rpc_restore_answered, .needs_opts = true },
	[CRIU_REQ_TYPE__CHECK] = { .run = check },
	[CRIU_REQ_TYPE__PRE_DUMP] = { .run = rpc_pre_dump, .needs_opts = true },
	[CRIU_REQ_TYPE__PAGE_SERVER] = { .run = rpc_page_server, .answered = rpc_page_server_answered, .needs_opts = true },
	[CRIU_REQ_TYPE__CPUINFO_DUMP] = { .run = dump_cpuinfo, .needs_opts = true },
	[CRIU_REQ_TYPE__CPUINFO_CHECK] = { .run = check_cpuinfo, .needs_opts = true },
	[CRIU_REQ_TYPE__FEATURE_CHECK] = { .run = feature_check, .quick = true },
	[CRIU_REQ_TYPE__VERSION] = { .run = version, .quick = true },
	[CRIU_REQ_TYPE__WAIT_PID] = { .run = wait_pid },
	[CRIU_REQ_TYPE__PAGE_SERVER_CHLD] = { .run = rpc_page_server_child, .needs_opts = true },
	[CRIU_REQ_TYPE__SINGLE_PRE_DUMP] = { .run = rpc_pre_dump, .needs_opts = true },
};

const struct rpc_handler *rpc_handler_of(CriuReqType type)
{
	static const struct rpc_handler none = { .run = NULL };

	return (unsigned)type < sizeof(handlers) / sizeof(handlers[0]) ? &handlers[type] : &none;
}

/* --- calls ---------------------------------------------------------------------------------------------------------------------- */

static int apply(struct rpc_call *c, struct err *e)
{
	CriuOpts *all = rpc_options_merge(c->w->config->base, c->req->opts);
	int rc;

	if (!all)
		return err_set(e, ERR_USAGE, 0, "the request's options are malformed, or memory is short");
	c->has_opts = true;
	rc = rpc_options_apply(all, rpc_request_op(c->req), &c->w->peer, &c->opts, e);
	criu_opts__free_unpacked(all, NULL);
	if (!c->opts.has_choice)
		c->opts.choice = c->w->config->choice;
	return rc;
}

static int run(struct rpc_call *c, struct err *e)
{
	const struct rpc_handler *h = rpc_handler_of(c->req->type);

	if (!h->run)
		return err_set(e, ERR_INTERNAL, 0, "%s can't be done", rpc_type_name((unsigned)c->req->type));
	if (h->needs_opts && !c->req->opts)
		return err_set(e, ERR_USAGE, 0, "%s without opts", rpc_type_name((unsigned)c->req->type));
	if (rpc_request_op(c->req) && c->req->opts && apply(c, e) != 0)
		return -1;
	return h->run(c, e);
}

void rpc_call_run(struct rpc_call *c, struct rpc_worker *w, const CriuReq *req)
{
	struct err e = { 0 };

	*c = (struct rpc_call){ .w = w, .req = req, .answer = { .pid = -1 } };
	if (run(c, &e) == 0) {
		c->answer.success = true;
		return;
	}
	if (!w || w->config->mode != RPC_LOCAL)
		log_event(LOG_ERROR, "rpc-failed", "request=%s error=\"%s\"", rpc_type_name((unsigned)req->type), e.text);
	rpc_answer_failed(&c->answer, &e);
}

void rpc_call_end(struct rpc_call *c)
{
	const struct rpc_handler *h = rpc_handler_of(c->req->type);

	if (c->answer.success && h->answered)
		h->answered(c);
	if (c->has_opts)
		rpc_applied_finish(&c->opts);
	c->has_opts = false;
}

/* Those of the command line, then those of the request's configuration file. */
int rpc_call_reached(void *call, const char *stage, pid_t pid, CriuReq **ack, struct err *e)
{
	struct rpc_call *c = call;
	const struct rpc_applied *o = &c->opts;
	const struct rpc_notifier n = { .sock = c->w->config->sock, .on = o->opts->notify_scripts, .timeout_ms = c->w->config->ack_timeout_ms,
					.scripts = c->w->config->scripts, .images_dir = o->images_dir, .work_dir = o->work_dir, .root = o->pid };
	const struct action_scripts more = { .path = o->scripts.v, .n = o->scripts.n };

	if (rpc_notify(&n, stage, pid, ack, e) != 0)
		return -1;
	return action_scripts_run(&more, stage, o->images_dir, o->work_dir, pid > 0 ? pid : o->pid, e);
}
