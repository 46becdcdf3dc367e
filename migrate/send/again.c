/* SPDX-License-Identifier: Apache-2.0 */
/* again.c - a stream whose connection was cut: a new one in its place, on which the destination says what it has placed; the rest is taken back
 * and read anew. Only the stream's own thread waits; the others go on. */
#include "migrate/send/sender_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/wire/stream_ack.h"

enum {
	AGAIN_MS = 20, AGAIN_MAX_MS = 1000, /* between attempts */
	FRUITLESS = 8, /* so many connections in a row on which no frame was placed, and the time in which one has to be made: there will be none */
	FRAME_PAGES_MIN = 2,
};

static int stopped(struct worker *w)
{
	return worker_fail(w, ERR_CANCELLED, 0, "stopped");
}

/* Waits for fd or a stop. >0: fd is readable. */
static int wait_for(struct worker *w, int fd, int ms)
{
	struct pollfd p[2] = { { .fd = fd, .events = POLLIN }, { .fd = w->s->wake_fd, .events = POLLIN } };
	int n = poll(p, 2, ms);

	return n > 0 && p[0].revents ? 1 : 0;
}

static int read_ack(int fd, uint64_t *next)
{
	uint8_t buf[STREAM_ACK_SIZE];
	int rc = read_full(fd, buf, sizeof(buf));

	return rc < 0 ? rc : stream_ack_decode(buf, next);
}

static int bad_ack(struct worker *w, uint64_t next)
{
	if (next == STREAM_ACK_NEVER)
		return worker_fail(w, ERR_PEER, 0, "the destination ended it for an error");
	return worker_fail(w, ERR_PROTOCOL, 0, "the destination has %llu frames, %llu were sent", (unsigned long long)next,
			   (unsigned long long)w->sequence);
}

int worker_await_ack(struct worker *w)
{
	uint64_t next = 0;
	int rc = read_ack(w->sock, &next);

	if (atomic_load(&w->s->stop))
		return stopped(w);
	if (rc < 0 && rc != -EPROTO)
		return output_cut(w, -rc);
	return rc < 0 || next != w->sequence ? bad_ack(w, next) : 0;
}

/* What is left of w->again, without what was taken from it. */
static void trim(struct worker *w)
{
	struct run_list *l = &w->again;
	size_t from = w->again_at.at;

	if (from < l->count && w->again_at.into > 0) {
		l->run[from].addr += pages_to_bytes(w->again_at.into);
		l->run[from].pages -= w->again_at.into;
	}
	if (from > 0)
		memmove(l->run, l->run + from, (l->count - from) * sizeof(l->run[0]));
	l->count -= from;
	l->data_pages = 0;
	for (size_t i = 0; i < l->count; i++)
		l->data_pages += l->run[i].kind == RUN_DATA ? l->run[i].pages : 0;
}

static int take_back(struct worker *w, uint64_t next)
{
	uint64_t before;
	int rc;

	trim(w);
	before = w->again.data_pages;
	rc = next == STREAM_ACK_NEVER ? -ERANGE : sent_log_take_back(&w->log, next, &w->count, &w->again);
	if (rc == -ERANGE)
		return bad_ack(w, next);
	if (rc < 0)
		return worker_fail(w, ERR_SYSTEM, -rc, "pages to be sent again");
	cursor_init(&w->again_at, w->again.run, w->again.count);
	atomic_fetch_add(&w->s->pages_left, w->again.data_pages - before);
	log_event(LOG_INFO, "stream-again", "stream=%u frame=%llu lost-frames=%llu pages-again=%llu", (unsigned)(w - w->s->worker),
		  (unsigned long long)next, (unsigned long long)(w->sequence - next), (unsigned long long)w->again.data_pages);
	w->sequence = next;
	return 0;
}

void worker_begin_again(struct worker *w)
{
	w->frame_pages = w->s->frame_pages;
	w->placed = w->sequence;
	w->placed_us = clock_us();
	w->fruitless = 0;
}

static uint64_t patience_ms(const struct sender *s)
{
	return s->frozen ? s->config.frozen_patience_ms : s->config.patience_ms;
}

/* A frame has to fit a connection: twice in a row none did. */
static int judge(struct worker *w, uint64_t next)
{
	if (next > w->placed) {
		w->placed = next;
		w->placed_us = clock_us();
		w->fruitless = 0;
		return 0;
	}
	if (++w->fruitless > 1 && w->frame_pages > FRAME_PAGES_MIN)
		w->frame_pages = w->frame_pages / 4 > FRAME_PAGES_MIN ? w->frame_pages / 4 : FRAME_PAGES_MIN;
	if (w->fruitless < FRUITLESS || clock_us() - w->placed_us <= patience_ms(w->s) * 1000)
		return 0;
	return worker_fail(w, ERR_PEER, peer_errno(w->cut_errno), "the destination cut the connection %u times, and nothing gets there any more", w->fruitless);
}

/* Who stops the sender shuts the sockets that it finds: it must find this one, or have been before. */
static int take_socket(struct worker *w, int fd)
{
	struct sender *s = w->s;
	bool stop;

	pthread_mutex_lock(&s->lock);
	close(w->sock);
	w->sock = fd;
	stop = atomic_load(&s->stop);
	pthread_mutex_unlock(&s->lock);
	return stop ? stopped(w) : 0;
}

/* 1: this connection is none either; 0; -1. Takes fd. */
static int go_on(struct worker *w, int fd, int ms)
{
	int flags = fcntl(fd, F_GETFL);
	uint64_t next = 0;
	int rc;

	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 || !wait_for(w, fd, ms)) {
		close(fd);
		return 1;
	}
	rc = read_ack(fd, &next);
	if (rc < 0 && rc != -EPROTO) {
		close(fd);
		return 1;
	}
	if (take_socket(w, fd) < 0)
		return -1;
	return rc < 0 ? bad_ack(w, next) : take_back(w, next) < 0 ? -1 : judge(w, next);
}

static int left_ms(uint64_t end)
{
	uint64_t now = clock_us();

	return now < end ? (int)((end - now) / 1000) + 1 : 1;
}

int worker_reconnect(struct worker *w)
{
	struct sender *s = w->s;
	unsigned index = (unsigned)(w - s->worker);
	uint64_t end = clock_us() + patience_ms(s) * 1000;

	log_event(LOG_WARN, "stream-cut", "stream=%u frame=%llu error=\"%s\"", index, (unsigned long long)w->sequence, strerrordesc_np(w->cut_errno));
	for (int pause = AGAIN_MS;; pause = pause * 2 > AGAIN_MAX_MS ? AGAIN_MAX_MS : pause * 2) {
		struct err why = { 0 };
		bool hopeless = false;
		int fd = s->config.reconnect(s->config.reconnect_arg, index, left_ms(end), &hopeless, &why);
		int rc = fd < 0 ? 1 : go_on(w, fd, left_ms(end));

		if (rc < 0)
			return -1;
		if (rc == 0)
			break;
		if (atomic_load(&s->stop))
			return stopped(w);
		if (hopeless || clock_us() >= end)
			return worker_fail(w, ERR_PEER, peer_errno(w->cut_errno), "the destination cut the connection, and it could not be made again: %s",
					   why.text[0] ? why.text : "it is cut again at once");
		wait_for(w, -1, pause);
	}
	w->cut = false;
	atomic_fetch_add(&s->reconnections, 1);
	return 0;
}
