/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/pagesink/ps_streams.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migrate/pagesink/ps_held.h"
#include "proto/base/io.h"
#include "proto/base/le.h"
#include "proto/base/log.h"
#include "proto/base/plain_text.h"
#include "proto/base/tls_control.h"
#include "proto/wire/ps_native.h"
#include "proto/wire/stream_ack.h"

enum {
	GATHER = 64,              /* commands that are sent at once */
	HEAR_EVERY = 256 * 1024,  /* bytes said between two looks at what the server says */
	AGAIN_MS = 20, AGAIN_MAX_MS = 1000, /* between attempts to connect */
	ATTEMPT_MS = 10 * 1000,   /* for the server to answer one */
	FRUITLESS = 4,            /* so many new connections in a row on which nothing more was taken, and then for patience_ms: the session is stuck */
	WORDS_MS = 5000,          /* for what a server that ended the session said about it */
	GIVE_UP_MS = 1000,        /* for what is under way, before the session is given up */
};

struct conn {
	int fd;
	bool borrowed;
	uint64_t at;   /* place of the first of its commands that is not wholly sent */
	size_t sent;   /* bytes of that one */
	uint64_t load; /* bytes that are not sent */
	uint64_t moved_us;
	int queued;    /* in the kernel, when that was looked at last */
};

struct ps_streams {
	struct ps_streams_config c;
	struct ps_held held;
	struct conn conn[STREAMS_MAX];
	unsigned turn;      /* whose the next frame is, where all have the same to send */
	unsigned again, fruitless;
	uint32_t part;      /* of the oldest command that is held, which the server has, as it said last */
	uint64_t taken_us;  /* when something was taken last, or a question begun */
	bool over;          /* no more connections are made */
	uint64_t heard_us;  /* when the server last said something */
	uint64_t waiting_us; /* since when it is waited for */
	size_t unheard;     /* bytes said since it was looked for */
	bool asked, answered; /* a question is under way; its answer is here */
	uint64_t question_number;
	uint8_t question[PS_NUMBER + PS_HEADER_MAX];
	uint32_t value;
	uint8_t in[PS_NATIVE_ANSWER]; /* of the first connection: part of what comes */
	size_t have;
};

static int again(struct ps_streams *s, unsigned i, int num, struct err *e);

/* --- what the server says ------------------------------------------------------------------------------------------------------- */

static int not_as_agreed(struct err *e)
{
	return err_set(e, ERR_PROTOCOL, 0, "the page server answers what is no answer");
}

/* The next one of a connection that is not wholly sent. */
static bool unsent(struct ps_streams *s, unsigned i, struct ps_held_item *item)
{
	struct conn *c = &s->conn[i];

	while (ps_held_at(&s->held, c->at, item)) {
		if (item->stream == i)
			return true;
		c->at = item->after;
	}
	return false;
}

static int taken(struct ps_streams *s, uint64_t next, struct err *e)
{
	struct ps_held_item item;

	if (next > s->held.next)
		return not_as_agreed(e);
	for (unsigned i = 0; i < s->c.streams; i++)
		if (unsent(s, i, &item) && item.number < next)
			return not_as_agreed(e);
	if (next > s->held.first) {
		s->part = 0;
		s->fruitless = 0;
		s->taken_us = clock_us();
	}
	ps_held_let_go(&s->held, next);
	return 0;
}

/* The rest of an answer that is an error. */
static int failure_said(const struct ps_streams *s, const struct ps_native_answer *a, struct err *e)
{
	char text[sizeof(e->text)];

	if (tls_recv_within(s->conn[0].fd, text, a->text, WORDS_MS) < 0)
		return err_set(e, ERR_PEER, 0, "the page server ended the session; its log says why");
	text[a->text] = '\0';
	plain_text(text, a->text);
	return err_set(e, ERR_PEER, 0, "the page server says: %s", text);
}

static int on_answer(struct ps_streams *s, struct err *e)
{
	struct ps_native_answer a;

	if (ps_native_answer_decode(s->in, &a) < 0)
		return not_as_agreed(e);
	s->heard_us = clock_us();
	if (a.kind == PS_NATIVE_ALIVE)
		return 0;
	if (a.kind == PS_NATIVE_TAKEN)
		return taken(s, ps_native_taken(s->held.first, a.value), e);
	if (a.kind)
		return failure_said(s, &a, e);
	if (!s->asked || s->answered)
		return err_set(e, ERR_PROTOCOL, 0, "the page server answers what it was not asked");
	s->answered = true;
	s->value = a.value;
	return taken(s, s->question_number + 1, e);
}

