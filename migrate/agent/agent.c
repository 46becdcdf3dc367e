/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/agent/hellos.h"
#include "migrate/agent/session.h"
#include "migrate/agent/settled.h"
#include "proto/base/cleanup.h"
#include "proto/base/daemon.h"
#include "proto/base/exporter.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/base/notify.h"
#include "proto/base/sock.h"

enum { AT_SIGNALS, AT_LISTENER, AT_HELLOS, AT_CHILDREN = AT_HELLOS + HELLOS_MAX }; /* in what is polled */

struct child {
	pid_t pid; /* 0: free */
	int line;  /* to a session; -1: a process that answers a query */
	struct migration_id id;
	uint64_t reserved; /* bytes of --max-memory */
	bool session; /* else it answers a query */
	struct session_row *row; /* NULL: none */
};

struct agent {
	const struct agent_config *config;
	int listener, signals;
	bool draining;
	uint64_t drain_deadline_us; /* 0: none */
	struct tls_gate *tls; /* NULL: plain text */
	struct hellos *hellos;
	struct metrics *metrics; /* NULL: nobody counts */
	struct exporter exporter;
	uint64_t number, sessions; /* of the latest; under way */
	struct child *child; /* as many as there ever were at once: nothing limits them but memory and process ids */
	size_t children;
	struct pollfd *polled; /* AT_CHILDREN + children */
};

/* --- sessions ------------------------------------------------------------------------------------------------------------------- */

static struct child *find_session(struct agent *a, const struct migration_id *id)
{
	for (size_t i = 0; i < a->children; i++) {
		struct child *c = &a->child[i];

		if (c->pid && c->line >= 0 && memcmp(&c->id, id, sizeof(*id)) == 0)
			return c;
	}
	return NULL;
}

/* A free slot; NULL without memory. Slots may move: no pointer to another one is good any more. */
static struct child *free_child(struct agent *a)
{
	size_t more = a->children ? a->children * 2 : 16;
	struct pollfd *polled;
	struct child *child;

	for (size_t i = 0; i < a->children; i++)
		if (!a->child[i].pid)
			return &a->child[i];
	child = realloc(a->child, more * sizeof(*child));
	if (!child)
		return NULL;
	a->child = child;
	polled = realloc(a->polled, (AT_CHILDREN + more) * sizeof(*polled));
	if (!polled)
		return NULL;
	a->polled = polled;
	memset(a->child + a->children, 0, (more - a->children) * sizeof(*child));
	a->children = more;
	return &a->child[more > 16 ? more / 2 : 0];
}

static unsigned children_left(const struct agent *a)
{
	unsigned n = 0;

	for (size_t i = 0; i < a->children; i++)
		n += a->child[i].pid != 0;
	return n;
}

