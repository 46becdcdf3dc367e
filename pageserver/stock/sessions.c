/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/sessions.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "pageserver/images/aside.h"
#include "pageserver/stock/line.h"
#include "pageserver/stock/meter.h"
#include "pageserver/stock/ps_session.h"
#include "pageserver/stock/sessions_priv.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/base/sock.h"

enum { KEPT_OUT = 0x40u, JOINS = 0x20u };
_Static_assert((int)ERR_KINDS <= (int)JOINS, "kinds of errors beside them");

int sessions_grow(struct sessions *s)
{
	size_t more = s->places ? s->places * 2 : 16;
	struct pollfd *polled = reallocarray(s->polled, SESSIONS_OTHERS + more, sizeof(*polled));
	struct ps_session *session;

	if (!polled)
		return -1;
	s->polled = polled;
	session = reallocarray(s->session, more, sizeof(*session));
	if (!session)
		return -1;
	s->session = session;
	memset(session + s->places, 0, (more - s->places) * sizeof(*session));
	s->places = more;
	return 0;
}

int sessions_begin(struct sessions *s, struct err *e)
{
	return sessions_grow(s) < 0 ? err_sys(e, "memory for sessions") : 0;
}

struct ps_session *sessions_free_place(struct sessions *s)
{
	size_t i = 0;

	while (i < s->places && s->session[i].pid)
		i++;
	return i < s->places || sessions_grow(s) == 0 ? &s->session[i] : NULL;
}

