/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/rpc/service.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/rpc/handlers.h"
#include "migrate/rpc/request.h"
#include "migrate/rpc/rpc_listen.h"
#include "migrate/rpc/rpc_session.h"
#include "proto/base/cleanup.h"
#include "proto/base/daemon.h"
#include "proto/base/die_with.h"
#include "proto/base/notify.h"

enum {
	QUICK_MAX = 64 * 1024, /* requests that are looked at here; longer ones are a worker's business */
	EVENTS = 64,
	SPARE_FDS = 32,
};

/* A connection: ours to answer (fd), or handed over (worker). */
struct client {
	LIST_ENTRY(client) list;
	int fd;       /* -1: handed over */
	pid_t worker; /* 0: none */
	uid_t uid;
	struct rpc_session session;
	size_t unsent; /* bytes of answer that did not fit its socket; nothing more is read until they have gone */
	uint8_t answer[RPC_ANSWER_MAX];
};

struct service {
	const struct service_config *config;
	struct engine_choice engine;
	int listener, signals, epoll;
	dev_t socket_dev; /* of the socket's file, to remove no other */
	ino_t socket_ino;
	bool own_socket, pidfile_made, listening, stop;
	unsigned clients;
	LIST_HEAD(client_list, client) all;
	uint8_t packet[QUICK_MAX];
};

/* --- clients -------------------------------------------------------------------------------------------------------------------- */

static void watch(struct service *s, int fd, uint32_t events, void *who, int op)
{
	struct epoll_event ev = { .events = events, .data.ptr = who };

	if (epoll_ctl(s->epoll, op, fd, &ev) < 0)
		log_event(LOG_ERROR, "rpc-epoll", "fd=%d error=\"%s\"", fd, strerror(errno));
}

static void listen_again(struct service *s, bool on)
{
	if (s->listening != on)
		watch(s, s->listener, on ? EPOLLIN : 0, &s->listener, EPOLL_CTL_MOD);
	s->listening = on;
}

/* Our side of the connection is closed; a worker may have its own. */
static void let_go(struct service *s, struct client *c)
{
	watch(s, c->fd, 0, NULL, EPOLL_CTL_DEL);
	close(c->fd);
	c->fd = -1;
}

static void forget(struct service *s, struct client *c)
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

static void on_connection(struct service *s)
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
	watch(s, c->fd, EPOLLIN, c, EPOLL_CTL_ADD);
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
		forget(s, c);
		return;
	}
	let_go(s, c);
}

static void reap(struct service *s)
{
	struct client *c;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (WIFSIGNALED(status))
			log_event(LOG_ERROR, "rpc-worker-killed", "pid=%d signal=%d", (int)pid, WTERMSIG(status));
		LIST_FOREACH(c, &s->all, list) {
			if (c->worker == pid) {
				forget(s, c);
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
		watch(s, c->fd, EPOLLOUT, c, EPOLL_CTL_MOD);
		return;
	}
	c->unsent = 0;
	if (n < 0 || c->session.state == RPC_CLOSED)
		forget(s, c);
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
		forget(s, c);
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
		forget(s, c);
	criu_req__free_unpacked(req, NULL);
}

static void on_client(struct service *s, struct client *c)
{
	if (!c->unsent) {
		on_packet(s, c);
		return;
	}
	watch(s, c->fd, EPOLLIN, c, EPOLL_CTL_MOD);
	flush_answer(s, c);
}

/* --- the loop ------------------------------------------------------------------------------------------------------------------- */

static void on_signal(struct service *s)
{
	struct signalfd_siginfo si;

	while (read(s->signals, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (si.ssi_signo == SIGCHLD)
			reap(s);
		else
			s->stop = true;
	}
}

/* By the process that serves: what epoll waits for is the signals of whoever adds them. Before it is said that it is ready: whoever hears that may ask
 * it to end at once. */
static int hear_signals(struct service *s, struct err *e)
{
	s->signals = daemon_signals(e);
	if (s->signals < 0)
		return -1;
	watch(s, s->signals, EPOLLIN, &s->signals, EPOLL_CTL_ADD);
	return 0;
}

/* Events of one batch belong to different descriptors, and a client is freed by its own event alone or, once handed over, by its worker's
 * end, when it has none: no event of a batch outlives its client. */
static int service_serve(struct service *s, struct err *e)
{
	struct epoll_event ev[EVENTS];

	while (!s->stop) {
		int n = epoll_wait(s->epoll, ev, EVENTS, -1);

		if (n < 0 && errno != EINTR)
			return err_sys(e, "epoll");
		for (int i = 0; i < n; i++) {
			if (ev[i].data.ptr == &s->listener)
				on_connection(s);
			else if (ev[i].data.ptr == &s->signals)
				on_signal(s);
			else
				on_client(s, ev[i].data.ptr);
		}
	}
	return 0;
}

/* --- start and end -------------------------------------------------------------------------------------------------------------- */

static int open_listener(struct service *s, struct err *e)
{
	const struct service_config *c = s->config;
	struct stat st;
	mode_t mode;

	s->listener = daemon_passed_socket(AF_UNIX, SOCK_SEQPACKET, e);
	if (s->listener != 0)
		return s->listener < 0 ? -1 : 0;
	if (rpc_mode_parse(c->mode, &mode, e) != 0)
		return err_wrap(e, "--rpc-mode");
	s->listener = rpc_listen(c->address, mode, c->group, e);
	if (s->listener < 0 || stat(c->address, &st) < 0)
		return s->listener < 0 ? -1 : err_sys(e, "%s", c->address);
	s->own_socket = true;
	s->socket_dev = st.st_dev;
	s->socket_ino = st.st_ino;
	return 0;
}

/* As many descriptors as clients may come; what the system does not allow shows when they come. */
static void raise_fd_limit(uint64_t clients)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur >= clients + SPARE_FDS)
		return;
	r.rlim_cur = clients + SPARE_FDS < r.rlim_max ? clients + SPARE_FDS : r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
}

