/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/streams.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pageserver/stock/line.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/le.h"
#include "proto/base/log.h"
#include "proto/wire/ps_native.h"
#include "proto/wire/stream_ack.h"

enum { TELL_EVERY = 512 * 1024 /* bytes taken between two words on that; a sender holds more */ };

struct conn {
	struct ps_input in; /* but for the current one, which the receiver has */
	bool borrowed;
	uint64_t cut_us;    /* since when it is cut; 0: it is not, or never was here */
	int fd;             /* changed under the lock; -1: it is not here */
	int next_fd;        /* under the lock: comes in its place; -1 */
	bool welcomed;      /* it has been told what was taken */
};

struct ps_streams {
	struct ps_streams_rules rules;
	struct ps_input *in;
	struct stream_token token;
	struct conn conn[STREAMS_MAX];
	unsigned current, used; /* used: no connection had a higher index */
	uint64_t next;       /* number of the next command; changed under the lock */
	uint64_t told_bytes; /* received when the sender was told last */
	bool question;       /* the last command was one, and this its answer: */
	uint32_t value;
	int why;             /* the last cut */
	bool closed;         /* the last command was taken */
	int wake;            /* readable: there is a next_fd, or the server is gone */
	int end;             /* readable: the thread is to end */
	pthread_t thread;
	pthread_mutex_t lock; /* what the thread touches, too: */
	bool over, alone;     /* it is to end; no more connections will come */
	bool came;            /* there is something to be looked at; then wake is readable, too */
	bool publishing;
	unsigned busy;        /* the connection that a command is being taken from; STREAMS_MAX: none is */
	int first;            /* the first connection, where answers go; -1: it is cut */
	bool replaced;        /* while the set was published it was: the question comes again on it */
};

/* --- the thread that takes connections ------------------------------------------------------------------------------------------ */

static void wake(struct ps_streams *s)
{
	uint64_t one = 1;

	s->came = true;
	if (write(s->wake, &one, sizeof(one)) < 0) {
	} /* can't fail but at its maximum, which wakes all the same */
}