/* What a session has nothing to do with. */
static void close_in_child(const struct sessions *s)
{
	sigset_t none;

	close(s->listener);
	close(s->signals);
	if (s->exporter)
		exporter_forget(s->exporter);
	for (size_t i = 0; i < s->places; i++)
		if (s->session[i].pid && s->session[i].line >= 0)
			close(s->session[i].line);
	signal(SIGHUP, SIG_IGN); /* the server's business, though a service manager may say it to all */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* A client asks when a page is missed, which may be never. */
static enum stock_outcome run_lazy(const struct sessions *s, int fd, int line, struct ps_meter *meter, struct err *e)
{
	ps_meter_begun(meter);
	line_say_word(line, LINE_BEGUN);
	return lazy_session_run(s, fd, meter, e);
}

/* How it ended is its exit status: 0, or the kind of its error, with a bit where there was no session at all. */
static _Noreturn void session_process(const struct sessions *s, int fd, struct session_dir *d, const char *parent, int line, struct session_row *row)
{
	struct ps_meter meter = { .metrics = s->metrics, .row = row };
	struct err e = { 0 };
	char role[32];
	enum stock_outcome how;

	close_in_child(s);
	snprintf(role, sizeof(role), "session %" PRIu64, s->number);
	log_set_role(role);
	how = s->options->lazy_pages ? run_lazy(s, fd, line, &meter, &e) : stock_session_run(s, fd, d, parent, line, &meter, &e);
	session_dir_close(d, how != STOCK_PUBLISHED);
	if (how == STOCK_JOINS)
		_exit(JOINS);
	_exit(how == STOCK_PUBLISHED ? 0 : (e.kind ? (int)e.kind : ERR_INTERNAL) | (how == STOCK_KEPT_OUT ? KEPT_OUT : 0));
}

/* The last set of a chain. One that somebody took away is the end of it: what comes next is sent whole. */
static const char *last_of_chain(struct sessions *s, const char *peer)
{
	const char *last = chains_last(&s->chains, peer);

	if (!last || access(last, F_OK) == 0 || errno != ENOENT)
		return last;
	log_event(LOG_WARN, "chain-ends", "peer=%s dir=\"%s\" reason=\"it is not there any more\"", peer, last);
	chains_forget(&s->chains, peer);
	return NULL;
}

/* Where the set before is, as the session's directory names it. NULL: none. */
static const char *parent_of(struct sessions *s, const char *peer, char path[PATH_MAX])
{
	const char *last = s->options->chain ? last_of_chain(s, peer) : NULL;
	struct err e;

	if (!s->options->chain)
		return s->options->prev_images_dir;
	return last && session_dir_relative(s->template, last, path, &e) == 0 ? path : NULL;
}

static int fork_session(struct sessions *s, struct ps_session *place, int fd, struct session_dir *d, struct err *e)
{
	char path[PATH_MAX];
	const char *parent = parent_of(s, place->peer, path);
	int line[2];
	int rc = line_pair(line);

	if (rc < 0)
		return err_set(e, ERR_SYSTEM, -rc, "a line to a session");
	place->path = strdup(d->path);
	place->pid = place->path ? fork() : -1;
	if (place->pid == 0) {
		close(line[0]); /* or the server's end would go unnoticed */
		session_process(s, fd, d, parent, line[1], place->row);
	}
	close(line[1]);
	place->line = line[0];
	if (place->pid > 0)
		return 0;
	err_sys(e, "a process for a session");
	close(line[0]);
	free(place->path);
	place->path = NULL;
	place->pid = 0;
	return -1;
}

/* Shown until its process is reaped, however that ended. */
static struct session_row *begin_row(const struct sessions *s, const struct ps_session *place, const char *path)
{
	struct session_row *row = metrics_row_begin(s->metrics, place->number, place->peer, path);

	if (row && s->options->session_time_ms)
		row->deadline_us = clock_us() + s->options->session_time_ms * 1000;
	return row;
}

int sessions_start(struct sessions *s, int fd, struct err *e)
{
	struct session_name n = { .number = s->number + 1, .start = time(NULL) };
	struct session_dir d = { .fd = -1 };
	struct ps_session *place = sessions_free_place(s);
	int rc;

	if (!place)
		return err_set(e, ERR_SYSTEM, ENOMEM, "a session");
	*place = (struct ps_session){ .line = -1 };
	session_peer(fd, place->peer);
	n.peer = place->peer;
	if (s->options->lazy_pages)
		snprintf(d.path, sizeof(d.path), "%s", s->template);
	else if (session_dir_make(s->template, &n, &d, e) < 0)
		return -1;
	place->number = s->number = n.number;
	place->row = begin_row(s, place, d.path);
	rc = fork_session(s, place, fd, &d, e);
	session_dir_close(&d, rc < 0);
	if (rc < 0) {
		metrics_row_end(place->row);
		return -1;
	}
	metrics_set(s->metrics, METRIC_PS_RUNNING, ++s->running);
	s->silent++;
	return 0;
}

static void begun(struct sessions *s, struct ps_session *from)
{
	s->silent -= !from->begun && !from->dropped;
	from->begun = true;
}

static void say_unknown(const struct line_message *m)
{
	struct hello h = { 0 };
	uint8_t bytes[HELLO_SIZE];

	(void)hello_decode(m->hello, &h);
	h = (struct hello){ .version = HELLO_VERSION, .role = h.role, .status = HELLO_UNKNOWN_ID, .index = h.index };
	hello_encode(&h, bytes);
	if (send(m->fd, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_event(LOG_DEBUG, "hello-answer", "errno=%d", errno);
}

/* All tokens are looked at, whichever it is. */
static struct ps_session *whose(struct sessions *s, const struct line_message *m)
{
	struct ps_session *found = NULL;
	struct hello h;

	if (hello_decode(m->hello, &h) < 0)
		return NULL;
	for (size_t i = 0; i < s->places; i++) {
		struct ps_session *one = &s->session[i];
		bool is = stream_token_equal(&one->token, &h.token);

		if (is && one->pid && one->numbered && one->line >= 0)
			found = one;
	}
	return found;
}

static void give_to_its_session(struct sessions *s, const struct ps_session *from, const struct line_message *m)
{
	struct ps_session *to = whose(s, m);
	bool given = to && line_say(to->line, m);

	if (!given)
		say_unknown(m);
	metrics_add(s->metrics, METRIC_PS_JOINED, 0, given);
	if (given)
		log_event(LOG_INFO, "connection-joins", "peer=%s session=%" PRIu64, from->peer, to->number);
	else
		log_event(LOG_WARN, "connection-refused", "peer=%s session=%" PRIu64 " reason=\"it is of no session that runs\"", from->peer,
			  to ? to->number : 0);
}

static void on_word(struct sessions *s, struct ps_session *from, const struct line_message *m)
{
	switch (m->word) {
	case LINE_PUBLISHED:
		from->published = true;
		chains_set(&s->chains, from->peer, from->path);
		break;
	case LINE_TOKEN:
		from->token = m->token;
		from->numbered = true;
		break;
	case LINE_CUT: /* its sender may begin anew, and has lost its record */
		if (!from->published)
			chains_forget(&s->chains, from->peer);
		break;
	case LINE_HELLO:
		if (m->fd >= 0)
			give_to_its_session(s, from, m);
		break;
	case LINE_BEGUN:
	case LINE_ALONE:
		break;
	}
	begun(s, from);
}

static void hear(struct sessions *s, struct ps_session *from)
{
	struct line_message m;
	int rc;

	while ((rc = line_hear(from->line, &m)) > 0) {
		on_word(s, from, &m);
		if (m.fd >= 0)
			close(m.fd);
	}
	if (rc < 0)
		close(steal_fd(&from->line));
}

/* What it has said may not have been heard yet. */
static bool says_nothing(struct sessions *s, struct ps_session *one)
{
	if (one->pid && !one->begun && one->line >= 0)
		hear(s, one);
	return one->pid && !one->begun && !one->dropped;
}

void sessions_drop_oldest_silent(struct sessions *s)
{
	struct ps_session *oldest = NULL;

	for (size_t i = 0; i < s->places; i++)
		if (says_nothing(s, &s->session[i]) && (!oldest || s->session[i].number < oldest->number))
			oldest = &s->session[i];
	if (!oldest)
		return;
	log_event(LOG_WARN, "session-dropped", "session=%" PRIu64 " peer=%s reason=\"too many that say nothing (--max-handshakes)\"", oldest->number,
		  oldest->peer);
	metrics_add(s->metrics, METRIC_LIMITS, LIMIT_HANDSHAKES, 1);
	oldest->dropped = true;
	s->silent--;
	kill(oldest->pid, SIGTERM);
}

size_t sessions_taken(const struct sessions *s, uint64_t max)
{
	size_t done = 0;

	for (size_t i = 0; i < s->places; i++)
		done += s->session[i].pid && s->session[i].published && s->session[i].numbered;
	return s->running - (done < max ? done : (size_t)max);
}

bool sessions_want_more(const struct sessions *s)
{
	for (size_t i = 0; i < s->places; i++)
		if (s->session[i].pid && s->session[i].numbered)
			return true;
	return false;
}

void sessions_leave_alone(struct sessions *s)
{
	for (size_t i = 0; i < s->places; i++)
		if (s->session[i].pid && s->session[i].line >= 0)
			line_say_word(s->session[i].line, LINE_ALONE);
}

/* The others are looked at first: a sender comes back only after its last session said that it is published, so where its connection shows, the
 * line does too. */
int sessions_poll(struct sessions *s, const struct pollfd others[SESSIONS_OTHERS], int timeout_ms)
{
	int n;

	memcpy(s->polled, others, SESSIONS_OTHERS * sizeof(*others));
	for (size_t i = 0; i < s->places; i++)
		s->polled[SESSIONS_OTHERS + i] = (struct pollfd){ .fd = s->session[i].pid ? s->session[i].line : -1, .events = POLLIN };
	n = poll(s->polled, SESSIONS_OTHERS + s->places, timeout_ms);
	for (size_t i = 0; n > 0 && i < s->places; i++)
		if (s->polled[SESSIONS_OTHERS + i].revents)
			hear(s, &s->session[i]);
	return n;
}

/* It could not clean up behind itself. Opening an aside removes those that were left. */
static void clean_up_after(const struct ps_session *dead)
{
	cleanup_fd int dir = open(dead->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct aside a = { .dir = -1 };
	struct err e = { 0 };

	if (dir < 0)
		return;
	if (aside_open(&a, dir, &e) == 0)
		aside_close(&a);
	rmdir(dead->path);
}

/* By TLS, before there was a session. */
static bool kept_out(int status)
{
	return WIFEXITED(status) && WEXITSTATUS(status) & KEPT_OUT;
}

static bool joined(int status)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == JOINS;
}

static unsigned outcome_of(const struct ps_session *dead, int status)
{
	if (WIFEXITED(status))
		return (unsigned)WEXITSTATUS(status) & ~KEPT_OUT;
	return dead->dropped ? ERR_LIMIT : METRIC_KILLED;
}

/* Whoever began no session takes no number: the next one has it, and its directory. */
static void give_number_back(struct sessions *s, const struct ps_session *dead)
{
	s->number -= s->number == dead->number;
}

static void joined_another(struct sessions *s, const struct ps_session *dead)
{
	give_number_back(s, dead);
	metrics_row_end(dead->row);
	metrics_set(s->metrics, METRIC_PS_RUNNING, --s->running);
}

/* A round that failed may have cost the sender its record of what changed since the one before: that must be nobody's parent any more. */
static void session_ended(struct sessions *s, struct ps_session *dead, int status)
{
	bool said; /* then it has counted itself */

	if (WIFSIGNALED(status) && !dead->dropped)
		log_event(LOG_ERROR, "session-killed", "session=%" PRIu64 " peer=%s signal=%d", dead->number, dead->peer, WTERMSIG(status));
	if (WIFSIGNALED(status) && !s->options->lazy_pages)
		clean_up_after(dead);
	if (dead->line >= 0)
		hear(s, dead);
	said = dead->begun;
	begun(s, dead);
	if (!dead->published && !kept_out(status) && !joined(status))
		chains_forget(&s->chains, dead->peer);
	if (dead->line >= 0)
		close(dead->line);
	free(dead->path);
	dead->path = NULL;
	dead->pid = 0;
	if (joined(status)) {
		joined_another(s, dead);
		return;
	}
	if (!said)
		give_number_back(s, dead);
	metrics_add(s->metrics, METRIC_PS_ACCEPTED, 0, !said);
	ps_count_end(s->metrics, dead->row, outcome_of(dead, status), kept_out(status), --s->running);
}

void sessions_reap(struct sessions *s)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (size_t i = 0; i < s->places; i++)
			if (s->session[i].pid == pid)
				session_ended(s, &s->session[i], status);
		if (pid == s->helper) {
			s->helper = 0;
			s->helper_status = status;
		}
	}
}

void sessions_end(struct sessions *s)
{
	for (size_t i = 0; i < s->places; i++)
		if (s->session[i].pid)
			kill(s->session[i].pid, SIGTERM);
}

void sessions_finish(struct sessions *s)
{
	for (size_t i = 0; i < s->places; i++)
		free(s->session[i].path);
	chains_finish(&s->chains);
	free(s->session);
	free(s->polled);
}
