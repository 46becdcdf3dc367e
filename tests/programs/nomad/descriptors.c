/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/programs/nomad/nomad.h"

/* ---- numbers that come in order: bytes through pipes and sockets, made anew all the time ---- */

enum channel_kind { PIPE, STREAM, SEQPACKET, DGRAM, CHANNELS };
struct channel { enum channel_kind kind; int r, w; uint32_t first, count; };
struct mailbox { pthread_mutex_t lock; pthread_cond_t changed; bool full; struct channel c; uint64_t rng[2]; };

static bool channel_open(struct channel *c, uint64_t *r)
{
	static const int types[] = { [STREAM] = SOCK_STREAM, [SEQPACKET] = SOCK_SEQPACKET, [DGRAM] = SOCK_DGRAM };
	int pair[2];

	c->kind = below(r, CHANNELS);
	if (c->kind == PIPE) {
		if (!NEED(pipe2(pair, O_CLOEXEC) == 0))
			return false;
	} else if (!NEED(socketpair(AF_UNIX, types[c->kind] | SOCK_CLOEXEC, 0, pair) == 0)) {
		return false;
	}
	c->r = pair[0];
	c->w = pair[1];
	c->first = (uint32_t)next_random(r);
	c->count = 1 + below(r, 20000);
	return true;
}

static void *pours(void *arg)
{
	struct mailbox *m = arg;
	uint64_t *r = &m->rng[0];
	static _Thread_local uint32_t buf[1024];

	for (;;) {
		struct channel c = { 0 };

		if (!channel_open(&c, r))
			return NULL;
		pthread_mutex_lock(&m->lock);
		while (m->full)
			pthread_cond_wait(&m->changed, &m->lock);
		m->c = c;
		m->full = true;
		pthread_cond_broadcast(&m->changed);
		pthread_mutex_unlock(&m->lock);
		for (uint32_t sent = 0; sent < c.count;) {
			uint32_t n = 1 + below(r, 1024);

			if (n > c.count - sent)
				n = c.count - sent;
			for (uint32_t i = 0; i < n; i++)
				buf[i] = c.first + sent + i;
			for (size_t at = 0; at < n * 4;) {
				ssize_t did = write(c.w, (char *)buf + at, n * 4 - at);

				if (did <= 0 && errno == EINTR)
					continue;
				if (!NEED(did > 0))
					return NULL;
				at += (size_t)did;
			}
			sent += n;
			dawdle(r, 5000);
		}
		/* A socket whose peer is gone does not move: the reader closes both, datagrams' after the last. */
		if (c.kind == PIPE)
			close(c.w);
		else if (c.kind != DGRAM)
			shutdown(c.w, SHUT_WR);
	}
	return NULL;
}

static void wait_for(int fd, uint64_t *r)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = 0xfeedface };
	unsigned how = below(r, 3);

	if (how == 0) {
		poll(&p, 1, 3600000);
	} else if (how == 1) {
		int ep = epoll_create1(EPOLL_CLOEXEC), rc;

		NEED(ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) == 0);
		e = (struct epoll_event){ 0 };
		rc = epoll_wait(ep, &e, 1, 3600000);
		NEED(rc == 1 ? e.data.u64 == 0xfeedface : rc < 0 && errno == EINTR);
		close(ep);
	}
}

static void *drains(void *arg)
{
	struct mailbox *m = arg;
	uint64_t *r = &m->rng[1];
	static _Thread_local uint32_t buf[1024];

	for (;;) {
		struct channel c;
		uint32_t got = 0;
		size_t over = 0;

		pthread_mutex_lock(&m->lock);
		while (!m->full)
			pthread_cond_wait(&m->changed, &m->lock);
		c = m->c;
		m->full = false;
		pthread_cond_broadcast(&m->changed);
		pthread_mutex_unlock(&m->lock);
		while (got < c.count) {
			ssize_t n;

			dawdle(r, 8000);
			wait_for(c.r, r);
			n = read(c.r, (char *)buf + over, (c.kind <= STREAM ? 1 + below(r, sizeof(buf) - 8) : sizeof(buf)) - (over < 4 && c.kind > STREAM ? over : 0));
			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0) {
				fail("channel kind %d: read gave %zd after %u of %u", (int)c.kind, n, got, c.count);
				return NULL;
			}
			over += (size_t)n;
			for (size_t i = 0; i < over / 4; i++, got++)
				if (buf[i] != c.first + got) {
					fail("channel kind %d: number %u is %x and not %x", (int)c.kind, got, buf[i], c.first + got);
					return NULL;
				}
			memmove(buf, (char *)buf + over / 4 * 4, over % 4);
			over %= 4;
		}
		if (c.kind != DGRAM)
			NEED(read(c.r, buf, sizeof(buf)) == 0);
		close(c.r);
		if (c.kind != PIPE)
			close(c.w);
	}
	return NULL;
}

/* ---- files: offsets, flags, contents ---- */

static void *writes_files(void *arg)
{
	uint64_t r = seed + 1400;
	unsigned round = 0;

	(void)arg;
	for (;; round++) {
		char path[400], buf[256], back[256];
		off_t at = 0;
		int fd, other, append = below(&r, 2) ? O_APPEND : 0;

		snprintf(path, sizeof(path), "%s/file-%u", dir, round % 4);
		fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | append, 0600);
		other = dup(fd);
		if (!NEED(fd >= 0 && other >= 0))
			return NULL;
		for (unsigned n = below(&r, 60); n > 0; n--) {
			unsigned len = 1 + below(&r, sizeof(buf));

			memset(buf, (int)(n + round), len);
			NEED(write(below(&r, 2) ? fd : other, buf, len) == (ssize_t)len);
			dawdle(&r, 2000);
			NEED(pread(fd, back, len, at) == (ssize_t)len && memcmp(buf, back, len) == 0);
			at += len;
			if (lseek(other, 0, SEEK_CUR) != at)
				fail("file: at %lld and not %lld", (long long)lseek(other, 0, SEEK_CUR), (long long)at);
			NEED((fcntl(fd, F_GETFL) & O_APPEND) == append && (fcntl(fd, F_GETFD) & FD_CLOEXEC) && !(fcntl(other, F_GETFD) & FD_CLOEXEC));
		}
		close(fd);
		close(other);
	}
	return NULL;
}

void begin_descriptors(void)
{
	static struct mailbox boxes[3];

	for (int i = 0; i < 3; i++) {
		boxes[i] = (struct mailbox){ .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .rng = { seed + 2000 + (unsigned)i, seed + 3000 + (unsigned)i } };
		begin(pours, &boxes[i]);
		begin(drains, &boxes[i]);
	}
	begin(writes_files, NULL);
}