static void welcome(int fd, unsigned index, uint64_t next)
{
	struct hello h = { .version = HELLO_VERSION, .role = HELLO_IMAGES_MORE, .index = index, .features = HELLO_FEATURE_NUMBERED,
			   .max_frame_pages = PS_FRAME_PAGES };
	uint8_t bytes[HELLO_SIZE + STREAM_ACK_SIZE];

	hello_encode(&h, bytes);
	stream_ack_encode(next, bytes + HELLO_SIZE);
	if (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_event(LOG_DEBUG, "stream-welcome", "errno=%d", errno); /* who reads next finds it cut */
}

/* With the lock held. The one before is ended, so that whoever reads from it stops. Where nobody does, what was taken is known: the sender is told at once, and need
 * not wait until something else was received, which it may be that has to say it. While the set is published it is known too: the question will come again. */
static void put_next(struct ps_streams *s, unsigned index, int fd)
{
	struct conn *c = &s->conn[index];

	if (c->next_fd >= 0)
		close(c->next_fd);
	if (c->next_fd >= 0 && s->first == c->next_fd)
		s->first = -1;
	c->next_fd = fd;
	c->welcomed = s->publishing || s->busy != index;
	if (c->welcomed)
		welcome(fd, index, s->next);
	if (c->welcomed && index == 0)
		s->first = fd;
	if (s->publishing && index == 0)
		s->replaced = true;
	if (c->fd >= 0)
		shutdown(c->fd, SHUT_RDWR);
	wake(s);
}

static void take_hello(struct ps_streams *s, const struct line_message *m)
{
	struct hello h;

	if (hello_decode(m->hello, &h) == 0 && h.role == HELLO_IMAGES_MORE && stream_token_equal(&h.token, &s->token))
		put_next(s, h.index, m->fd);
	else
		close(m->fd);
}

static void be_alone(struct ps_streams *s)
{
	s->alone = true;
	wake(s);
}

static void hear(struct ps_streams *s)
{
	struct line_message m;
	int rc;

	while ((rc = line_hear(s->rules.line, &m)) > 0) {
		if (m.word == LINE_ALONE)
			be_alone(s);
		if (m.fd >= 0)
			take_hello(s, &m);
	}
	if (rc < 0)
		be_alone(s);
}

/* With the lock held. */
static void say(const struct ps_streams *s, uint32_t value, uint16_t kind)
{
	const struct ps_native_answer a = { .value = value, .kind = kind };
	uint8_t bytes[PS_NATIVE_ANSWER];

	ps_native_answer_encode(&a, bytes);
	if (s->first >= 0 && send(s->first, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_event(LOG_DEBUG, "stream-answer", "errno=%d", errno); /* who reads next finds it cut */
}

static void say_locked(struct ps_streams *s, uint32_t value, uint16_t kind)
{
	pthread_mutex_lock(&s->lock);
	say(s, value, kind);
	pthread_mutex_unlock(&s->lock);
}

static void *attend(void *arg)
{
	struct ps_streams *s = arg;
	struct pollfd p[] = { { .fd = s->rules.line, .events = POLLIN }, { .fd = s->end, .events = POLLIN } };
	uint64_t next = clock_us() + s->rules.alive_ms * 1000ull;

	for (;;) {
		uint64_t now = clock_us();
		int n = poll(p, 2, next > now ? (int)((next - now) / 1000 + 1) : 0);

		pthread_mutex_lock(&s->lock);
		if (s->over)
			break;
		if (n > 0)
			hear(s);
		if (clock_us() >= next) {
			next = clock_us() + s->rules.alive_ms * 1000ull;
			if (s->publishing)
				say(s, 0, PS_NATIVE_ALIVE);
		}
		if (s->alone)
			p[0].fd = -1;
		pthread_mutex_unlock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* --- connections ---------------------------------------------------------------------------------------------------------------- */

static struct ps_input *input(struct ps_streams *s, unsigned i)
{
	return i == s->current ? s->in : &s->conn[i].in;
}

/* What was received is counted on. */
static void become_current(struct ps_streams *s, unsigned i)
{
	if (i == s->current)
		return;
	s->conn[s->current].in = *s->in;
	s->conn[i].in.received = s->in->received;
	*s->in = s->conn[i].in;
	s->current = i;
}

/* With the lock held: the thread shuts what is here. */
static void leave(struct ps_streams *s, unsigned i)
{
	struct conn *c = &s->conn[i];
	struct ps_input *in = input(s, i);

	if (c->fd < 0)
		return;
	shutdown(c->fd, SHUT_RDWR);
	if (s->first == c->fd)
		s->first = -1;
	if (!c->borrowed)
		close(c->fd);
	in->from = in->to = 0;
	in->fd = c->fd = -1;
	c->borrowed = false;
}

static void cut(struct ps_streams *s, unsigned i, int rc)
{
	pthread_mutex_lock(&s->lock);
	leave(s, i);
	pthread_mutex_unlock(&s->lock);
	if (s->closed && i > 0)
		return; /* as it has to be */
	s->conn[i].cut_us = clock_us();
	s->why = rc;
	log_event(LOG_WARN, "stream-cut", "stream=%u command=%llu error=\"%s\"", i, (unsigned long long)s->next, strerrordesc_np(-rc));
	line_say_word(s->rules.line, LINE_CUT);
}

static int begin_input(struct ps_streams *s, unsigned i, int fd)
{
	struct ps_input *in = input(s, i);
	uint8_t *buf = in->buf;
	uint64_t received = in->received;
	int rc = 0;

	if (!buf)
		rc = ps_input_begin(in, fd, true, s->in->idle_ms, s->in->deadline_us);
	else
		*in = (struct ps_input){ .fd = fd, .ahead = true, .buf = buf, .idle_ms = s->in->idle_ms, .deadline_us = s->in->deadline_us };
	in->received = received;
	return rc;
}

/* Takes fd. */
static void come(struct ps_streams *s, unsigned i, int fd)
{
	struct conn *c = &s->conn[i];

	if (c->cut_us || c->fd >= 0)
		log_event(LOG_INFO, "stream-again", "stream=%u command=%llu", i, (unsigned long long)s->next);
	leave(s, i);
	if (begin_input(s, i, fd) < 0) {
		close(fd);
		return;
	}
	c->fd = fd;
	c->cut_us = 0;
	s->used = i >= s->used ? i + 1 : s->used;
	if (i == 0)
		s->first = fd;
	if (!c->welcomed)
		welcome(fd, i, s->next);
}

/* With the lock held. */
static void admit(struct ps_streams *s)
{
	uint64_t count;

	if (!s->came)
		return;
	s->came = false;
	if (read(s->wake, &count, sizeof(count)) < 0)
		log_event(LOG_DEBUG, "stream-wake", "errno=%d", errno);
	for (unsigned i = 0; i < STREAMS_MAX; i++) {
		int fd = s->conn[i].next_fd;

		s->conn[i].next_fd = -1;
		if (fd >= 0)
			come(s, i, fd);
	}
	s->replaced = false;
}

/* --- which command is next ------------------------------------------------------------------------------------------------------ */

static bool head(struct ps_streams *s, unsigned i, uint64_t *number)
{
	const struct ps_input *in = input(s, i);

	if (s->conn[i].fd < 0 || in->to - in->from < PS_NUMBER)
		return false;
	*number = le64_get(in->buf + in->from);
	return true;
}

/* 2: it is none yet. */
static int try_one(struct ps_streams *s, unsigned i)
{
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
	become_current(s, i);
	s->in->from += PS_NUMBER;
	s->busy = i;
	return again;
}

/* What came in the place of another is looked at first: nothing is taken any more of what that one brought. */
static int try_all(struct ps_streams *s)
{
	int rc;

	pthread_mutex_lock(&s->lock);
	s->busy = STREAMS_MAX;
	admit(s);
	rc = try_one(s, s->current);
	for (unsigned i = 0; rc == 2 && i < s->used; i++)
		rc = try_one(s, i);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

/* How long until a connection that is cut is given up; -1: none is; 0: now. */
static int grace_ms(const struct ps_streams *s)
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

static bool is_alone(struct ps_streams *s)
{
	bool alone;

	pthread_mutex_lock(&s->lock);
	alone = s->alone;
	pthread_mutex_unlock(&s->lock);
	return alone;
}

/* One of which more is to come: reads of it what is there. */
static void read_on(struct ps_streams *s, unsigned i)
{
	struct ps_input *in = input(s, i);
	uint64_t before = in->received;
	const uint8_t *bytes;
	int rc = ps_input_peek(in, PS_NUMBER, &bytes);

	if (in != s->in)
		s->in->received += in->received - before;
	if (rc < 0)
		cut(s, i, rc);
}

/* Only those are looked at of which no number is here. */
static int wait_for_more(struct ps_streams *s)
{
	struct pollfd p[STREAMS_MAX + 1] = { { .fd = s->wake, .events = POLLIN } };
	int patience = ps_input_patience_ms(s->in), grace = grace_ms(s), n;
	unsigned open = 0;
	uint64_t number;

	for (unsigned i = 0; i < s->used; i++) {
		bool wanted = s->conn[i].fd >= 0 && !head(s, i, &number);

		p[i + 1] = (struct pollfd){ .fd = wanted ? input(s, i)->fd : -1, .events = POLLIN };
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

static void tell_taken(struct ps_streams *s)
{
	if (s->closed || s->in->received - s->told_bytes < TELL_EVERY) /* behind the status nobody reads */
		return;
	s->told_bytes = s->in->received;
	say_locked(s, (uint32_t)s->next, PS_NATIVE_TAKEN);
}

int streams_next(struct ps_streams *s)
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

int streams_why_cut(const struct ps_streams *s)
{
	return s->why;
}

void streams_taken(struct ps_streams *s, bool question)
{
	pthread_mutex_lock(&s->lock);
	s->next++;
	s->busy = STREAMS_MAX;
	s->question = question;
	pthread_mutex_unlock(&s->lock);
}

void streams_cut(struct ps_streams *s, int rc)
{
	cut(s, s->current, rc);
}

/* --- answers -------------------------------------------------------------------------------------------------------------------- */

void streams_answer_again(struct ps_streams *s)
{
	say_locked(s, s->value, 0);
}

void streams_answer(struct ps_streams *s, uint32_t value)
{
	s->value = value;
	pthread_mutex_lock(&s->lock);
	if (!s->replaced)
		say(s, value, 0);
	pthread_mutex_unlock(&s->lock);
}

void streams_publish_begin(struct ps_streams *s)
{
	pthread_mutex_lock(&s->lock);
	s->publishing = true;
	pthread_mutex_unlock(&s->lock);
}

void streams_publish_end(struct ps_streams *s)
{
	pthread_mutex_lock(&s->lock);
	s->publishing = false;
	pthread_mutex_unlock(&s->lock);
}

void streams_see_off(struct ps_streams *s, unsigned patience_ms)
{
	const uint8_t *header;
	int rc;

	s->closed = true;
	if (patience_ms < s->rules.grace_ms)
		patience_ms = s->rules.grace_ms;
	for (unsigned i = 0; i < s->used; i++) {
		input(s, i)->idle_ms = 0;
		input(s, i)->deadline_us = clock_us() + patience_ms * 1000ull;
	}
	while ((rc = streams_next(s)) == 1 && (rc = ps_input_take(s->in, PS_HEADER_MAX, &header)) == 0)
		streams_answer_again(s);
	if (rc != -ECANCELED)
		log_event(LOG_WARN, "page-server-lingers", "reason=\"the sender did not hang up\"");
}

/* Until the sender hangs up. False: it was cut. */
static bool say_and_linger(struct ps_streams *s, const void *words, size_t len, uint64_t end)
{
	uint64_t now = clock_us();

	if (send(s->first, words, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len && shutdown(s->first, SHUT_WR) == 0 &&
	    ps_input_drain(s->in, now < end ? (unsigned)((end - now) / 1000) : 0) == 0)
		return true;
	cut(s, 0, -ECONNRESET);
	return false;
}

void streams_fail(struct ps_streams *s, const void *words, size_t len, unsigned patience_ms)
{
	uint64_t end = clock_us() + patience_ms * 1000ull;

	for (;;) {
		struct pollfd p = { .fd = s->wake, .events = POLLIN };
		uint64_t now = clock_us();

		pthread_mutex_lock(&s->lock);
		s->busy = STREAMS_MAX;
		admit(s);
		pthread_mutex_unlock(&s->lock);
		become_current(s, 0);
		if (s->first >= 0 && say_and_linger(s, words, len, end))
			return;
		if (now >= end || is_alone(s) || poll(&p, 1, (int)((end - now) / 1000 + 1)) <= 0)
			return;
	}
}

/* --- lifetime ------------------------------------------------------------------------------------------------------------------- */

const struct stream_token *streams_token(const struct ps_streams *s)
{
	return &s->token;
}

struct ps_streams *streams_create(struct ps_input *in, const struct ps_streams_rules *rules)
{
	struct ps_streams *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	*s = (struct ps_streams){ .rules = *rules, .in = in, .used = 1, .first = in->fd, .busy = STREAMS_MAX, .wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				    .end = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	for (unsigned i = 0; i < STREAMS_MAX; i++)
		s->conn[i] = (struct conn){ .in.fd = -1, .fd = -1, .next_fd = -1 };
	s->conn[0].fd = in->fd;
	s->conn[0].borrowed = true;
	stream_token_new(&s->token);
	pthread_mutex_init(&s->lock, NULL);
	if (s->wake >= 0 && s->end >= 0 && pthread_create(&s->thread, NULL, attend, s) == 0)
		return s;
	cleanup_fd_(&s->wake);
	cleanup_fd_(&s->end);
	free(s);
	return NULL;
}

void streams_destroy(struct ps_streams *s)
{
	uint64_t one = 1;

	if (!s)
		return;
	become_current(s, 0);
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
