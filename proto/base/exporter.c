/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/exporter.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/http_request.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/base/sandbox.h"
#include "proto/base/sock.h"
#include "proto/base/unix_sock.h"

enum {
	CLIENTS_MAX = 16,
	CLIENT_MS = 5000, /* for everything, from its connection on */
	REST_MS = 100,    /* without new clients after one that could not be taken */
	AGAIN_MS = 1000,  /* between the starts of two exporters */
	LISTENER = 3, LINE = 4,
};
static const char unix_prefix[] = "unix:";

enum stage { FREE, IN_REQUEST, IN_ANSWER, ENDING };
struct client {
	enum stage stage;
	int fd;
	uint64_t deadline_us;
	size_t len; /* of the request so far */
	char request[HTTP_HEAD_MAX];
	char *answer; /* owned */
	size_t answer_len, sent;
};

struct service {
	struct metrics *metrics;
	bool resting;
	struct client client[CLIENTS_MAX];
};

/* --- a client ------------------------------------------------------------------------------------------------------------------- */

static void drop(struct client *c)
{
	close(c->fd);
	free(c->answer);
	c->answer = NULL;
	c->stage = FREE;
}

static bool print_body(struct service *s, const char *path, FILE *out)
{
	if (strcmp(path, "/metrics") == 0)
		metrics_print(s->metrics, out);
	else if (strcmp(path, "/status") == 0)
		metrics_print_status(s->metrics, out);
	else
		return false;
	return true;
}

/* The body is made first, in memory: its length stands before it. false: no memory. */
static bool make_answer(struct service *s, struct client *c, int status, const struct http_request *q)
{
	cleanup_free char *body = NULL;
	size_t body_len = 0;
	FILE *out = open_memstream(&body, &body_len);

	if (!out)
		return false;
	if (status == 200 && !print_body(s, q->path, out))
		status = 404;
	if (status != 200)
		fprintf(out, "%d %s\n", status, http_reason(status));
	if (fclose(out) != 0)
		return false;
	out = open_memstream(&c->answer, &c->answer_len);
	if (!out)
		return false;
	fprintf(out, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; %scharset=utf-8\r\nContent-Length: %zu\r\n%sConnection: close\r\n\r\n", status,
		http_reason(status), status == 200 && strcmp(q->path, "/metrics") == 0 ? "version=0.0.4; " : "", body_len,
		status == 405 ? "Allow: GET, HEAD\r\n" : "");
	if (!q->head_only)
		fwrite(body, 1, body_len, out);
	return fclose(out) == 0;
}

