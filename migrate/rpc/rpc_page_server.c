/* SPDX-License-Identifier: Apache-2.0 */
/* PAGE_SERVER and PAGE_SERVER_CHLD: a process that receives the pages of one dump. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/rpc/handlers.h"
#include "migrate/rpc/rpc_tls.h"
#include "pageserver/stock/lazy_images.h"
#include "pageserver/stock/server.h"
#include "pageserver/stock/stop.h"
#include "proto/base/cleanup.h"
#include "proto/base/daemon.h"
#include "proto/base/log.h"
#include "proto/base/sock.h"
#include "proto/base/tls_relay.h"

#define ANY_ADDRESS "0.0.0.0"
/* A sender that says nothing for so long is gone; criu's own waits for ever. */
enum { IDLE_MS = 3600 * 1000, FIRST_OWN_FD = 3 };

static int open_listener(const CriuPageServerInfo *ps, struct err *e)
{
	const char *address = ps && ps->address && ps->address[0] ? ps->address : ANY_ADDRESS;
	unsigned char any[sizeof(struct in6_addr)];

	if (inet_pton(AF_INET, address, any) != 1 && inet_pton(AF_INET6, address, any) != 1)
		return err_set(e, ERR_USAGE, 0, "ps.address \"%.80s\" must be an IPv4 or IPv6 address", address);
	return page_server_listen(address, (uint16_t)(ps && ps->has_port ? ps->port : 0), e);
}

/* Whoever waits for the end of what the worker holds (its socket, a pipe on its output) must not wait for the page server. */
static void keep_only(int a, int b)
{
	int low = a < b ? a : b, high = a < b ? b : a;
	cleanup_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
	}
	if (low > FIRST_OWN_FD)
		close_range(FIRST_OWN_FD, (unsigned)low - 1, 0);
	if (high > low + 1)
		close_range((unsigned)low + 1, (unsigned)high - 1, 0);
	close_range((unsigned)high + 1, ~0u, 0);
	null = -1;
}

/* Who sends, or with lazy_pages: who is sent to. */
static int serve_pages(const struct rpc_applied *opts, int fd, bool inherited, struct tls_gate *tls, struct err *e)
{
	const char *name = tls ? rpc_tls_name(opts->opts, opts->opts->ps ? opts->opts->ps->address : NULL) : NULL;
	const struct page_server_config c = { .images_dir = opts->images_dir, .parent = opts->opts->parent_img, .auto_dedup = opts->opts->auto_dedup,
					      .limits = { .idle_ms = IDLE_MS }, .tls = tls, .tls_name = name };
	const struct lazy_rules rules = { .inherited = inherited, .tls = tls, .tls_name = name, .idle_ms = IDLE_MS };
	struct page_server_report report = { 0 };
	struct lazy_report served;
	int rc;

	if (opts->opts->lazy_pages)
		return lazy_images_serve(fd, opts->images_dir, &rules, &served, e);
	rc = inherited ? page_server_serve_inherited(fd, &c, PAGE_SERVER_AT_ONCE_MS, &report, e) : page_server_serve_one(fd, false, &c, &report, e);
	if (rc == 0)
		log_event(LOG_INFO, "page-server", "maps=%llu pages=%llu", (unsigned long long)report.maps, (unsigned long long)report.pages);
	return rc;
}

/* Whoever ends it by a signal finds nothing left of what was under way. */
static int serve_who_comes(const struct rpc_applied *opts, int listener, struct tls_gate *tls, struct err *e)
{
	int signals = daemon_signals(e), fd, rc;
	struct ps_stop stop;

	if (signals < 0 || ps_stop_await(signals, listener, 0, e) < 0)
		return -1;
	fd = page_server_accept(listener, e);
	close(listener);
	if (fd < 0 || ps_stop_begin(&stop, signals, fd, PAGE_SERVER_AT_ONCE_MS, e) < 0)
		return -1;
	rc = serve_pages(opts, fd, false, tls, e);
	if (rc != 0)
		ps_stop_explain(&stop, e);
	ps_stop_end(&stop);
	return rc;
}

static _Noreturn void serve(const struct rpc_applied *opts, int listener)
{
	const struct tls_config tls = rpc_tls_config(opts->opts);
	struct tls_gate *gate = NULL;
	struct err e = { 0 };
	int rc = 0;

	setsid();
	log_set_role("page-server");
	keep_only(opts->images_dir, listener >= 0 ? listener : opts->ps_fd);
	if (tls.on && !(gate = tls_gate_start(&tls, &e)))
		rc = -1;
	if (rc == 0)
		rc = listener < 0 ? serve_pages(opts, opts->ps_fd, true, gate, &e) : serve_who_comes(opts, listener, gate, &e);
	if (rc != 0)
		log_event(LOG_ERROR, "page-server", "error=\"%s\"", e.text);
	tls_gate_stop(gate);
	_exit(rc != 0);
}

static int start(struct rpc_call *c, struct err *e)
{
	const struct rpc_applied *opts = &c->opts;
	const struct tls_config tls = rpc_tls_config(opts->opts);
	cleanup_fd int listener = -1;

	if (tls.on && tls_check_files(&tls, e) < 0)
		return -1;
	if (opts->opts->lazy_pages && lazy_images_check(opts->images_dir, e) < 0)
		return -1;
	if (opts->ps_fd < 0) {
		listener = open_listener(opts->opts->ps, e);
		if (listener < 0)
			return -1;
		c->answer.port = sock_port(listener);
	}
	c->answer.pid = fork();
	if (c->answer.pid == 0)
		serve(opts, listener);
	return c->answer.pid < 0 ? err_sys(e, "fork") : 0;
}

static void end(pid_t pid)
{
	kill(pid, SIGTERM); /* a child that was not waited for: the PID is its own */
	waitpid(pid, NULL, 0);
}

int rpc_page_server(struct rpc_call *c, struct err *e)
{
	return start(c, e);
}

void rpc_page_server_answered(struct rpc_call *c)
{
	struct err e;

	if (rpc_call_reached(c, "status-ready", 0, NULL, &e) == 0)
		return;
	log_event(LOG_WARN, "page-server-ended", "reason=\"%s\"", e.text);
	end(c->answer.pid);
}

int rpc_page_server_child(struct rpc_call *c, struct err *e)
{
	if (start(c, e) != 0)
		return -1;
	if (rpc_call_reached(c, "status-ready", 0, NULL, e) == 0)
		return 0;
	end(c->answer.pid);
	return -1;
}
