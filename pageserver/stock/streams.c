/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/streams_priv.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/le.h"
#include "proto/base/log.h"
#include "proto/wire/ps_native.h"

enum { TELL_EVERY = 512 * 1024 /* bytes taken between two words on that; a sender holds more */ };

static void say(struct streams *s, uint32_t value, uint16_t kind)
{
	pthread_mutex_lock(&s->lock);
	streams_say(s, value, kind);
	pthread_mutex_unlock(&s->lock);
}

/* --- which command is next ------------------------------------------------------------------------------------------------------ */

static bool head(struct streams *s, unsigned i, uint64_t *number)
{
	const struct ps_input *in = streams_input(s, i);

	if (s->conn[i].fd < 0 || in->to - in->from < PS_NUMBER)
		return false;
	*number = le64_get(in->buf + in->from);
	return true;
}

/* 2: it is none yet. */
static int try_one(struct streams *s, unsigned i)
{
	uint32_t told = s->conn[i].told;
	uint64_t number;
	bool again;

	if (!head(s, i, &number))
		return 2;
	if (number == PS_OVER)
		return i == 0 ? -ECANCELED : -EPROTO;
	again = i == 0 && s->question && number + 1 == s->next;
	if (number < s->next && !again)
		return -EPROTO;
	if (number > s->next)
		return 2;
	if (told && (again || i != s->part_of || told != s->part))
		return -EPROTO;
	s->taking = !again;
	s->resumes = told > 0;
	s->conn[i].told = 0;
	streams_become_current(s, i);
	s->in->from += PS_NUMBER;
	s->busy = i;
	return again;
}