/* What it may still send is read away: closing over unread bytes would take the answer back. */
static void on_ending(struct client *c)
{
	char away[1024];
	ssize_t n = recv(c->fd, away, sizeof(away), MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		drop(c);
}

static void on_answer(struct client *c)
{
	ssize_t n = send(c->fd, c->answer + c->sent, c->answer_len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			drop(c);
		return;
	}
	c->sent += (size_t)n;
	if (c->sent == c->answer_len) {
		shutdown(c->fd, SHUT_WR);
		c->stage = ENDING;
	}
}

static void on_request(struct service *s, struct client *c)
{
	ssize_t n = recv(c->fd, c->request + c->len, sizeof(c->request) - c->len, MSG_DONTWAIT);
	struct http_request q = { 0 };
	int status;

	if (n <= 0) {
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			drop(c);
		return;
	}
	c->len += (size_t)n;
	status = http_request_parse(c->request, c->len, &q);
	if (status == 0)
		return;
	if (!make_answer(s, c, status, &q)) {
		drop(c);
		return;
	}
	c->stage = IN_ANSWER;
	on_answer(c);
}

/* --- all of them ---------------------------------------------------------------------------------------------------------------- */

static struct client *make_room(struct service *s)
{
	struct client *oldest = &s->client[0];

	for (unsigned i = 0; i < CLIENTS_MAX; i++) {
		if (s->client[i].stage == FREE)
			return &s->client[i];
		if (s->client[i].deadline_us < oldest->deadline_us)
			oldest = &s->client[i];
	}
	drop(oldest);
	return oldest;
}

static void on_connection(struct service *s)
{
	int fd = accept4(LISTENER, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *c;

	if (fd < 0) {
		s->resting = errno != EINTR && errno != ECONNABORTED && errno != EAGAIN;
		return;
	}
	c = make_room(s);
	c->stage = IN_REQUEST;
	c->fd = fd;
	c->len = c->sent = 0;
	c->deadline_us = clock_us() + CLIENT_MS * 1000ull;
}

static void on_client(struct service *s, struct client *c)
{
	switch (c->stage) {
	case IN_REQUEST:
		on_request(s, c);
		break;
	case IN_ANSWER:
		on_answer(c);
		break;
	case ENDING:
		on_ending(c);
		break;
	case FREE:
		break;
	}
}

static int expire(struct service *s)
{
	uint64_t now = clock_us(), next = s->resting ? now + REST_MS * 1000ull : UINT64_MAX;

	for (unsigned i = 0; i < CLIENTS_MAX; i++) {
		struct client *c = &s->client[i];

		if (c->stage != FREE && c->deadline_us <= now)
			drop(c);
		if (c->stage != FREE && c->deadline_us < next)
			next = c->deadline_us;
	}
	return next == UINT64_MAX ? -1 : (int)((next - now) / 1000 + 1);
}

/* Until the daemon's end of the line is gone. */
static void serve(struct service *s)
{
	enum { AT_LINE, AT_LISTENER, AT_CLIENTS };
	struct pollfd p[AT_CLIENTS + CLIENTS_MAX];

	for (;;) {
		int patience = expire(s);

		p[AT_LINE] = (struct pollfd){ .fd = LINE, .events = POLLIN };
		p[AT_LISTENER] = (struct pollfd){ .fd = s->resting ? -1 : LISTENER, .events = POLLIN };
		for (unsigned i = 0; i < CLIENTS_MAX; i++)
			p[AT_CLIENTS + i] = (struct pollfd){ .fd = s->client[i].stage == FREE ? -1 : s->client[i].fd,
							     .events = s->client[i].stage == IN_ANSWER ? POLLOUT : POLLIN };
		s->resting = false;
		if (poll(p, AT_CLIENTS + CLIENTS_MAX, patience) <= 0)
			continue;
		if (p[AT_LINE].revents)
			return;
		for (unsigned i = 0; i < CLIENTS_MAX; i++)
			if (p[AT_CLIENTS + i].revents)
				on_client(s, &s->client[i]);
		if (p[AT_LISTENER].revents)
			on_connection(s);
	}
}

/* --- the process ---------------------------------------------------------------------------------------------------------------- */

/* Standard error stays, for the log. */
static int keep_only(int listener, int line)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int l = fcntl(listener, F_DUPFD, LINE + 1), n = fcntl(line, F_DUPFD, LINE + 1);

	if (null < 0 || l < 0 || n < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(l, LISTENER) < 0 || dup2(n, LINE) < 0)
		return -1;
	return close_range(LINE + 1, ~0u, 0);
}

static _Noreturn void exporter_main(struct metrics *m)
{
	struct service *s = calloc(1, sizeof(*s));
	struct err e = { 0 };

	prctl(PR_SET_NAME, "dray-exporter");
	metrics_protect(m);
	if (!s || sandbox_enter(SANDBOX_EXPORTER, &e) < 0) {
		log_event(LOG_ERROR, "exporter-failed", "reason=\"%s\"", e.text);
		_exit(EXIT_FAILURE);
	}
	s->metrics = m;
	serve(s);
	_exit(EXIT_SUCCESS);
}

static bool daemon_is_gone(int patience_ms)
{
	struct pollfd p = { .fd = LINE, .events = POLLIN };

	return poll(&p, 1, patience_ms) > 0;
}

/* One exporter after the other. One that ends by itself was done, or could not begin and never will. */
static _Noreturn void watch(struct metrics *m)
{
	for (;;) {
		uint64_t next = clock_us() + AGAIN_MS * 1000ull, now;
		pid_t pid = fork();
		int status = 0;

		if (pid == 0)
			exporter_main(m);
		while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		if (pid > 0 && WIFEXITED(status))
			_exit(WEXITSTATUS(status));
		log_event(LOG_WARN, "exporter-died", "signal=%d", pid > 0 ? WTERMSIG(status) : 0);
		now = clock_us();
		if (daemon_is_gone(now < next ? (int)((next - now) / 1000 + 1) : 0))
			_exit(EXIT_SUCCESS);
	}
}

/* It holds the same descriptors as the exporter, and reads from none. */
static _Noreturn void watcher_main(struct metrics *m, int listener, int line)
{
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGTSTP };
	sigset_t none;

	prctl(PR_SET_NAME, "dray-metrics");
	setsid();
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	log_set_role("exporter");
	if (keep_only(listener, line) < 0) {
		log_event(LOG_ERROR, "exporter-failed", "errno=%d", errno);
		_exit(EXIT_FAILURE);
	}
	watch(m);
}

