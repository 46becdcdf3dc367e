/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs that answer on a socket, with criu's options for what dray's own verbs of these names do. */
#include <limits.h>
#include <stdio.h>

#include "migrate/cli/opt.h"
#include "migrate/criu/criu_call.h"
#include "migrate/rpc/apply.h"
#include "migrate/rpc/rpc_tls.h"
#include "migrate/rpc/rpc_worker.h"
#include "migrate/rpc/service.h"
#include "pageserver/stock/lazy_images.h"
#include "pageserver/stock/page_server.h"
#include "pageserver/stock/server.h"
#include "proto/base/cleanup.h"

#define ANY_ADDRESS "0.0.0.0"
enum { MAX_CLIENTS = 4096, ACK_TIMEOUT_MS = 600 * 1000 };

/* --- page-server ---------------------------------------------------------------------------------------------------------------- */

static int serve_lazy_inherited(const struct criu_call *c, struct err *e)
{
	const struct lazy_rules rules = { .inherited = true };
	struct lazy_report report;

	if (lazy_images_check(c->images, e) < 0)
		return -1;
	return lazy_images_serve(c->command.ps_socket, c->images, &rules, &report, e);
}

static int serve_inherited(const struct criu_call *c, struct err *e)
{
	const CriuOpts *o = c->command.opts;
	const struct page_server_config config = { .images_dir = c->images, .parent = o->parent_img, .auto_dedup = o->auto_dedup };

	if (o->tls)
		return err_set(e, ERR_USAGE, 0, "--tls and --ps-socket exclude each other: give --address and --port");
	if (o->lazy_pages)
		return serve_lazy_inherited(c, e);
	return page_server_serve_inherited(c->command.ps_socket, &config, PAGE_SERVER_AT_ONCE_MS, NULL, e);
}

/* One session and the end, on all addresses, as criu's own: who has its name is trusted with that. A signal ends it at once. */
static int serve_one(const struct criu_call *c, struct err *e)
{
	const CriuOpts *o = c->command.opts;
	char images[40];
	struct page_server_options p = {
		.images_dir = images, .lazy_pages = o->lazy_pages, .address = c->command.address ? c->command.address : ANY_ADDRESS, .insecure = true, .once = true,
		.port = c->command.port >= 0 ? (uint64_t)c->command.port : 0, .prev_images_dir = o->parent_img, .auto_dedup = o->auto_dedup,
		.daemonize = c->command.detach, .pidfile = c->command.pidfile, .log_level = rpc_log_level(o->log_level), .drain_timeout_ms = PAGE_SERVER_AT_ONCE_MS,
		.status_fd = c->command.status_fd > 0 ? (uint64_t)c->command.status_fd : 0,
		.tls = rpc_tls_config(o), .tls_name = rpc_tls_name(o, c->command.address),
	};

	snprintf(images, sizeof(images), "/proc/self/fd/%d", c->images);
	return page_server_run(&p, e);
}

int criu_run_page_server(struct criu_call *c, struct err *e)
{
	if (rpc_options_check(c->command.opts, RPC_OP_PAGE_SERVER, RPC_WORDS_CLI, e) != 0)
		return -1;
	if (c->command.port > UINT16_MAX)
		return err_set(e, ERR_USAGE, 0, "--port: %d is none", c->command.port);
	return c->command.ps_socket >= 0 ? serve_inherited(c, e) : serve_one(c, e);
}

/* --- service -------------------------------------------------------------------------------------------------------------------- */

int criu_run_service(struct criu_call *c, struct err *e)
{
	char status_fd[16];
	struct service_config s = {
		.address = c->command.address ? c->command.address : RPC_DEFAULT_ADDRESS, .mode = "0600", .pidfile = c->command.pidfile,
		.status_fd = c->command.status_fd >= 0 ? status_fd : NULL, .max_clients = MAX_CLIENTS, .ack_timeout_ms = ACK_TIMEOUT_MS,
		.daemon = c->command.detach, .log_level = rpc_log_level(c->command.opts->log_level),
	};

	snprintf(status_fd, sizeof(status_fd), "%d", c->command.status_fd);
	return service_run(&s, e);
}

/* --- swrk ----------------------------------------------------------------------------------------------------------------------- */

int criu_run_swrk(struct criu_call *c, struct err *e)
{
	struct rpc_worker_config w = { .mode = RPC_SWRK, .base = c->command.opts, .ack_timeout_ms = ACK_TIMEOUT_MS,
				       .scripts = { c->command.scripts.v, c->command.scripts.n } };
	cleanup_free char **argv = criu_call_stock_argv(c);
	uint64_t fd;

	w.criu_argv = argv;
	if (engine_choose(c->command.engine, c->command.criu, &w.engine, e) != 0 ||
	    ps_choice_parse(c->command.ps_protocol, c->command.ps_layout, c->command.streams, &w.choice, e) < 0)
		return -1;
	if (opt_parse_number(c->command.words.v[1], OPT_NUMBER, &fd, e) != 0)
		return -1;
	w.sock = fd <= INT_MAX ? (int)fd : -1;
	return rpc_swrk_run(&w, e);
}
