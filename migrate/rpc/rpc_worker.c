/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/rpc/rpc_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "migrate/rpc/engine.h"
#include "migrate/rpc/handlers.h"
#include "migrate/rpc/packet.h"
#include "migrate/rpc/request.h"
#include "migrate/rpc/rpc_session.h"
#include "proto/base/cleanup.h"
#include "proto/base/log.h"

/* It stays in the socket. NULL: the client is gone, or what it sent is none. */
static CriuReq *look_at_request(int sock)
{
	cleanup_free uint8_t *packet = NULL;
	ssize_t n = rpc_peek(sock, -1, &packet);

	if (n < 0)
		log_event(LOG_WARN, "rpc-packet", "error=%zd", n);
	return n > 0 ? rpc_request_decode(packet, (size_t)n) : NULL;
}

/* --- engines -------------------------------------------------------------------------------------------------------------------- */

static int become_criu(const struct rpc_worker_config *c, const char *path, struct err *e)
{
	char fd[16], criu[] = "criu", verb[] = "swrk", *argv[] = { criu, verb, fd, NULL };

	snprintf(fd, sizeof(fd), "%d", c->sock);
	return stock_criu_become(path, c->criu_argv ? c->criu_argv : argv, c->sock, e);
}

/* The first request of a row decides for all: rounds go on where they began. Does not return when criu takes over. */
static int choose_engine(const struct rpc_worker *w, const struct rpc_session *s, const CriuReq *req, struct err *e)
{
	CriuOpts *all;
	char path[PATH_MAX];
	int rc;

	if (w->config->engine.engine == ENGINE_NATIVE || s->state != RPC_IDLE)
		return 0;
	all = req->opts ? rpc_options_merge(w->config->base, req->opts) : NULL;
	rc = engine_is_criu(&w->config->engine, all, rpc_request_op(req), &w->peer, path, e);
	if (rc > 0 && all && rpc_options_check_mode(all, rpc_request_op(req), w->config->mode, e) != 0)
		rc = -1; /* to criu we are swrk */
	criu_opts__free_unpacked(all, NULL);
	if (rc <= 0)
		return rc;
	log_event(LOG_WARN, "engine", "name=criu path=%s request=%s why=\"%s\"", path, rpc_type_name((unsigned)req->type), e->text);
	return become_criu(w->config, path, e);
}

static void serve(struct rpc_worker *w, struct rpc_session *s, const CriuReq *req)
{
	struct rpc_call c;

	rpc_call_run(&c, w, req);
	/* Who is gone meanwhile is found out by the next receive: what was done is done. */
	if (!c.answer.unheard)
		rpc_answer_send(w->config->sock, req->type, &c.answer);
	rpc_call_end(&c);
	rpc_session_answered(s, req, c.answer.success);
}

static void refuse(const struct rpc_worker *w, struct rpc_session *s, const CriuReq *req, const struct err *e)
{
	struct rpc_answer a = { .pid = -1 };

	log_event(LOG_ERROR, "engine", "error=\"%s\"", e->text);
	rpc_answer_failed(&a, e);
	rpc_answer_send(w->config->sock, req->type, &a);
	rpc_session_answered(s, req, false);
}

static void handle(struct rpc_worker *w, struct rpc_session *s, const CriuReq *req)
{
	enum rpc_reaction reaction = rpc_session_request(s, req);
	struct err e = { 0 };
	int rc = reaction == RPC_RUN ? choose_engine(w, s, req, &e) : 0;

	rpc_drop(w->config->sock);
	if (rc < 0)
		refuse(w, s, req, &e);
	else if (reaction == RPC_RUN)
		serve(w, s, req);
	else if (reaction == RPC_SAY_EMPTY)
		rpc_answer_send_empty(w->config->sock);
}

static void step(struct rpc_worker *w, struct rpc_session *s)
{
	CriuReq *req = look_at_request(w->config->sock);

	if (req)
		handle(w, s, req);
	else
		rpc_session_lost(s);
	criu_req__free_unpacked(req, NULL);
}

int rpc_worker_run(const struct rpc_worker_config *c)
{
	struct rpc_worker w = { .config = c };
	struct rpc_session s;
	struct err e = { 0 };

	rpc_session_init(&s);
	if (rpc_peer_open(c->sock, c->mode, &w.peer, &e) != 0 || rpc_peer_become(&w.peer, c->sock, &e) != 0) {
		log_event(LOG_ERROR, "rpc-peer", "error=\"%s\"", e.text);
		rpc_session_lost(&s);
	}
	while (s.state != RPC_CLOSED)
		step(&w, &s);
	rpc_peer_close(&w.peer);
	return s.exit_status;
}

int rpc_swrk_run(const struct rpc_worker_config *c, struct err *e)
{
	socklen_t len = sizeof(int);
	int type = 0;

	if (getsockopt(c->sock, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return err_set(e, ERR_USAGE, errno, "descriptor %d", c->sock);
	if (type != SOCK_SEQPACKET)
		return err_set(e, ERR_USAGE, 0, "descriptor %d is no SOCK_SEQPACKET socket", c->sock);
	fcntl(c->sock, F_SETFD, FD_CLOEXEC);
	log_set_role("swrk");
	return rpc_worker_run(c);
}