/* 1: there is no more; 0; -1: *num, or e where that is 0. */
static int hear_one(struct ps_streams *s, int *num, struct err *e)
{
	ssize_t n = tls_recv(s->conn[0].fd, s->in + s->have, sizeof(s->in) - s->have, MSG_DONTWAIT);

	*num = 0;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return errno == EAGAIN;
	if (n <= 0) {
		*num = n < 0 ? errno : EPIPE;
		return -1;
	}
	s->have += (size_t)n;
	if (s->have < sizeof(s->in))
		return 0;
	s->have = 0;
	return on_answer(s, e);
}

static int hear(struct ps_streams *s, struct err *e)
{
	int rc, num;

	s->unheard = 0;
	do
		rc = hear_one(s, &num, e);
	while (rc == 0);
	return rc < 0 && num ? again(s, 0, num, e) : rc < 0 ? -1 : 0;
}

/* Of a connection that will not be: what the server may have said about it, which is what is to be told. */
static bool hear_words(struct ps_streams *s, unsigned wait_ms, struct err *e)
{
	struct err said = { 0 };
	int rc, num;

	do
		rc = hear_one(s, &num, &said);
	while (rc == 0 || (rc > 0 && wait_ms && wait_readable(s->conn[0].fd, (int)wait_ms) > 0));
	if (rc < 0 && !num)
		*e = said;
	return rc < 0 && !num;
}

/* --- a connection in the place of one that was cut ------------------------------------------------------------------------------ */

static int refused(const struct hello *h, bool *hopeless, struct err *e)
{
	*hopeless = h->status != HELLO_BUSY;
	return err_set(e, ERR_PEER, 0, h->status == HELLO_UNKNOWN_ID ? "the page server has given up the session" :
					"the page server of version %u refuses it (status %u)", h->version, h->status);
}

static int join_failed(int rc, struct err *e)
{
	return rc == -ETIMEDOUT ? err_set(e, ERR_TIMEOUT, 0, "the page server does not answer") :
				  err_set(e, ERR_PEER, peer_errno(-rc), "the page server cut it again");
}

/* Says whose connection it is, and hears what the session has taken. */
static int join(const struct ps_streams *s, unsigned i, int fd, uint64_t *next, uint32_t *part, bool *hopeless, struct err *e)
{
	struct hello h = { .version = HELLO_VERSION, .role = HELLO_IMAGES_MORE, .index = i, .features = HELLO_FEATURE_NUMBERED, .token = s->c.token };
	uint8_t bytes[HELLO_SIZE], ack[STREAM_ACK_SIZE];
	int rc;

	hello_encode(&h, bytes);
	rc = write_full(fd, bytes, sizeof(bytes));
	if (rc == 0)
		rc = tls_recv_within(fd, bytes, sizeof(bytes), ATTEMPT_MS);
	if (rc < 0)
		return join_failed(rc, e);
	if (hello_decode(bytes, &h) < 0 || h.status != HELLO_OK || h.role != HELLO_IMAGES_MORE)
		return refused(&h, hopeless, e);
	rc = tls_recv_within(fd, ack, sizeof(ack), ATTEMPT_MS);
	if (rc < 0)
		return join_failed(rc, e);
	return stream_ack_decode_part(ack, next, part) < 0 || (*part && !s->c.parts) ? not_as_agreed(e) : 0;
}

static void drop(struct conn *c)
{
	if (c->fd < 0)
		return;
	shutdown(c->fd, SHUT_RDWR);
	if (!c->borrowed)
		close(c->fd);
	c->fd = -1;
	c->borrowed = false;
}

static void begin_again(struct ps_streams *s, unsigned i)
{
	struct conn *c = &s->conn[i];
	struct ps_held_item item;

	c->sent = 0;
	c->load = 0;
	c->at = s->held.from;
	c->moved_us = clock_us();
	c->queued = 0;
	for (uint64_t at = c->at; ps_held_at(&s->held, at, &item); at = item.after)
		c->load += item.stream == i ? item.len : 0;
}

/* The first command goes on behind what the server has of it, its number before that. */
static int skip_part(struct ps_streams *s, unsigned i, uint64_t next, uint32_t part, struct err *e)
{
	struct conn *c = &s->conn[i];
	struct ps_held_item item;

	if (!unsent(s, i, &item) || item.number != next || part >= item.len - PS_NUMBER)
		return not_as_agreed(e);
	if (part > s->part) {
		s->fruitless = 0;
		s->taken_us = clock_us();
	}
	s->part = part;
	c->sent = PS_NUMBER + part;
	c->load -= c->sent;
	if (write_full(c->fd, item.bytes, PS_NUMBER) < 0)
		shutdown(c->fd, SHUT_RDWR); /* found out by who sends or waits next */
	return 0;
}

