/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/pagesink/ps_sink.h"
#include "migrate/pagesink/ps_streams.h"
#include "migrate/rpc/operations.h"
#include "migrate/rpc/rpc_tls.h"
#include "pageserver/stock/server.h"
#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/base/sock.h"
#include "proto/base/tls_relay.h"

#define ANY_ADDRESS "0.0.0.0"
/* --- stages --------------------------------------------------------------------------------------------------------------------- */

static const struct { const char *name; bool told_only; } stages[] = {
	[DUMP_PRE_DUMP] = { "pre-dump", false },
	[DUMP_NETWORK_LOCK] = { "network-lock", false },
	[DUMP_QUERY_EXT_FILES] = { "query-ext-files", false },
	[DUMP_POST_DUMP] = { "post-dump", false },
	[DUMP_LAZY_READY] = { "status-ready", false },
	[DUMP_NETWORK_UNLOCK] = { "network-unlock", true },
};

/* What the client adds with its acknowledgement counts as if it had stood in the request. */
static int check_ack(const CriuReq *ack, struct err *e)
{
	return ack && ack->opts ? rpc_options_check(ack->opts, RPC_OP_DUMP, RPC_WORDS_FIELDS, e) : 0;
}

static int reached(void *arg, enum dump_moment when, struct err *e)
{
	const struct rpc_stages *s = arg;
	CriuReq *ack = NULL;
	int rc;

	rc = s->reached(s->arg, stages[when].name, 0, &ack, e);
	if (rc == 0)
		rc = check_ack(ack, e);
	criu_req__free_unpacked(ack, NULL);
	if (rc == 0 || !stages[when].told_only)
		return rc;
	log_event(LOG_WARN, "stage", "name=%s ignored=\"%s\"", stages[when].name, e->text);
	return 0;
}

/* --- pages that go elsewhere ---------------------------------------------------------------------------------------------------- */

struct elsewhere {
	int fd;       /* connected to a page server, or listening for a lazy-pages client; owned unless inherited */
	bool inherited;
	struct tls_link tls; /* with TLS: fd is its, and not ours beside it */
	struct tls_config tls_files;
	struct tls_gate *gate; /* for lazy-pages clients that speak TLS, or to the page server */
	const struct rpc_applied *asked;
	struct page_sink *sink;
};

/* Who was refused by TLS learns it only when something should have come back. */
static int explained(const struct elsewhere *x, struct err *e)
{
	tls_link_failed(&x->tls, e);
	return -1;
}

static int shake_hands(const struct rpc_applied *a, struct elsewhere *x, struct err *e)
{
	const struct tls_wish wish = { .role = TLS_CLIENT, .name = rpc_tls_name(a->opts, a->opts->ps->address), .timeout_ms = TLS_STOCK_HANDSHAKE_MS,
				       .kernel = true, .stock = true, .cut = true };
	const struct sock_tuning tuning = { .congestion = "auto" };
	int fd = x->fd, rc;

	x->tls_files = rpc_tls_config(a->opts);
	x->gate = tls_gate_start(&x->tls_files, e);
	if (!x->gate)
		return -1;
	x->fd = -1;
	sock_tune(fd, &tuning, e);
	rc = tls_gate_wrap(x->gate, fd, &wish, &x->tls, e);
	x->fd = x->tls.fd;
	return rc;
}

static void log_server(const struct elsewhere *x)
{
	uint32_t features;
	bool ours = ps_sink_is_ours(x->sink, &features);

	log_event(LOG_INFO, "page-server", "ours=%d header=%d tls=%s name=\"%s\"", ours, (int)ps_sink_layout(x->sink),
		  x->tls.fd < 0 ? "none" : x->tls.in_kernel ? "kernel" : "relay", x->tls.peer);
}

/* A connection that was cut comes again, to the same address. */
static int connect_again(void *arg, struct err *e)
{
	const struct sock_tuning tuning = { .congestion = "auto", .dead_after_ms = PS_STREAMS_SILENCE_MS };
	const struct elsewhere *x = arg;
	const CriuPageServerInfo *ps = x->asked->opts->ps;
	const struct tls_wish wish = { .role = TLS_CLIENT, .name = rpc_tls_name(x->asked->opts, ps->address), .timeout_ms = PS_STREAMS_SILENCE_MS, .kernel = true };
	struct tls_link l;
	int fd = ps_connect(ps->address, (uint16_t)ps->port, e);

	if (fd >= 0)
		sock_tune(fd, &tuning, e);
	if (fd < 0 || !x->gate)
		return fd;
	return tls_gate_wrap(x->gate, fd, &wish, &l, e) < 0 ? -1 : tls_link_release(&l);
}

static int make_sink(const struct rpc_applied *a, struct elsewhere *x, struct err *e)
{
	struct ps_sink_config c = { .inherited = x->inherited, .tls = a->opts->tls ? &x->tls : NULL, .choice = a->choice, .mode = COMPRESS_AUTO };

	x->asked = a;
	if (!x->inherited) {
		c.connect = connect_again;
		c.arg = x;
	}
	if (a->opts->tls && shake_hands(a, x, e) < 0)
		return explained(x, e);
	c.fd = x->fd;
	x->sink = ps_sink_open(&c, e);
	if (!x->sink)
		return explained(x, e);
	log_server(x);
	return 0;
}

