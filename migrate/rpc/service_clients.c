/* SPDX-License-Identifier: Apache-2.0 */
/* The clients of the service: what is quick is answered here, whoever asks for anything else gets a process of its own. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/rpc/service_priv.h"
#include "proto/base/cleanup.h"
#include "proto/base/log.h"

void service_watch(struct service *s, int fd, uint32_t events, void *who, int op)
{
	struct epoll_event ev = { .events = events, .data.ptr = who };

	if (epoll_ctl(s->epoll, op, fd, &ev) < 0)
		log_event(LOG_ERROR, "rpc-epoll", "fd=%d error=\"%s\"", fd, strerror(errno));
}

static void listen_again(struct service *s, bool on)
{
	if (s->listening != on)
		service_watch(s, s->listener, on ? EPOLLIN : 0, &s->listener, EPOLL_CTL_MOD);
	s->listening = on;
}

/* Our side of the connection is closed; a worker may have its own. */
static void let_go(struct service *s, struct client *c)
{
	service_watch(s, c->fd, 0, NULL, EPOLL_CTL_DEL);
	close(c->fd);
	c->fd = -1;
}

void service_forget(struct service *s, struct client *c)
{
	if (c->fd >= 0)
		let_go(s, c);
	LIST_REMOVE(c, list);
	free(c);
	s->clients--;
	listen_again(s, true);
}

/* No user but root may take all the room. */
static bool has_its_share(const struct service *s, uid_t uid)
{
	const struct client *c;
	uint64_t held = 0;

	if (uid == 0)
		return false;
	LIST_FOREACH(c, &s->all, list)
		held += c->uid == uid;
	return held >= (s->config->max_clients + 1) / 2;
}

static uid_t uid_of(int fd)
{
	struct ucred cred = { .uid = (uid_t)-1 };
	socklen_t len = sizeof(cred);

	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
	return cred.uid;
}

void service_on_connection(struct service *s)
{
	cleanup_fd int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
	struct client *c;
	uid_t uid;

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE)
			listen_again(s, false); /* until somebody goes */
		return;
	}
	uid = uid_of(fd);
	if (has_its_share(s, uid)) {
		log_event(LOG_WARN, "rpc-client-refused", "uid=%u reason=\"has half of --max-clients\"", uid);
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return;
	c->fd = steal_fd(&fd);
	c->uid = uid;
	rpc_session_init(&c->session);
	LIST_INSERT_HEAD(&s->all, c, list);
	service_watch(s, c->fd, EPOLLIN, c, EPOLL_CTL_ADD);
	if (++s->clients >= s->config->max_clients)
		listen_again(s, false);
}

/* --- workers -------------------------------------------------------------------------------------------------------------------- */

static _Noreturn void worker(const struct service *s, int sock)
{
	struct rpc_worker_config w = { .sock = 3, .mode = RPC_SERVICE,
				       .ack_timeout_ms = s->config->ack_timeout_ms ? (int)s->config->ack_timeout_ms : -1,
				       .engine = s->engine };
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	log_set_role("rpc-worker");
	/* What is another client's, or the service's, does not live on in a process that this client has at its service. */
	if (sock != w.sock && dup3(sock, w.sock, O_CLOEXEC) < 0)
		_exit(RPC_EXIT_BROKEN);
	close_range((unsigned)w.sock + 1, ~0u, 0);
	_exit(rpc_worker_run(&w));
}

static void hand_over(struct service *s, struct client *c)
{
	c->worker = fork();
	if (c->worker == 0)
		worker(s, c->fd);
	if (c->worker < 0) {
		log_event(LOG_ERROR, "rpc-fork", "error=\"%s\"", strerror(errno));
		c->worker = 0;
		service_forget(s, c);
		return;
	}
	let_go(s, c);
}

void service_reap(struct service *s)
{
	struct client *c;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (WIFSIGNALED(status))
			log_event(LOG_ERROR, "rpc-worker-killed", "pid=%d signal=%d", (int)pid, WTERMSIG(status));
		LIST_FOREACH(c, &s->all, list) {
			if (c->worker == pid) {
				service_forget(s, c);
				break;
			}
		}
	}
}

/* --- requests ------------------------------------------------------------------------------------------------------------------- */

static void flush_answer(struct service *s, struct client *c)
{
	ssize_t n = send(c->fd, c->answer, c->unsent, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno == EAGAIN) {
		service_watch(s, c->fd, EPOLLOUT, c, EPOLL_CTL_MOD);
		return;
	}
	c->unsent = 0;
	if (n < 0 || c->session.state == RPC_CLOSED)
		service_forget(s, c);
}

static void answer(struct client *c, const CriuReq *req)
{
	struct rpc_call call;

	rpc_call_run(&call, NULL, req);
	c->unsent = rpc_answer_encode(req->type, &call.answer, c->answer);
	rpc_call_end(&call);
	rpc_session_answered(&c->session, req, call.answer.success);
}

static void consume(const struct client *c)
{
	if (recv(c->fd, NULL, 0, MSG_DONTWAIT) < 0)
		log_event(LOG_WARN, "rpc-packet", "error=\"%s\"", strerror(errno));
}

static void on_request(struct service *s, struct client *c, const CriuReq *req)
{
	switch (rpc_session_request(&c->session, req)) {
	case RPC_RUN:
		if (!rpc_handler_of(req->type)->quick || s->engine.engine == ENGINE_CRIU) {
			hand_over(s, c); /* with the packet still in the socket */
			return;
		}
		consume(c);
		answer(c, req);
		break;
	case RPC_SAY_EMPTY:
		consume(c);
		c->unsent = rpc_answer_encode_empty(c->answer);
		break;
	case RPC_HANG_UP:
		service_forget(s, c);
		return;
	}
	flush_answer(s, c);
}

static void on_packet(struct service *s, struct client *c)
{
	ssize_t n = recv(c->fd, s->packet, sizeof(s->packet), MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
	CriuReq *req;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > (ssize_t)sizeof(s->packet)) {
		hand_over(s, c);
		return;
	}
	req = n > 0 ? rpc_request_decode(s->packet, (size_t)n) : NULL;
	if (req)
		on_request(s, c, req);
	else
		service_forget(s, c);
	criu_req__free_unpacked(req, NULL);
}

void service_on_client(struct service *s, struct client *c)
{
	if (!c->unsent) {
		on_packet(s, c);
		return;
	}
	service_watch(s, c->fd, EPOLLIN, c, EPOLL_CTL_MOD);
	flush_answer(s, c);
}