/* Goes on behind what the server has. A question that it has, and whose answer was on the connection before, is asked again. */
static int go_on(struct ps_streams *s, unsigned i, int fd, uint64_t next, uint32_t part, struct err *e)
{
	bool ask = i == 0 && s->asked && !s->answered && next > s->question_number;

	s->conn[i].fd = fd;
	s->conn[i].borrowed = false;
	s->conn[i].at = s->held.to; /* nothing of it is unsent, as far as the others' acknowledgements go */
	if (i == 0)
		s->have = 0;
	if (taken(s, next, e) < 0)
		return -1;
	begin_again(s, i);
	s->heard_us = clock_us();
	if (part && skip_part(s, i, next, part, e) < 0)
		return -1;
	if (ask && write_full(fd, s->question, sizeof(s->question)) < 0)
		shutdown(fd, SHUT_RDWR); /* found out by whoever waits for the answer */
	return 0;
}

static int attempt(struct ps_streams *s, unsigned i, bool *hopeless, struct err *e)
{
	int fd = s->c.connect(s->c.arg, e);
	uint64_t next = 0;
	uint32_t part = 0;

	if (fd < 0)
		return 1;
	if (join(s, i, fd, &next, &part, hopeless, e) == 0)
		return go_on(s, i, fd, next, part, e);
	close(fd);
	return 1;
}

static int lost(struct ps_streams *s, unsigned i, int num, const struct err *why, struct err *e)
{
	if (i > 0 && hear_words(s, WORDS_MS, e))
		return -1;
	return err_set(e, num == ETIMEDOUT ? ERR_TIMEOUT : ERR_PEER, peer_errno(num), "the connection to the page server was cut, and could not be made again: %s",
		       why->text[0] ? why->text : "it is cut again at once");
}

static bool stuck(const struct ps_streams *s)
{
	return s->over || (s->fruitless >= FRUITLESS && clock_us() - s->taken_us > s->c.patience_ms * 1000ull);
}

/* num: what became of the connection before. */
static int again(struct ps_streams *s, unsigned i, int num, struct err *e)
{
	uint64_t end = clock_us() + s->c.patience_ms * 1000ull;
	struct err why = { 0 };
	bool hopeless = false;
	int rc = 1;

	if (hear_words(s, 0, e))
		return -1;
	log_event(LOG_WARN, "stream-cut", "stream=%u command=%llu error=\"%s\"", i, (unsigned long long)s->held.first, strerrordesc_np(num));
	drop(&s->conn[i]);
	if (s->fruitless)
		poll(NULL, 0, AGAIN_MS);
	for (int pause = AGAIN_MS; !stuck(s); pause = pause * 2 > AGAIN_MAX_MS ? AGAIN_MAX_MS : pause * 2) {
		rc = attempt(s, i, &hopeless, &why);
		if (rc <= 0 || hopeless || clock_us() >= end)
			break;
		if (i > 0 && hear_words(s, 0, e))
			return -1;
		poll(NULL, 0, pause);
	}
	if (rc < 0)
		*e = why;
	if (rc > 0)
		lost(s, i, num, &why, e);
	if (rc)
		return -1;
	s->again++;
	s->fruitless++;
	log_event(LOG_INFO, "stream-again", "stream=%u command=%llu", i, (unsigned long long)s->held.first);
	return 0;
}

/* --- sending -------------------------------------------------------------------------------------------------------------------- */

/* The next ones of a connection, as many as one call takes. */
static int gather(struct ps_streams *s, unsigned i, struct iovec iov[GATHER])
{
	struct conn *c = &s->conn[i];
	struct ps_held_item item;
	size_t skip = c->sent;
	int count = 0;

	if (!unsent(s, i, &item))
		return 0;
	do {
		if (item.stream != i)
			continue;
		iov[count++] = (struct iovec){ item.bytes + skip, item.len - skip };
		skip = 0;
	} while (count < GATHER && ps_held_at(&s->held, item.after, &item));
	return count;
}

static void advance(struct ps_streams *s, unsigned i, size_t sent)
{
	struct conn *c = &s->conn[i];
	struct ps_held_item item;

	c->moved_us = clock_us();
	c->load -= sent;
	while (sent > 0 && unsent(s, i, &item)) {
		size_t part = item.len - c->sent < sent ? item.len - c->sent : sent;

		sent -= part;
		c->sent += part;
		if (c->sent < item.len)
			break;
		c->at = item.after;
		c->sent = 0;
	}
}

