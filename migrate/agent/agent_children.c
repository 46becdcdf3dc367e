/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's processes: a session for each migration, one for each question about a migration that is over. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/agent/agent_priv.h"
#include "migrate/agent/session_door.h"
#include "migrate/agent/settled.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"

bool agent_child_in_use(const struct child *c)
{
	return c->pid || c->adopted;
}

struct child *agent_find_session(struct agent *a, const struct migration_id *id)
{
	for (size_t i = 0; i < a->children; i++) {
		struct child *c = &a->child[i];

		if (agent_child_in_use(c) && c->line >= 0 && memcmp(&c->id, id, sizeof(*id)) == 0)
			return c;
	}
	return NULL;
}

struct child *agent_free_child(struct agent *a)
{
	size_t more = a->children ? a->children * 2 : 16;
	struct pollfd *polled;
	struct child *child;

	for (size_t i = 0; i < a->children; i++)
		if (!agent_child_in_use(&a->child[i]))
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

unsigned agent_children_left(const struct agent *a)
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
		if (agent_child_in_use(&a->child[i]) && a->child[i].line >= 0)
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
	close(me->line); /* the agent's end: or its end would go unnoticed */
	snprintf(c.peer, sizeof(c.peer), "%s", caller->peer);
	exit(session_run(&c));
}

enum hello_status agent_start_session(struct agent *a, const struct hello *h, const struct caller *caller)
{
	struct child *c = agent_free_child(a);
	char hex[33];
	int pair[2];

	if (a->draining || !c)
		return HELLO_BUSY;
	if (agent_find_session(a, &h->id))
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

struct looking { struct agent *agent; bool missed; };

/* It counts in our metrics from now on. */
static void show_adopted(struct agent *a, struct child *c, const char *hex)
{
	struct agent_message m = { .kind = AGENT_METRICS };
	int fd = metrics_fd(a->metrics);
	struct journal_record r;
	struct err ignored;
	bool owned;

	if (journal_peek(a->config->state_dir, &c->id, JOURNAL_DESTINATION, &r, &owned, &ignored) < 0)
		r.peer[0] = '\0';
	c->row = metrics_row_begin(a->metrics, ++a->number, r.peer, hex);
	metrics_set(a->metrics, METRIC_MIG_RUNNING, ++a->sessions);
	m.value = metrics_row_index(a->metrics, c->row);
	if (fd >= 0)
		send_fds(c->line, &m, sizeof(m), &fd, 1);
}

struct child *agent_adopt_session(struct agent *a, const struct migration_id *id)
{
	int line = session_door_knock(id);
	struct child *c = line < 0 ? NULL : agent_free_child(a);
	char hex[33];

	if (!c) {
		cleanup_fd_(&line);
		return NULL;
	}
	*c = (struct child){ .adopted = true, .session = true, .line = line, .id = *id };
	migration_id_format(id, hex);
	log_event(LOG_INFO, "session-again", "id=%s", hex);
	show_adopted(a, c, hex);
	return c;
}

static bool adopt_owned(const struct migration_id *id, const struct journal_record *r, bool owned, void *arg)
{
	struct looking *l = arg;

	(void)r;
	if (owned && !agent_find_session(l->agent, id) && !agent_adopt_session(l->agent, id))
		l->missed = true;
	return true;
}

bool agent_adopt_sessions(struct agent *a)
{
	struct looking l = { .agent = a };
	struct err ignored;

	return journal_each(a->config->state_dir, JOURNAL_DESTINATION, adopt_owned, &l, &ignored) >= 0 && !l.missed;
}

enum hello_status agent_hand_over(struct child *c, enum agent_message_kind kind, const struct hello *h, int fd)
{
	struct agent_message m = { .kind = kind, .index = h->index, .token = h->token };

	return send_fds(c->line, &m, sizeof(m), &fd, 1) == 0 ? HELLO_OK : HELLO_UNKNOWN_ID;
}

enum hello_status agent_answer_from_record(struct agent *a, const struct migration_id *id, int fd)
{
	struct child *c = agent_free_child(a);
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

static void count_end(struct agent *a, const struct child *c, unsigned how)
{
	if (!c->session)
		return;
	metrics_add(a->metrics, METRIC_MIG_ENDED, how, 1);
	metrics_set(a->metrics, METRIC_MIG_RUNNING, --a->sessions);
	metrics_row_end(c->row);
}

/* A killed one could not clean up behind itself. */
static void clean_up(const struct agent *a)
{
	struct err ignored;

	settled_recover(a->config->state_dir, &ignored);
}

static void adopted_ended(struct agent *a, struct child *c)
{
	c->adopted = false;
	count_end(a, c, c->told ? c->status : METRIC_KILLED);
	if (!c->told)
		clean_up(a);
}

void agent_on_line(struct agent *a, struct child *c)
{
	struct agent_message m = { 0 };
	int nfds;
	bool whole = recv_fds(c->line, &m, sizeof(m), NULL, 0, &nfds) == (ssize_t)sizeof(m);

	if (whole && m.kind == AGENT_RESERVE) {
		grant(a, c, m.value);
	} else if (whole && m.kind == AGENT_ENDED) {
		c->told = true;
		c->status = (unsigned)m.value;
	} else { /* it ends; the process is reaped when it has, if it is ours */
		close(c->line);
		c->line = -1;
		if (c->adopted)
			adopted_ended(a, c);
	}
}

static void reaped(struct agent *a, struct child *c, int status)
{
	if (WIFSIGNALED(status))
		log_event(LOG_ERROR, "session-killed", "pid=%d signal=%d", (int)c->pid, WTERMSIG(status));
	if (c->line >= 0)
		close(c->line);
	c->pid = 0;
	count_end(a, c, WIFEXITED(status) ? (unsigned)WEXITSTATUS(status) : METRIC_KILLED);
	if (WIFSIGNALED(status))
		clean_up(a);
}

void agent_reap(struct agent *a)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (size_t i = 0; i < a->children; i++)
			if (a->child[i].pid == pid)
				reaped(a, &a->child[i], status);
}
