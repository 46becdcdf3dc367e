/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/agent/agent.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migrate/agent/agent_priv.h"
#include "migrate/agent/settled.h"
#include "migrate/conduct/journal.h"
#include "migrate/conduct/settle.h"
#include "proto/base/daemon.h"
#include "proto/base/exporter.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/base/notify.h"
#include "proto/base/sock.h"

enum { LOOK_AGAIN_MS = 100, LOOK_MS = 10 * 1000 };

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
	struct child *session = agent_find_session(a, &h->id);
	enum hello_status status = HELLO_OK;

	if (!session && h->role != HELLO_CONTROL && h->role != HELLO_IMAGES && h->role != HELLO_IMAGES_MORE)
		session = agent_adopt_session(a, &h->id);
	if (h->role == HELLO_CONTROL && (a->draining || session))
		status = session ? HELLO_REFUSED : HELLO_BUSY;
	if (h->role == HELLO_STREAM)
		status = session && h->index < STREAMS_MAX ? agent_hand_over(session, AGENT_STREAM, h, c->fd) : HELLO_UNKNOWN_ID;
	if (h->role == HELLO_IMAGES || h->role == HELLO_IMAGES_MORE) /* a page server's */
		status = HELLO_REFUSED;
	if (h->role == HELLO_AGAIN && session && (status = agent_hand_over(session, AGENT_AGAIN, h, c->fd)) == HELLO_OK)
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
		status = agent_start_session(a, h, c);
		break;
	case HELLO_STREAM:
	case HELLO_IMAGES:
	case HELLO_IMAGES_MORE:
	case HELLO_AGAIN:
		break;
	case HELLO_LATE: /* both sides speak: as with a control connection, the answer goes first */
		status = agent_hand_over(session, AGENT_LATE, h, c->fd);
		break;
	case HELLO_QUERY:
		status = session ? agent_hand_over(session, AGENT_QUERY, h, c->fd) : agent_answer_from_record(a, &h->id, c->fd);
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
	log_event(LOG_INFO, "draining", "migrations=%u", agent_children_left(a));
}

/* Each connection reads them anew: whoever replaced them learns here whether they are good, and not from the next source that is kept out. */
static void look_at_credentials(const struct agent *a)
{
	struct err e;

	if (!a->tls)
		return;
	tls_tell_end(&a->config->tls, a->metrics);
	if (tls_check_files(&a->config->tls, &e) < 0)
		log_event(LOG_ERROR, "credentials-bad", "reason=\"%s\"", e.text);
	else
		log_event(LOG_INFO, "credentials-good", "from=\"the next connection on\"");
}

static void on_signal(struct agent *a)
{
	struct signalfd_siginfo si;

	while (read(a->signals, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (si.ssi_signo == SIGCHLD)
			agent_reap(a);
		else if (si.ssi_signo == SIGHUP)
			look_at_credentials(a);
		else
			start_draining(a);
	}
}

static int next_timeout_ms(const struct agent *a)
{
	uint64_t next = hellos_next_us(a->hellos), now = clock_us();

	if (a->look_us && a->look_us < next)
		next = a->look_us;
	if (a->drain_deadline_us && a->drain_deadline_us < next)
		next = a->drain_deadline_us;
	if (next == UINT64_MAX)
		return -1;
	return next <= now ? 0 : (int)((next - now) / 1000 + 1);
}

/* Sessions of an agent before us notice its end and open their doors one after the other, and some have no record yet or are just ending. */
static void look_for_sessions(struct agent *a, uint64_t now)
{
	a->look_us = agent_adopt_sessions(a) || now >= a->look_until_us ? 0 : now + LOOK_AGAIN_MS * 1000;
}

static void expire(struct agent *a)
{
	uint64_t now = clock_us();

	hellos_expire(a->hellos);
	if (a->look_us && a->look_us <= now)
		look_for_sessions(a, now);
	if (a->drain_deadline_us && a->drain_deadline_us <= now) {
		a->drain_deadline_us = 0;
		for (size_t i = 0; i < a->children; i++)
			if (a->child[i].pid)
				kill(a->child[i].pid, SIGTERM);
	}
}

static void serve(struct agent *a)
{
	struct pollfd *p = a->polled, hellos[HELLOS_MAX];
	int n;

	p[AT_SIGNALS] = (struct pollfd){ .fd = a->signals, .events = POLLIN };
	/* While it drains too: a new migration is told so, and what goes on may have to connect again or ask. */
	p[AT_LISTENER] = (struct pollfd){ .fd = a->listener, .events = POLLIN };
	hellos_poll(a->hellos, p + AT_HELLOS);
	for (size_t i = 0; i < a->children; i++)
		p[AT_CHILDREN + i] = (struct pollfd){ .fd = agent_child_in_use(&a->child[i]) ? a->child[i].line : -1, .events = POLLIN };
	n = poll(p, AT_CHILDREN + a->children, next_timeout_ms(a));
	if (n < 0)
		return;
	/* Sessions before signals, so that a line's last message is read before its process is reaped; and before hellos, of which each may begin a session
	 * and move all of this. */
	memcpy(hellos, p + AT_HELLOS, sizeof(hellos));
	for (size_t i = 0; i < a->children; i++)
		if (p[AT_CHILDREN + i].revents)
			agent_on_line(a, &a->child[i]);
	if (p[AT_SIGNALS].revents)
		on_signal(a);
	if (p[AT_LISTENER].revents)
		hellos_accept(a->hellos, a->listener);
	hellos_polled(a->hellos, hellos);
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
	char identity[33]; /* made now: a directory that can't be had must not show when somebody comes */
	int rc = -1;

	if (!a)
		return err_set(e, ERR_SYSTEM, ENOMEM, "agent");
	a->config = config;
	log_set_role("agent");
	a->signals = a->listener = -1;
	a->exporter = EXPORTER_NONE;
	if (open_door(a, e) < 0 || begin_metrics(a, e) < 0)
		goto out;
	tls_tell_end(&config->tls, a->metrics);
	a->hellos = hellos_create(a->tls, a->metrics, on_hello, a);
	if (!a->hellos || !agent_free_child(a)) {
		err_set(e, ERR_SYSTEM, ENOMEM, "agent");
		goto out;
	}
	a->signals = daemon_signals(e);
	if (a->signals < 0 || journal_identity(config->state_dir, identity, e) < 0 || settled_recover(config->state_dir, e) < 0)
		goto out;
	settle_leftovers(config->state_dir);
	a->look_us = clock_us();
	a->look_until_us = a->look_us + LOOK_MS * 1000;
	announce(a);
	while (!a->draining || agent_children_left(a) > 0)
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