/* As far as it goes without waiting. more: something follows on the first connection at once. */
static int push(struct ps_streams *s, unsigned i, bool more, struct err *e)
{
	struct iovec iov[GATHER];
	int count;

	while ((count = gather(s, i, iov)) > 0) {
		struct msghdr m = { .msg_iov = iov, .msg_iovlen = (size_t)count };
		ssize_t n = sendmsg(s->conn[i].fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT | (more && i == 0 ? MSG_MORE : 0));

		if (n >= 0)
			advance(s, i, (size_t)n);
		else if (errno == EAGAIN)
			break;
		else if (errno != EINTR && again(s, i, errno, e) < 0)
			return -1;
	}
	return 0;
}

static int push_all(struct ps_streams *s, bool more, struct err *e)
{
	for (unsigned i = 0; i < s->c.streams; i++)
		if (s->conn[i].load > 0 && s->conn[i].fd >= 0 && push(s, i, more, e) < 0)
			return -1;
	return 0;
}

/* --- waiting -------------------------------------------------------------------------------------------------------------------- */

/* Whose turn it is to let something come on. */
static unsigned awaited(const struct ps_streams *s)
{
	struct ps_held_item item;

	return ps_held_at(&s->held, s->held.from, &item) ? item.stream : 0;
}

/* What the kernel holds and gets rid of is no silence. */
static int silence_left_ms(struct ps_streams *s)
{
	struct conn *c = &s->conn[awaited(s)];
	uint64_t since = c->moved_us > s->heard_us ? c->moved_us : s->heard_us, now = clock_us(), silence = s->c.silence_ms * 1000ull;
	int queued = 0;

	since = s->waiting_us > since ? s->waiting_us : since;
	if (now - since >= silence && ioctl(c->fd, SIOCOUTQ, &queued) == 0 && queued != c->queued) {
		c->queued = queued;
		since = c->moved_us = now;
	}
	return now - since >= silence ? 0 : (int)((silence - (now - since)) / 1000 + 1);
}

/* The others only ever end. */
static int look_at(struct ps_streams *s, unsigned i, struct err *e)
{
	char byte;
	ssize_t n;

	if (i == 0)
		return hear(s, e);
	n = tls_recv(s->conn[i].fd, &byte, 1, MSG_DONTWAIT);
	if (n > 0)
		return not_as_agreed(e);
	return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : again(s, i, n < 0 ? errno : EPIPE, e);
}

/* Until something happens, and what comes of it; at most so long. */
static int wait_and_go_on(struct ps_streams *s, int timeout_ms, struct err *e)
{
	struct pollfd p[STREAMS_MAX];
	int left = silence_left_ms(s), n;

	if (left == 0)
		return again(s, awaited(s), ETIMEDOUT, e);
	for (unsigned i = 0; i < s->c.streams; i++)
		p[i] = (struct pollfd){ .fd = s->conn[i].fd, .events = (short)(POLLIN | (s->conn[i].load > 0 ? POLLOUT : 0)) };
	n = poll(p, s->c.streams, left < timeout_ms ? left : timeout_ms);
	if (n < 0 && errno != EINTR)
		return err_sys(e, "wait for the page server");
	for (unsigned i = 0; n > 0 && i < s->c.streams; i++)
		if (p[i].revents & ~POLLOUT && p[i].fd == s->conn[i].fd && look_at(s, i, e) < 0)
			return -1;
	return push_all(s, false, e);
}

/* --- commands ------------------------------------------------------------------------------------------------------------------- */

static unsigned choose(struct ps_streams *s)
{
	unsigned best = s->turn;

	for (unsigned k = 1; k < s->c.streams; k++) {
		unsigned i = (s->turn + k) % s->c.streams;

		best = s->conn[i].load < s->conn[best].load ? i : best;
	}
	s->turn = (best + 1) % s->c.streams;
	return best;
}

static int hold(struct ps_streams *s, const struct iovec *iov, int count, unsigned stream, struct err *e)
{
	size_t len = PS_NUMBER;
	uint8_t *to;

	for (int i = 0; i < count; i++)
		len += iov[i].iov_len;
	assert(len <= s->held.size / 2);
	if (s->held.from == s->held.to)
		s->taken_us = clock_us();
	s->waiting_us = clock_us();
	while (!(to = ps_held_room(&s->held, len)))
		if (wait_and_go_on(s, (int)s->c.silence_ms, e) < 0)
			return -1;
	le64_put(to, s->held.next);
	to += PS_NUMBER;
	for (int i = 0; i < count; to += iov[i].iov_len, i++)
		memcpy(to, iov[i].iov_base, iov[i].iov_len);
	ps_held_add(&s->held, len, stream);
	s->conn[stream].load += len;
	s->unheard += len;
	return 0;
}