/* What a forked child must not hold: other peers' connections, the listener, other sessions' lines. */
static void close_in_child(struct agent *a, int keep)
{
	sigset_t none;

	hellos_close(a->hellos, keep);
	if (a->tls)
		close(tls_gate_line(a->tls));
	for (size_t i = 0; i < a->children; i++)
		if (a->child[i].pid && a->child[i].line >= 0)
			close(a->child[i].line);
	close(a->listener);
	close(a->signals);
	exporter_forget(&a->exporter);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void session_child(struct agent *a, const struct child *me, const struct hello *h, const struct caller *caller, int line)
{
	struct session_config c = { .id = me->id, .control = caller->fd, .agent = line, .state_dir = a->config->state_dir,
				    .features = h->features & HELLO_FEATURES_KNOWN,
				    .metrics = a->metrics, .row = me->row };

	close_in_child(a, caller->fd);
	snprintf(c.peer, sizeof(c.peer), "%s", caller->peer);
	exit(session_run(&c));
}

static enum hello_status start_session(struct agent *a, const struct hello *h, const struct caller *caller)
{
	struct child *c = free_child(a);
	char hex[33];
	int pair[2];

	if (a->draining || !c)
		return HELLO_BUSY;
	if (find_session(a, &h->id))
		return HELLO_REFUSED;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return HELLO_BUSY;
	*c = (struct child){ .line = pair[0], .id = h->id };
	migration_id_format(&h->id, hex);
	c->row = metrics_row_begin(a->metrics, ++a->number, caller->peer, hex);
	c->pid = fork();
	if (c->pid == 0)
		session_child(a, c, h, caller, pair[1]);
	close(pair[1]);
	if (c->pid < 0) {
		close(pair[0]);
		c->pid = 0;
		metrics_row_end(c->row);
		return HELLO_BUSY;
	}
	metrics_add(a->metrics, METRIC_MIG_ACCEPTED, 0, 1);
	metrics_set(a->metrics, METRIC_MIG_RUNNING, ++a->sessions);
	c->session = true;
	return HELLO_OK;
}

static enum hello_status hand_over(struct child *c, enum agent_message_kind kind, const struct hello *h, int fd)
{
	struct agent_message m = { .kind = kind, .index = h->index, .token = h->token };

	return send_fds(c->line, &m, sizeof(m), &fd, 1) == 0 ? HELLO_OK : HELLO_UNKNOWN_ID;
}

/* A session that is over speaks through its record. */
static enum hello_status answer_from_record(struct agent *a, const struct migration_id *id, int fd)
{
	struct child *c = free_child(a);
	struct err e;

	if (!c)
		return HELLO_BUSY;
	*c = (struct child){ .line = -1 };
	c->pid = fork();
	if (c->pid == 0) {
		close_in_child(a, fd);
		log_set_role("query");
		exit(settled_answer(a->config->state_dir, id, fd, &e) < 0);
	}
	if (c->pid < 0) {
		c->pid = 0;
		return HELLO_BUSY;
	}
	return HELLO_OK;
}

static void grant(struct agent *a, struct child *c, uint64_t bytes)
{
	struct agent_message m = { .kind = AGENT_GRANTED };
	uint64_t max = a->config->max_memory, used = 0;

	for (size_t i = 0; i < a->children; i++)
		used += a->child[i].pid ? a->child[i].reserved : 0;
	if (max)
		m.value = max > used ? max - used : 0;
	if (max && bytes > m.value) {
		m.kind = AGENT_REFUSED;
		metrics_add(a->metrics, METRIC_LIMITS, LIMIT_MEMORY, 1);
	} else if (max) {
		c->reserved = bytes;
	}
	send_fds(c->line, &m, sizeof(m), NULL, 0); /* a session that is gone needs no answer */
}

static void on_session_line(struct agent *a, struct child *c)
{
	struct agent_message m;
	int nfds;

	if (recv_fds(c->line, &m, sizeof(m), NULL, 0, &nfds) == (ssize_t)sizeof(m) && m.kind == AGENT_RESERVE) {
		grant(a, c, m.value);
		return;
	}
	close(c->line); /* it ends; the process is reaped when it has */
	c->line = -1;
}

static void count_end(struct agent *a, const struct child *c, int status)
{
	if (!c->session)
		return;
	metrics_add(a->metrics, METRIC_MIG_ENDED, WIFEXITED(status) ? (unsigned)WEXITSTATUS(status) : METRIC_KILLED, 1);
	metrics_set(a->metrics, METRIC_MIG_RUNNING, --a->sessions);
	metrics_row_end(c->row);
}

static void reap(struct agent *a)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (size_t i = 0; i < a->children; i++) {
			struct child *c = &a->child[i];

			if (c->pid != pid)
				continue;
			if (WIFSIGNALED(status))
				log_event(LOG_ERROR, "session-killed", "pid=%d signal=%d", (int)pid, WTERMSIG(status));
			if (c->line >= 0)
				close(c->line);
			c->pid = 0;
			count_end(a, c, status);
			if (WIFSIGNALED(status)) { /* it could not clean up behind itself */
				struct err e;

				settled_recover(a->config->state_dir, &e);
			}
		}
	}
}

/* --- hellos --------------------------------------------------------------------------------------------------------------------- */