static int connect_to_server(const struct rpc_applied *a, struct elsewhere *x, struct err *e)
{
	const CriuPageServerInfo *ps = a->opts->ps;

	x->inherited = a->ps_fd >= 0;
	x->fd = x->inherited ? a->ps_fd : ps_connect(ps->address, (uint16_t)ps->port, e);
	if (x->fd < 0)
		return err_wrap(e, "page server");
	if (make_sink(a, x, e) == 0)
		return 0;
	return x->inherited ? err_wrap(e, "page server") : err_wrap(e, "page server at %s port %d", ps->address, ps->port);
}

static int listen_for_client(const struct rpc_applied *a, struct elsewhere *x, struct err *e)
{
	const CriuPageServerInfo *ps = a->opts->ps;

	x->fd = page_server_listen(ps && ps->address && ps->address[0] ? ps->address : ANY_ADDRESS, ps ? (uint16_t)ps->port : 0, e);
	if (x->fd < 0)
		return err_wrap(e, "lazy pages");
	x->tls_files = rpc_tls_config(a->opts);
	if (x->tls_files.on && !(x->gate = tls_gate_start(&x->tls_files, e)))
		return err_wrap(e, "lazy pages");
	return 0;
}

static int open_elsewhere(const struct rpc_applied *a, struct elsewhere *x, struct err *e)
{
	*x = (struct elsewhere){ .fd = -1, .tls = TLS_LINK_NONE };
	if (a->op == RPC_OP_DUMP && a->opts->lazy_pages)
		return listen_for_client(a, x, e);
	return a->opts->ps ? connect_to_server(a, x, e) : 0;
}

static void close_elsewhere(struct elsewhere *x)
{
	if (x->sink)
		x->sink->ops->destroy(x->sink);
	tls_gate_stop(x->gate);
	if (x->tls.fd >= 0)
		tls_link_close(&x->tls);
	else if (x->fd >= 0 && !x->inherited)
		close(x->fd);
}

/* --- requests ------------------------------------------------------------------------------------------------------------------- */

static enum dump_final_state final_state(const CriuOpts *o)
{
	return o->leave_stopped ? DUMP_STOPPED : o->leave_running ? DUMP_RUN_ON : DUMP_KILL;
}

static void log_stats(const struct rpc_applied *a, const struct dump_stats *s)
{
	log_event(a->opts->display_stats ? LOG_WARN : LOG_INFO, rpc_op_name(a->op),
		  "pid=%d freezing_us=%llu frozen_us=%llu memdump_us=%llu memwrite_us=%llu scanned=%llu in_parent=%llu written=%llu lazy=%llu",
		  (int)a->pid, (unsigned long long)s->freezing_us, (unsigned long long)s->frozen_us, (unsigned long long)s->memdump_us,
		  (unsigned long long)s->memwrite_us, (unsigned long long)s->pages_scanned, (unsigned long long)s->pages_skipped_parent,
		  (unsigned long long)s->pages_written, (unsigned long long)s->pages_lazy);
}

static struct dump_request request_of(const struct rpc_applied *a, const struct elsewhere *x)
{
	const CriuOpts *o = a->opts;

	return (struct dump_request){
		.pid = a->pid,
		.images_dir = a->images_dir,
		.work_dir = a->work_dir,
		.parent = o->parent_img && o->parent_img[0] ? o->parent_img : NULL,
		.track_mem = o->track_mem,
		.auto_dedup = o->auto_dedup,
		.tcp_close = o->tcp_close,
		.cpuinfo = o->has_cpu_cap && o->cpu_cap,
		.final_state = final_state(o),
		.sink = x->sink,
		.freeze_cgroup = o->freeze_cgroup && o->freeze_cgroup[0] ? o->freeze_cgroup : NULL,
		.timeout_s = o->timeout,
		.lazy = a->op == RPC_OP_DUMP && o->lazy_pages,
		.lazy_listener = x->fd,
		.lazy_tls = x->gate,
		.lazy_tls_name = o->ps ? rpc_tls_name(o, o->ps->address) : NULL,
		.requester_socket = -1,
	};
}

int rpc_do_pre_dump(struct dumper *d, const struct rpc_applied *a, struct err *e)
{
	struct dump_stats stats = { 0 };
	struct dump_request q;
	struct elsewhere x;
	int rc;

	rc = open_elsewhere(a, &x, e);
	if (rc == 0) {
		q = request_of(a, &x);
		q.track_mem = true;
		rc = dumper_pre_dump(d, &q, &stats, e) == 0 ? 0 : explained(&x, e);
	}
	close_elsewhere(&x);
	if (rc == 0)
		log_stats(a, &stats);
	return rc;
}

int rpc_do_dump(struct dumper *d, const struct rpc_applied *a, int requester, const struct rpc_stages *s, struct err *e)
{
	struct rpc_stages told = *s;
	struct dump_stats stats = { 0 };
	struct dump_request q;
	struct elsewhere x;
	int rc;

	rc = open_elsewhere(a, &x, e);
	if (rc == 0) {
		q = request_of(a, &x);
		q.requester_socket = requester;
		q.hook = reached;
		q.hook_arg = &told;
		rc = dumper_dump(d, &q, &stats, e) == 0 ? 0 : explained(&x, e);
	}
	close_elsewhere(&x);
	if (rc == 0)
		log_stats(a, &stats);
	return rc;
}