/* --- where it listens ----------------------------------------------------------------------------------------------------------- */

static const char *unix_path(const char *where)
{
	return strncmp(where, unix_prefix, sizeof(unix_prefix) - 1) == 0 ? where + sizeof(unix_prefix) - 1 : NULL;
}

int exporter_check(const char *where, struct err *e)
{
	const char *path = unix_path(where), *colon = strrchr(where, ':');
	struct sockaddr_un a;
	char host[SOCK_HOST_MAX];
	uint16_t port;

	if (path)
		return unix_address(path, &a, e);
	if (!colon || !colon[1] || colon[strspn(colon, ":0123456789")])
		return err_set(e, ERR_USAGE, 0, "\"%.80s\" is neither ADDRESS:PORT nor unix:PATH", where);
	return sock_parse(where, 0, host, &port, e);
}

static int listen_unix(const char *path, struct err *e)
{
	cleanup_fd int fd = unix_bind(path, SOCK_STREAM, 0177, e);

	if (fd < 0)
		return -1;
	if (listen(fd, CLIENTS_MAX) < 0) {
		err_sys(e, "listen on %s", path);
		unlink(path);
		return -1;
	}
	return steal_fd(&fd);
}

static int listen_there(const char *where, bool insecure, struct err *e)
{
	const char *path = unix_path(where);
	cleanup_fd int fd = -1;

	if (exporter_check(where, e) < 0)
		return -1;
	fd = path ? listen_unix(path, e) : sock_listen(where, 0, e);
	if (fd >= 0 && !insecure && !sock_is_loopback(fd))
		return err_set(e, ERR_USAGE, 0, "%s is no loopback address, and metrics go out as plain HTTP; --insecure allows it on a network that you trust",
			       where);
	return steal_fd(&fd);
}

int exporter_start(struct exporter *x, const char *where, bool insecure, struct metrics *m, struct err *e)
{
	cleanup_fd int listener = listen_there(where, insecure, e), far = -1;
	char name[SOCK_NAME_MAX];
	int line[2];

	*x = EXPORTER_NONE;
	if (listener < 0)
		return err_wrap(e, "--metrics");
	x->path = unix_path(where);
	if (pipe2(line, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	far = line[0];
	x->line = line[1];
	x->pid = fork();
	if (x->pid == 0)
		watcher_main(m, listener, far);
	if (x->pid < 0) {
		x->pid = 0;
		err_sys(e, "a process for metrics");
		exporter_stop(x);
		return -1;
	}
	sock_name(listener, false, name);
	log_event(LOG_INFO, "metrics", "address=%s", x->path ? where : name);
	return 0;
}

void exporter_forget(struct exporter *x)
{
	if (x->line >= 0)
		close(steal_fd(&x->line));
	x->pid = 0;
	x->path = NULL;
}

void exporter_stop(struct exporter *x)
{
	if (x->line >= 0)
		close(steal_fd(&x->line));
	if (x->pid > 0) /* unless the daemon has reaped it already */
		waitpid(x->pid, NULL, 0);
	if (x->path)
		unlink(x->path);
	*x = EXPORTER_NONE;
}