static void refuse(const struct hello *h, const struct caller *c, enum hello_status status)
{
	log_event(LOG_WARN, "hello-refused", "peer=%s role=%u status=%u", c->peer, h->role, (unsigned)status);
	hello_answer(c->fd, h, status);
}

/* The answer goes out before the connection is handed over: from then on others speak on it. On a stream only its sender does, and what that
 * says next, on the control connection too, must find the stream where it belongs: it is handed over first. */
static void take_hello(struct agent *a, const struct hello *h, const struct caller *c)
{
	struct child *session = find_session(a, &h->id);
	enum hello_status status = HELLO_OK;

	if (h->role == HELLO_CONTROL && (a->draining || session))
		status = session ? HELLO_REFUSED : HELLO_BUSY;
	if (h->role == HELLO_STREAM)
		status = session && h->index < STREAMS_MAX ? hand_over(session, AGENT_STREAM, h, c->fd) : HELLO_UNKNOWN_ID;
	if (h->role == HELLO_IMAGES) /* a page server's */
		status = HELLO_REFUSED;
	if (h->role == HELLO_AGAIN && session && (status = hand_over(session, AGENT_AGAIN, h, c->fd)) == HELLO_OK)
		return; /* who knows the token answers */
	if (h->role == HELLO_LATE || h->role == HELLO_AGAIN)
		status = session ? HELLO_OK : HELLO_UNKNOWN_ID;
	if (status != HELLO_OK) {
		refuse(h, c, status);
		return;
	}
	hello_answer(c->fd, h, HELLO_OK); /* a peer that is gone is found by who reads next */
	switch ((enum hello_role)h->role) {
	case HELLO_CONTROL:
		status = start_session(a, h, c);
		break;
	case HELLO_STREAM:
	case HELLO_IMAGES:
	case HELLO_AGAIN:
		break;
	case HELLO_LATE: /* both sides speak: as with a control connection, the answer goes first */
		status = hand_over(session, AGENT_LATE, h, c->fd);
		break;
	case HELLO_QUERY:
		status = session ? hand_over(session, AGENT_QUERY, h, c->fd) : answer_from_record(a, &h->id, c->fd);
		break;
	}
	if (status != HELLO_OK)
		log_event(LOG_WARN, "hand-over", "role=%u status=%u", h->role, (unsigned)status);
}

static void on_hello(void *arg, int rc, const struct hello *h, const struct caller *c)
{
	if (rc < 0)
		refuse(h, c, HELLO_BAD_VERSION);
	else
		take_hello(arg, h, c);
}

/* --- the loop ------------------------------------------------------------------------------------------------------------------- */

static void start_draining(struct agent *a)
{
	if (a->draining) { /* asked a second time: now */
		a->drain_deadline_us = clock_us();
		return;
	}
	a->draining = true;
	if (a->config->drain_timeout_ms)
		a->drain_deadline_us = clock_us() + a->config->drain_timeout_ms * 1000;
	notify_manager("STOPPING=1");
	log_event(LOG_INFO, "draining", "migrations=%u", children_left(a));
}

