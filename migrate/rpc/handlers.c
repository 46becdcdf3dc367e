/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/rpc/handlers.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/criu/check.h"
#include "migrate/criu/cpuinfo.h"
#include "migrate/criu/features.h"
#include "migrate/rpc/request.h"
#include "migrate/rpc/rpc_session.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"

enum { LAZY_PAGES = 48 }; /* the field's number */

static int version(struct rpc_worker *w, const CriuReq *req, const struct rpc_applied *opts, struct rpc_answer *a, struct err *e)
{
	(void)w, (void)req, (void)opts, (void)a, (void)e;
	return 0;
}

/* Only what is asked is looked for. */
static int feature_check(struct rpc_worker *w, const CriuReq *req, const struct rpc_applied *opts, struct rpc_answer *a, struct err *e)
{
	const CriuFeatures *f = req->features;

	(void)w, (void)opts;
	if (!f)
		return err_set(e, ERR_USAGE, 0, "FEATURE_CHECK without features");
	a->mem_track = f->mem_track && feature_mem_track();
	a->lazy_pages = f->lazy_pages && rpc_option_by_number(LAZY_PAGES)->native == RPC_WORKS && feature_lazy_pages();
	a->pidfd_store = f->pidfd_store && feature_pidfd_store();
	return 0;
}

static int check(struct rpc_worker *w, const CriuReq *req, const struct rpc_applied *opts, struct rpc_answer *a, struct err *e)
{
	(void)w, (void)req, (void)opts, (void)a;
	return criu_check(e);
}

static int dump_cpuinfo(struct rpc_worker *w, const CriuReq *req, const struct rpc_applied *opts, struct rpc_answer *a, struct err *e)
{
	(void)w, (void)req, (void)a;
	return cpuinfo_dump(opts->images_dir, e);
}

static int check_cpuinfo(struct rpc_worker *w, const CriuReq *req, const struct rpc_applied *opts, struct rpc_answer *a, struct err *e)
{
	(void)w, (void)req, (void)a;
	return cpuinfo_check(opts->images_dir, opts->opts->has_cpu_cap ? opts->opts->cpu_cap : (unsigned)CPU_CAP_DEFAULT, e);
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

static int wait_pid(struct rpc_worker *w, const CriuReq *req, const struct rpc_applied *opts, struct rpc_answer *a, struct err *e)
{
	(void)opts;
	if (!req->has_pid || req->pid == 0 || req->pid > INT_MAX)
		return err_set(e, ERR_USAGE, 0, "WAIT_PID names no process");
	return wait_for_child(w, (pid_t)req->pid, &a->status, e);
}

static const struct rpc_handler handlers[] = {
	[CRIU_REQ_TYPE__CHECK] = { .run = check },
	[CRIU_REQ_TYPE__PAGE_SERVER] = { .run = rpc_page_server, .answered = rpc_page_server_answered, .needs_opts = true },
	[CRIU_REQ_TYPE__CPUINFO_DUMP] = { .run = dump_cpuinfo, .needs_opts = true },
	[CRIU_REQ_TYPE__CPUINFO_CHECK] = { .run = check_cpuinfo, .needs_opts = true },
	[CRIU_REQ_TYPE__FEATURE_CHECK] = { .run = feature_check, .quick = true },
	[CRIU_REQ_TYPE__VERSION] = { .run = version, .quick = true },
	[CRIU_REQ_TYPE__WAIT_PID] = { .run = wait_pid },
	[CRIU_REQ_TYPE__PAGE_SERVER_CHLD] = { .run = rpc_page_server_child, .needs_opts = true },
	[CRIU_REQ_TYPE__SINGLE_PRE_DUMP] = { .run = NULL },
};

const struct rpc_handler *rpc_handler_of(CriuReqType type)
{
	static const struct rpc_handler none = { .run = NULL };

	return (unsigned)type < sizeof(handlers) / sizeof(handlers[0]) ? &handlers[type] : &none;
}

static int run_with(struct rpc_worker *w, const struct rpc_handler *h, const CriuReq *req, const CriuOpts *all, struct rpc_answer *a, struct err *e)
{
	struct rpc_applied opts;
	int rc = rpc_options_apply(all, rpc_request_op(req), &w->peer, &opts, e);

	if (rc == 0) {
		w->notifier = (struct rpc_notifier){ .sock = w->config->sock, .on = opts.opts->notify_scripts,
						     .timeout_ms = w->config->ack_timeout_ms, .scripts = w->config->scripts,
						     .images_dir = opts.images_dir, .work_dir = opts.work_dir,
						     .root = opts.pid };
		rc = h->run(w, req, &opts, a, e);
	}
	if (rc != 0)
		log_event(LOG_ERROR, "rpc-failed", "request=%s error=\"%s\"", rpc_type_name((unsigned)req->type), e->text);
	rpc_applied_finish(&opts); /* after the last word to its log */
	return rc;
}

static int run_applied(struct rpc_worker *w, const struct rpc_handler *h, const CriuReq *req, struct rpc_answer *a, struct err *e)
{
	static const CriuOpts nothing = CRIU_OPTS__INIT;
	CriuOpts *all = rpc_options_merge(w->config->base ? w->config->base : &nothing, req->opts);
	int rc;

	if (!all)
		return err_set(e, ERR_USAGE, 0, "options that can't be taken apart");
	rc = run_with(w, h, req, all, a, e);
	criu_opts__free_unpacked(all, NULL);
	return rc;
}

static int run(struct rpc_worker *w, const CriuReq *req, struct rpc_answer *a, struct err *e)
{
	const struct rpc_handler *h = rpc_handler_of(req->type);

	if (!h->run)
		return err_set(e, ERR_UNSUPPORTED, 0, "%s can't be done by this build", rpc_type_name((unsigned)req->type));
	if (h->needs_opts && !req->opts)
		return err_set(e, ERR_USAGE, 0, "%s without opts", rpc_type_name((unsigned)req->type));
	return rpc_request_op(req) && req->opts ? run_applied(w, h, req, a, e) : h->run(w, req, NULL, a, e);
}

void rpc_handle(struct rpc_worker *w, const CriuReq *req, struct rpc_answer *a)
{
	struct err e = { 0 };

	if (run(w, req, a, &e) == 0)
		a->success = true;
	else
		rpc_answer_failed(a, &e);
}
