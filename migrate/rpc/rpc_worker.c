/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/rpc/rpc_worker.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "migrate/rpc/handlers.h"
#include "migrate/rpc/packet.h"
#include "migrate/rpc/request.h"
#include "migrate/rpc/rpc_session.h"
#include "proto/base/cleanup.h"
#include "proto/base/log.h"

/* NULL: the client is gone, or what it sent is none. */
static CriuReq *next_request(int sock)
{
	cleanup_free uint8_t *packet = NULL;
	ssize_t n = rpc_recv(sock, -1, &packet);

	if (n < 0)
		log_event(LOG_WARN, "rpc-packet", "error=%zd", n);
	return n > 0 ? rpc_request_decode(packet, (size_t)n) : NULL;
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

static void step(struct rpc_worker *w, struct rpc_session *s)
{
	CriuReq *req = next_request(w->config->sock);

	if (!req) {
		rpc_session_lost(s);
		return;
	}
	switch (rpc_session_request(s, req)) {
	case RPC_RUN:
		serve(w, s, req);
		break;
	case RPC_SAY_EMPTY:
		rpc_answer_send_empty(w->config->sock);
		break;
	case RPC_HANG_UP:
		break;
	}
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
		return err_sys(e, "descriptor %d", c->sock);
	if (type != SOCK_SEQPACKET)
		return err_set(e, ERR_USAGE, 0, "descriptor %d is no SOCK_SEQPACKET socket", c->sock);
	fcntl(c->sock, F_SETFD, FD_CLOEXEC);
	log_set_role("swrk");
	return rpc_worker_run(c);
}
