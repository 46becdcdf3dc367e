/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/streams_priv.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pageserver/stock/line.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/wire/ps_native.h"
#include "proto/wire/stream_ack.h"

static void wake(struct streams *s)
{
	uint64_t one = 1;

	s->came = true;
	if (write(s->wake, &one, sizeof(one)) < 0) {
	} /* can't fail but at its maximum, which wakes all the same */
}

void streams_welcome(struct streams *s, unsigned index, int fd)
{
	struct hello h = { .version = HELLO_VERSION, .role = HELLO_IMAGES_MORE, .index = index, .features = HELLO_FEATURE_NUMBERED,
			   .max_frame_pages = PS_FRAME_PAGES };
	uint8_t bytes[HELLO_SIZE + STREAM_ACK_SIZE];

	s->conn[index].told = index == s->part_of ? s->part : 0;
	hello_encode(&h, bytes);
	stream_ack_encode_part(s->next, s->conn[index].told, bytes + HELLO_SIZE);
	if (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_event(LOG_DEBUG, "stream-welcome", "errno=%d", errno); /* who reads next finds it cut */
}

/* With the lock held. The one before is ended, so that whoever reads from it stops. Where nobody does, what was taken is known: the sender is told at once, and need
 * not wait until something else was received, which it may be that has to say it. While the set is published it is known too: the question will come again. */
static void put_next(struct streams *s, unsigned index, int fd)
{
	struct conn *c = &s->conn[index];

	if (c->next_fd >= 0)
		close(c->next_fd);
	if (c->next_fd >= 0 && s->first == c->next_fd)
		s->first = -1;
	c->next_fd = fd;
	c->welcomed = s->publishing || s->busy != index;
	if (c->welcomed)
		streams_welcome(s, index, fd);
	if (c->welcomed && index == 0)
		s->first = fd;
	if (s->publishing && index == 0)
		s->replaced = true;
	if (c->fd >= 0)
		shutdown(c->fd, SHUT_RDWR);
	wake(s);
}

static void take_hello(struct streams *s, const struct line_message *m)
{
	struct hello h;

	if (hello_decode(m->hello, &h) == 0 && h.role == HELLO_IMAGES_MORE && stream_token_equal(&h.token, &s->token))
		put_next(s, h.index, m->fd);
	else
		close(m->fd);
}

static void be_alone(struct streams *s)
{
	s->alone = true;
	wake(s);
}

static void hear(struct streams *s)
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

void streams_say(const struct streams *s, uint32_t value, uint16_t kind)
{
	const struct ps_native_answer a = { .value = value, .kind = kind };
	uint8_t bytes[PS_NATIVE_ANSWER];

	ps_native_answer_encode(&a, bytes);
	if (s->first >= 0 && send(s->first, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_event(LOG_DEBUG, "stream-answer", "errno=%d", errno); /* who reads next finds it cut */
}

void *streams_attend(void *arg)
{
	struct streams *s = arg;
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
				streams_say(s, 0, PS_NATIVE_ALIVE);
		}
		if (s->alone)
			p[0].fd = -1;
		pthread_mutex_unlock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}
