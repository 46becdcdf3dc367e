/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/streams_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pageserver/stock/line.h"
#include "proto/base/io.h"
#include "proto/base/log.h"

struct ps_input *streams_input(struct streams *s, unsigned i)
{
	return i == s->current ? s->in : &s->conn[i].in;
}

void streams_become_current(struct streams *s, unsigned i)
{
	if (i == s->current)
		return;
	s->conn[s->current].in = *s->in;
	s->conn[i].in.received = s->in->received;
	*s->in = s->conn[i].in;
	s->current = i;
}

/* With the lock held: the thread shuts what is here. */
static void leave(struct streams *s, unsigned i)
{
	struct conn *c = &s->conn[i];
	struct ps_input *in = streams_input(s, i);

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

void streams_lose(struct streams *s, unsigned i, int rc)
{
	pthread_mutex_lock(&s->lock);
	leave(s, i);
	pthread_mutex_unlock(&s->lock);
	if (s->closed && i > 0)
		return; /* as it has to be */
	s->conn[i].cut_us = clock_us();
	s->why = rc;
	line_say_word(s->rules.line, LINE_CUT);
	log_event(LOG_WARN, "stream-cut", "stream=%u command=%llu error=\"%s\"", i, (unsigned long long)s->next, strerrordesc_np(-rc));
}

static int begin_input(struct streams *s, unsigned i, int fd)
{
	struct ps_input *in = streams_input(s, i);
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
static void come(struct streams *s, unsigned i, int fd)
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
		streams_welcome(s, i, fd);
}

void streams_admit(struct streams *s)
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