int ps_streams_say(struct ps_streams *s, const struct iovec *iov, int count, bool frame, struct err *e)
{
	if (hold(s, iov, count, frame ? choose(s) : 0, e) < 0)
		return -1;
	if (s->unheard >= HEAR_EVERY && hear(s, e) < 0)
		return -1;
	return push_all(s, true, e);
}

int ps_streams_ask(struct ps_streams *s, const void *command, int timeout_ms, uint32_t *value, struct err *e)
{
	struct iovec iov = { (void *)(uintptr_t)command, PS_HEADER_MAX };

	s->question_number = s->held.next;
	le64_put(s->question, s->question_number);
	memcpy(s->question + PS_NUMBER, command, PS_HEADER_MAX);
	if (hold(s, &iov, 1, 0, e) < 0)
		return -1;
	s->asked = true;
	s->answered = false;
	s->heard_us = s->waiting_us = s->taken_us = clock_us();
	if (push_all(s, false, e) < 0)
		return -1;
	while (!s->answered) {
		if (clock_us() - s->heard_us >= (uint64_t)timeout_ms * 1000)
			return err_set(e, ERR_TIMEOUT, 0, "the page server did not answer in %d s", timeout_ms / 1000);
		if (wait_and_go_on(s, timeout_ms, e) < 0)
			return -1;
	}
	s->asked = false;
	*value = s->value;
	return 0;
}

/* --- lifetime ------------------------------------------------------------------------------------------------------------------- */

static int connect_others(struct ps_streams *s, struct err *e)
{
	for (unsigned i = 1; i < s->c.streams; i++) {
		bool hopeless;

		if (attempt(s, i, &hopeless, e) != 0)
			return err_wrap(e, "connection %u of %u", i + 1, s->c.streams);
	}
	return 0;
}

static void close_all(struct ps_streams *s)
{
	for (unsigned i = 1; i < s->c.streams; i++)
		drop(&s->conn[i]);
	if (s->conn[0].fd >= 0 && !s->conn[0].borrowed)
		close(s->conn[0].fd);
	ps_held_finish(&s->held);
	free(s);
}

struct ps_streams *ps_streams_create(const struct ps_streams_config *c, struct err *e)
{
	struct ps_streams *s = calloc(1, sizeof(*s));

	if (!s || ps_held_init(&s->held, PS_STREAMS_HELD * (1 + (size_t)c->streams)) < 0) {
		err_set(e, ERR_SYSTEM, ENOMEM, "memory for what is sent");
		free(s);
		return NULL;
	}
	s->c = *c;
	s->c.silence_ms = c->silence_ms ? c->silence_ms : PS_STREAMS_SILENCE_MS;
	s->c.patience_ms = c->patience_ms ? c->patience_ms : PS_STREAMS_PATIENCE_MS;
	for (unsigned i = 0; i < STREAMS_MAX; i++)
		s->conn[i] = (struct conn){ .fd = i ? -1 : c->fd, .borrowed = !i, .moved_us = clock_us() };
	if (connect_others(s, e) == 0)
		return s;
	close_all(s);
	return NULL;
}

static void say_over(const struct ps_streams *s)
{
	uint8_t number[PS_NUMBER];

	le64_put(number, PS_OVER);
	if (s->conn[0].fd >= 0 && send(s->conn[0].fd, number, sizeof(number), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_event(LOG_DEBUG, "stream-over", "errno=%d", errno);
}

/* Where the server is to hear it, nothing may be said in part. */
static void give_up(struct ps_streams *s)
{
	uint64_t end = clock_us() + GIVE_UP_MS * 1000;
	struct err ignored;

	s->over = true;
	while (s->conn[0].fd >= 0 && s->conn[0].sent > 0 && clock_us() < end)
		if (wait_and_go_on(s, GIVE_UP_MS, &ignored) < 0)
			return;
	say_over(s);
}

void ps_streams_destroy(struct ps_streams *s, bool finished)
{
	if (!s)
		return;
	if (finished)
		say_over(s);
	else
		give_up(s);
	if (s->conn[0].fd >= 0)
		shutdown(s->conn[0].fd, SHUT_WR);
	close_all(s);
}

unsigned ps_streams_again(const struct ps_streams *s)
{
	return s->again;
}