static void remove_socket(const struct service *s)
{
	struct stat st;

	if (s->own_socket && lstat(s->config->address, &st) == 0 && st.st_dev == s->socket_dev && st.st_ino == s->socket_ino)
		unlink(s->config->address);
}

static void service_close(struct service *s)
{
	if (!s)
		return;
	while (!LIST_EMPTY(&s->all))
		forget(s, LIST_FIRST(&s->all));
	remove_socket(s);
	if (s->pidfile_made)
		unlink(s->config->pidfile);
	if (s->listener >= 0)
		close(s->listener);
	if (s->signals >= 0)
		close(s->signals);
	if (s->epoll >= 0)
		close(s->epoll);
	free(s);
}

static struct service *service_open(const struct service_config *c, struct err *e)
{
	struct service *s = calloc(1, sizeof(*s));

	if (!s) {
		err_set(e, ERR_SYSTEM, ENOMEM, "service");
		return NULL;
	}
	s->config = c;
	s->listener = s->signals = s->epoll = -1;
	s->listening = true;
	LIST_INIT(&s->all);
	if (engine_choose(c->engine, c->criu, &s->engine, e) != 0)
		goto failed;
	raise_fd_limit(c->max_clients);
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (s->epoll < 0) {
		err_sys(e, "epoll");
		goto failed;
	}
	if (open_listener(s, e) != 0)
		goto failed;
	watch(s, s->listener, EPOLLIN, &s->listener, EPOLL_CTL_ADD);
	return s;
failed:
	service_close(s);
	return NULL;
}

static int redirect_log(const char *path, struct err *e)
{
	cleanup_fd int fd = -1;

	if (!path)
		return 0;
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 || dup2(fd, STDERR_FILENO) < 0 ? err_sys(e, "--log-file %s", path) : 0;
}

static int go_to_work(struct service *s, int pidfile, struct err *e)
{
	const struct service_config *c = s->config;

	if ((c->daemon && daemon_detach(e) != 0) || hear_signals(s, e) != 0)
		return -1;
	if (pidfile >= 0 && pidfile_write(pidfile, e) != 0)
		return err_wrap(e, "%s", c->pidfile);
	if (c->status_fd && daemon_say_ready(atoi(c->status_fd), e) != 0)
		return -1;
	printf("listening on %s\n", s->own_socket ? c->address : "the socket passed");
	fflush(stdout);
	log_event(LOG_INFO, "rpc-listening", "address=%s max-clients=%llu", s->own_socket ? c->address : "passed",
		  (unsigned long long)c->max_clients);
	notify_manager("READY=1");
	return service_serve(s, e);
}

int service_run(const struct service_config *c, struct err *e)
{
	cleanup_fd int pidfile = -1;
	struct service *s;
	int rc;

	log_set_role("service");
	log_set_level(c->log_level);
	if (redirect_log(c->log_file, e) != 0)
		return -1;
	s = service_open(c, e);
	if (!s)
		return -1;
	if (c->pidfile && (pidfile = pidfile_create(c->pidfile, e)) < 0) {
		service_close(s);
		return -1;
	}
	s->pidfile_made = c->pidfile != NULL;
	rc = go_to_work(s, pidfile, e);
	notify_manager("STOPPING=1");
	service_close(s);
	return rc;
}

static _Noreturn void serve_in_child(struct service *s, pid_t parent)
{
	struct err e = { 0 };

	log_set_role("service");
	if (die_with(parent, SIGTERM) && (hear_signals(s, &e) != 0 || service_serve(s, &e) != 0))
		log_event(LOG_ERROR, "rpc-service", "error=\"%s\"", e.text);
	service_close(s);
	_exit(0);
}

pid_t service_start(const struct service_config *c, struct err *e)
{
	struct service *s = service_open(c, e);
	pid_t parent = getpid(), pid = s ? fork() : -1;

	if (!s)
		return -1;
	if (pid == 0)
		serve_in_child(s, parent);
	if (pid < 0)
		err_sys(e, "fork");
	s->own_socket = s->own_socket && pid < 0; /* the child's from here on */
	service_close(s);
	return pid;
}