static void on_signal(struct agent *a)
{
	struct signalfd_siginfo si;

	while (read(a->signals, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (si.ssi_signo == SIGCHLD)
			reap(a);
		else
			start_draining(a);
	}
}

static int next_timeout_ms(const struct agent *a)
{
	uint64_t next = hellos_next_us(a->hellos), now = clock_us();

	if (a->drain_deadline_us && a->drain_deadline_us < next)
		next = a->drain_deadline_us;
	if (next == UINT64_MAX)
		return -1;
	return next <= now ? 0 : (int)((next - now) / 1000 + 1);
}

static void expire(struct agent *a)
{
	uint64_t now = clock_us();

	hellos_expire(a->hellos);
	if (a->drain_deadline_us && a->drain_deadline_us <= now) {
		a->drain_deadline_us = 0;
		for (size_t i = 0; i < a->children; i++)
			if (a->child[i].pid)
				kill(a->child[i].pid, SIGTERM);
	}
}

static void serve(struct agent *a)
{
	struct pollfd *p = a->polled;
	int n;

	p[AT_SIGNALS] = (struct pollfd){ .fd = a->signals, .events = POLLIN };
	p[AT_LISTENER] = (struct pollfd){ .fd = a->draining ? -1 : a->listener, .events = POLLIN };
	hellos_poll(a->hellos, p + AT_HELLOS);
	for (size_t i = 0; i < a->children; i++)
		p[AT_CHILDREN + i] = (struct pollfd){ .fd = a->child[i].pid ? a->child[i].line : -1, .events = POLLIN };
	n = poll(p, AT_CHILDREN + a->children, next_timeout_ms(a));
	if (n < 0)
		return;
	/* Sessions before signals, so that a line's last message is read before its process is reaped; and before new connections,
	 * which may move all of this. */
	for (size_t i = 0; i < a->children; i++)
		if (p[AT_CHILDREN + i].revents)
			on_session_line(a, &a->child[i]);
	if (p[AT_SIGNALS].revents)
		on_signal(a);
	if (p[AT_LISTENER].revents)
		hellos_accept(a->hellos, a->listener);
	hellos_polled(a->hellos, a->polled + AT_HELLOS);
	expire(a);
}

static int announce(const struct agent *a)
{
	char name[SOCK_NAME_MAX];

	sock_name(a->listener, false, name);
	printf("listening on %s\n", name);
	fflush(stdout);
	log_event(LOG_INFO, "listening", "address=%s tls=%d state-dir=%s", name, a->tls != NULL, a->config->state_dir);
	return notify_manager("READY=1");
}

/* Credentials first: without them only this host may come in. */
static int open_door(struct agent *a, struct err *e)
{
	const struct agent_config *config = a->config;
	int passed = daemon_passed_socket(AF_UNSPEC, SOCK_STREAM, e);
	char name[SOCK_NAME_MAX];

	if (passed < 0)
		return -1;
	if (tls_configured(&config->tls) && !(a->tls = tls_gate_start(&config->tls, e)))
		return -1;
	a->listener = passed ? passed : sock_listen(config->listen, DRAY_DEFAULT_PORT, e);
	if (a->listener < 0)
		return -1;
	sock_name(a->listener, false, name);
	if (a->tls || config->insecure || sock_is_loopback(a->listener))
		return 0;
	return err_set(e, ERR_USAGE, 0, "%s is no loopback address: whoever reaches the port could have processes run here. Give it TLS "
		       "credentials (--tls-cert and so on), or --insecure on a network that you trust", name);
}

static int begin_metrics(struct agent *a, struct err *e)
{
	if (!a->config->metrics)
		return 0;
	a->metrics = metrics_create(DAEMON_AGENT, e);
	return a->metrics ? exporter_start(&a->exporter, a->config->metrics, a->config->insecure, a->metrics, e) : -1;
}

int agent_run(const struct agent_config *config, struct err *e)
{
	struct agent *a = calloc(1, sizeof(*a));
	int rc = -1;

	if (!a)
		return err_set(e, ERR_SYSTEM, ENOMEM, "agent");
	a->config = config;
	log_set_role("agent");
	a->signals = a->listener = -1;
	a->exporter = EXPORTER_NONE;
	if (open_door(a, e) < 0 || begin_metrics(a, e) < 0)
		goto out;
	a->hellos = hellos_create(a->tls, a->metrics, on_hello, a);
	if (!a->hellos || !free_child(a)) {
		err_set(e, ERR_SYSTEM, ENOMEM, "agent");
		goto out;
	}
	a->signals = daemon_signals(e);
	if (a->signals < 0 || settled_recover(config->state_dir, e) < 0)
		goto out;
	announce(a);
	while (!a->draining || children_left(a) > 0)
		serve(a);
	rc = 0;
out:
	if (a->listener >= 0)
		close(a->listener);
	if (a->signals >= 0)
		close(a->signals);
	hellos_destroy(a->hellos);
	tls_gate_stop(a->tls);
	exporter_stop(&a->exporter);
	metrics_destroy(a->metrics);
	free(a->child);
	free(a->polled);
	free(a);
	return rc;
}