/* What came in the place of another is looked at first: nothing is taken any more of what that one brought. */
static int try_all(struct streams *s)
{
	int rc;

	pthread_mutex_lock(&s->lock);
	s->busy = STREAMS_MAX;
	streams_admit(s);
	rc = try_one(s, s->current);
	for (unsigned i = 0; rc == 2 && i < s->used; i++)
		rc = try_one(s, i);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

/* How long until a connection that is cut is given up; -1: none is; 0: now. */
static int grace_ms(const struct streams *s)
{
	uint64_t end = UINT64_MAX, now = clock_us();

	for (unsigned i = 0; i < s->used; i++) {
		uint64_t until = s->conn[i].cut_us + s->rules.grace_ms * 1000ull;

		if (s->conn[i].cut_us)
			end = until < end ? until : end;
	}
	if (end == UINT64_MAX)
		return -1;
	return end > now ? (int)((end - now) / 1000 + 1) : 0;
}

static bool is_alone(struct streams *s)
{
	bool alone;

	pthread_mutex_lock(&s->lock);
	alone = s->alone;
	pthread_mutex_unlock(&s->lock);
	return alone;
}

/* One of which more is to come: reads of it what is there. */
static void read_on(struct streams *s, unsigned i)
{
	struct ps_input *in = streams_input(s, i);
	uint64_t before = in->received;
	const uint8_t *bytes;
	int rc = ps_input_peek(in, PS_NUMBER, &bytes);

	if (in != s->in)
		s->in->received += in->received - before;
	if (rc < 0)
		streams_lose(s, i, rc);
}

/* Only those are looked at of which no number is here. */
static int wait_for_more(struct streams *s)
{
	struct pollfd p[STREAMS_MAX + 1] = { { .fd = s->wake, .events = POLLIN } };
	int patience = ps_input_patience_ms(s->in), grace = grace_ms(s), n;
	unsigned open = 0;
	uint64_t number;

	for (unsigned i = 0; i < s->used; i++) {
		bool wanted = s->conn[i].fd >= 0 && !head(s, i, &number);

		p[i + 1] = (struct pollfd){ .fd = wanted ? streams_input(s, i)->fd : -1, .events = POLLIN };
		open += wanted;
	}
	if (grace == 0 || (grace > 0 && is_alone(s)))
		return -ENOTCONN;
	if (!open && grace < 0)
		return -EPROTO; /* the next one was never said */
	if (patience == 0)
		return -ETIMEDOUT;
	n = poll(p, s->used + 1, grace >= 0 && (patience < 0 || grace < patience) ? grace : patience);
	if (n < 0 && errno != EINTR)
		return -errno;
	if (n == 0 && grace < 0)
		return -ETIMEDOUT;
	for (unsigned i = 0; n > 0 && i < s->used; i++)
		if (p[i + 1].revents)
			read_on(s, i);
	return 0;
}

static void tell_taken(struct streams *s)
{
	if (s->closed || s->in->received - s->told_bytes < TELL_EVERY) /* behind the status nobody reads */
		return;
	s->told_bytes = s->in->received;
	say(s, (uint32_t)s->next, PS_NATIVE_TAKEN);
}

int streams_next(struct streams *s)
{
	int rc;

	tell_taken(s);
	while ((rc = try_all(s)) == 2) {
		rc = wait_for_more(s);
		if (rc < 0)
			return rc;
	}
	return rc;
}

int streams_why_cut(const struct streams *s)
{
	return s->why;
}

bool streams_resumes(const struct streams *s)
{
	return s->resumes;
}

void streams_taken(struct streams *s, bool question)
{
	pthread_mutex_lock(&s->lock);
	s->next++;
	s->part = 0;
	s->busy = STREAMS_MAX;
	s->question = question;
	pthread_mutex_unlock(&s->lock);
}

void streams_cut(struct streams *s, int rc, uint32_t part)
{
	pthread_mutex_lock(&s->lock);
	if (s->taking) {
		s->part = s->rules.parts ? part : 0;
		s->part_of = s->current;
	}
	pthread_mutex_unlock(&s->lock);
	streams_lose(s, s->current, rc);
}

/* --- answers -------------------------------------------------------------------------------------------------------------------- */

void streams_answer_again(struct streams *s)
{
	say(s, s->value, 0);
}

void streams_answer(struct streams *s, uint32_t value)
{
	s->value = value;
	pthread_mutex_lock(&s->lock);
	if (!s->replaced)
		streams_say(s, value, 0);
	pthread_mutex_unlock(&s->lock);
}

void streams_publish_begin(struct streams *s)
{
	pthread_mutex_lock(&s->lock);
	s->publishing = true;
	pthread_mutex_unlock(&s->lock);
}

void streams_publish_end(struct streams *s)
{
	pthread_mutex_lock(&s->lock);
	s->publishing = false;
	pthread_mutex_unlock(&s->lock);
}

void streams_see_off(struct streams *s, unsigned patience_ms)
{
	const uint8_t *header;
	int rc;

	s->closed = true;
	if (patience_ms < s->rules.grace_ms)
		patience_ms = s->rules.grace_ms;
	for (unsigned i = 0; i < s->used; i++) {
		streams_input(s, i)->idle_ms = 0;
		streams_input(s, i)->deadline_us = clock_us() + patience_ms * 1000ull;
	}
	while ((rc = streams_next(s)) == 1 && (rc = ps_input_take(s->in, PS_HEADER_MAX, &header)) == 0)
		streams_answer_again(s);
	if (rc != -ECANCELED)
		log_event(LOG_WARN, "page-server-lingers", "reason=\"the sender did not hang up\"");
}

/* Until the sender hangs up. False: it was cut. */
static bool say_and_linger(struct streams *s, const void *words, size_t len, uint64_t end)
{
	uint64_t now = clock_us();

	if (send(s->first, words, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len && shutdown(s->first, SHUT_WR) == 0 &&
	    ps_input_drain(s->in, now < end ? (unsigned)((end - now) / 1000) : 0) == 0)
		return true;
	streams_lose(s, 0, -ECONNRESET);
	return false;
}

void streams_fail(struct streams *s, const void *words, size_t len, unsigned patience_ms)
{
	uint64_t end = clock_us() + patience_ms * 1000ull;

	for (;;) {
		struct pollfd p = { .fd = s->wake, .events = POLLIN };
		uint64_t now = clock_us();

		pthread_mutex_lock(&s->lock);
		s->busy = STREAMS_MAX;
		streams_admit(s);
		pthread_mutex_unlock(&s->lock);
		streams_become_current(s, 0);
		if (s->first >= 0 && say_and_linger(s, words, len, end))
			return;
		if (now >= end || is_alone(s) || poll(&p, 1, (int)((end - now) / 1000 + 1)) <= 0)
			return;
	}
}

/* --- lifetime ------------------------------------------------------------------------------------------------------------------- */

const struct stream_token *streams_token(const struct streams *s)
{
	return &s->token;
}

struct streams *streams_create(struct ps_input *in, const struct streams_rules *rules)
{
	struct streams *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	*s = (struct streams){ .rules = *rules, .in = in, .used = 1, .first = in->fd, .busy = STREAMS_MAX, .wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				    .end = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	for (unsigned i = 0; i < STREAMS_MAX; i++)
		s->conn[i] = (struct conn){ .in.fd = -1, .fd = -1, .next_fd = -1 };
	s->conn[0].fd = in->fd;
	s->conn[0].borrowed = true;
	stream_token_new(&s->token);
	pthread_mutex_init(&s->lock, NULL);
	if (s->wake >= 0 && s->end >= 0 && pthread_create(&s->thread, NULL, streams_attend, s) == 0)
		return s;
	cleanup_fd_(&s->wake);
	cleanup_fd_(&s->end);
	free(s);
	return NULL;
}

void streams_destroy(struct streams *s)
{
	uint64_t one = 1;

	if (!s)
		return;
	streams_become_current(s, 0);
	pthread_mutex_lock(&s->lock);
	s->over = true;
	pthread_mutex_unlock(&s->lock);
	if (write(s->end, &one, sizeof(one)) < 0)
		log_event(LOG_DEBUG, "stream-end", "errno=%d", errno);
	pthread_join(s->thread, NULL);
	for (unsigned i = 0; i < STREAMS_MAX; i++) {
		struct conn *c = &s->conn[i];

		if (c->next_fd >= 0)
			close(c->next_fd);
		if (c->fd >= 0 && !c->borrowed)
			close(c->fd);
		if (i > 0)
			ps_input_finish(&c->in);
	}
	close(s->wake);
	close(s->end);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
