/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stream_recv.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pageserver/frame_recv.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/wire/hello.h"
#include "proto/wire/stream_ack.h"

enum { STACK_SIZE = 512 * 1024 };

struct stream {
	struct stream_recv *owner;
	unsigned index;
	bool started;
	pthread_t thread;
	struct frame_recv recv; /* the thread's alone while it runs */
	uint32_t ended_round;   /* the last round that this stream has carried to its end; the thread's */
	int next_fd;            /* under the lock: the connection that takes the place of recv.fd; -1 */
};

struct stream_recv {
	struct place *place;
	unsigned streams;
	int event_fd;          /* readable: look at what the lock guards */
	_Atomic uint32_t round; /* that is open; 0 none */
	bool again;            /* cut streams come again */

	pthread_mutex_t lock; /* taken once a round by each stream, at its end, and when it changes its connection */
	pthread_cond_t changed; /* a next_fd, or ending */
	bool ending;          /* nothing is waited for any more: failed, or to be destroyed */
	unsigned ended;       /* streams that have carried the round to its end */
	unsigned gone;        /* streams that have carried FRAME_END */
	struct stream_recv_stats stats;
	struct err error; /* the first */
	struct stream stream[STREAMS_MAX];
};

static void notify(struct stream_recv *r)
{
	uint64_t one = 1;

	/* Can't fail but for a counter at its maximum, which is readable all the same. */
	if (write(r->event_fd, &one, sizeof(one)) < 0) {
	}
}

/* With the lock held. The other streams would only fill memory that nobody will use. */
static void shut_all(struct stream_recv *r)
{
	r->ending = true;
	pthread_cond_broadcast(&r->changed);
	for (unsigned i = 0; i < r->streams; i++) {
		if (r->stream[i].started)
			shutdown(r->stream[i].recv.fd, SHUT_RDWR);
	}
}

static void keep_error(struct stream_recv *r, const struct err *e)
{
	pthread_mutex_lock(&r->lock);
	if (!err_is_set(&r->error)) {
		r->error = *e;
		if (!r->ending)
			log_event(LOG_WARN, "streams-failed", "error=\"%s\"", e->text); /* in the middle of a round nobody asks */
		shut_all(r);
	}
	pthread_mutex_unlock(&r->lock);
	notify(r);
}

static void merge_round(struct stream_recv *r, struct frame_recv *f)
{
	r->stats.pages += f->pages;
	r->stats.dropped += f->dropped;
	r->stats.wire_bytes += f->wire_bytes;
	manifest_merge(&r->stats.manifest, &f->manifest);
	f->pages = 0;
	f->dropped = 0;
	f->wire_bytes = 0;
	f->manifest = (struct manifest){ 0 };
}

static void end_round(struct stream *s, uint32_t round)
{
	struct stream_recv *r = s->owner;

	pthread_mutex_lock(&r->lock);
	s->ended_round = round;
	merge_round(r, &s->recv);
	r->ended++;
	pthread_mutex_unlock(&r->lock);
	notify(r);
}

static void end_stream(struct stream_recv *r)
{
	pthread_mutex_lock(&r->lock);
	r->gone++;
	pthread_mutex_unlock(&r->lock);
}

/* A source that isn't there to hear it finds the connection cut, and asks on the next one. */
static void acknowledge(int fd, uint64_t next)
{
	uint8_t buf[STREAM_ACK_SIZE];

	stream_ack_encode(next, buf);
	if (send(fd, buf, sizeof(buf), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
	}
}

/* The connection that takes a cut one's place: by now all that came on the old one is placed or given up. False when there won't be any. */
static bool come_again(struct stream *s)
{
	struct stream_recv *r = s->owner;
	int fd;

	pthread_mutex_lock(&r->lock);
	if (!r->ending) /* else it is we who ended it */
		log_event(LOG_WARN, "stream-cut", "stream=%u frame=%llu", s->index, (unsigned long long)s->recv.sequence);
	while (s->next_fd < 0 && !r->ending)
		pthread_cond_wait(&r->changed, &r->lock);
	fd = s->next_fd;
	s->next_fd = -1;
	if (fd >= 0)
		frame_recv_move(&s->recv, fd);
	if (fd >= 0 && r->ending)
		shutdown(fd, SHUT_RDWR);
	pthread_mutex_unlock(&r->lock);
	if (fd < 0)
		return false;
	log_event(LOG_INFO, "stream-again", "stream=%u frame=%llu", s->index, (unsigned long long)s->recv.sequence);
	acknowledge(fd, s->recv.sequence);
	return true;
}

/* 1: more may come, 0: the stream has ended as it should, -1. */
static int take_frame(struct stream *s, struct err *e)
{
	struct frame_recv *f = &s->recv;
	uint32_t round;

	if (frame_recv_header(f, e) < 0)
		return -1;
	/* Read after the header: the source sends a round's frames only when it was told that the round is open. */
	round = atomic_load(&s->owner->round);
	if (f->header.kind == FRAME_END) {
		if (round != 0 && round != s->ended_round)
			return err_set(e, ERR_PROTOCOL, 0, "the stream ends inside round %u", round);
		return 0;
	}
	if (f->header.round != round || round == s->ended_round)
		return err_set(e, ERR_PROTOCOL, 0, "a frame of round %u while round %u is %s", f->header.round, round,
			       round && round == s->ended_round ? "over" : "open");
	if (f->header.kind == FRAME_PAGES)
		return frame_recv_pages(f, s->owner->place, e) < 0 ? -1 : 1;
	end_round(s, round);
	if (s->owner->again)
		acknowledge(f->fd, f->sequence);
	return 1;
}

static void *stream_main(void *arg)
{
	struct stream *s = arg;
	struct err e = { 0 };
	int rc;

	do {
		rc = take_frame(s, &e);
		if (rc < 0 && s->recv.cut && s->owner->again && come_again(s))
			rc = 1;
	} while (rc > 0);
	if (rc == 0) {
		end_stream(s->owner);
		return NULL;
	}
	err_wrap(&e, "stream %u, frame %llu", s->index, (unsigned long long)s->recv.sequence);
	keep_error(s->owner, &e);
	return NULL;
}

struct stream_recv *stream_recv_create(struct place *place, unsigned streams, struct err *e)
{
	struct stream_recv *r;

	if (streams == 0 || streams > STREAMS_MAX) {
		err_set(e, ERR_PROTOCOL, 0, "%u streams, 1 to %d are possible", streams, STREAMS_MAX);
		return NULL;
	}
	r = calloc(1, sizeof(*r));
	if (!r) {
		err_set(e, ERR_SYSTEM, ENOMEM, "streams");
		return NULL;
	}
	r->place = place;
	r->streams = streams;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->changed, NULL);
	for (unsigned i = 0; i < streams; i++)
		r->stream[i].next_fd = -1;
	r->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->event_fd < 0) {
		err_sys(e, "eventfd");
		stream_recv_destroy(r);
		return NULL;
	}
	return r;
}

/* Signals belong to the owner. */
static int start_thread(struct stream *s)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&s->thread, &attr, stream_main, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return rc;
}

int stream_recv_add(struct stream_recv *r, unsigned index, int fd, struct err *e)
{
	struct stream *s;
	int rc;

	if (index >= r->streams || r->stream[index].started) {
		close(fd);
		return err_set(e, ERR_PROTOCOL, 0, "stream %u: %s", index, index < r->streams ? "there already" : "not one of the offer's");
	}
	s = &r->stream[index];
	s->owner = r;
	s->index = index;
	if (frame_recv_init(&s->recv, fd) < 0) {
		close(fd);
		return err_set(e, ERR_SYSTEM, ENOMEM, "stream %u", index);
	}
	pthread_mutex_lock(&r->lock); /* so that an error elsewhere finds the stream whole */
	rc = start_thread(s);
	s->started = rc == 0;
	pthread_mutex_unlock(&r->lock);
	if (rc != 0) {
		frame_recv_finish(&s->recv);
		return err_set(e, ERR_SYSTEM, rc, "stream %u: thread", index);
	}
	return 0;
}

void stream_recv_allow_again(struct stream_recv *r)
{
	r->again = true;
}

void stream_recv_again(struct stream_recv *r, unsigned index, int fd)
{
	struct stream *s = index < r->streams ? &r->stream[index] : NULL;
	bool taken;

	pthread_mutex_lock(&r->lock);
	taken = r->again && s && s->started && !r->ending;
	if (taken) {
		if (s->next_fd >= 0)
			close(s->next_fd);
		s->next_fd = fd;
		shutdown(s->recv.fd, SHUT_RDWR);
		pthread_cond_broadcast(&r->changed);
	}
	pthread_mutex_unlock(&r->lock);
	if (taken)
		return;
	acknowledge(fd, STREAM_ACK_NEVER);
	close(fd);
}

void stream_recv_open_round(struct stream_recv *r, uint32_t round)
{
	pthread_mutex_lock(&r->lock);
	r->ended = 0;
	r->stats.pages = 0;
	r->stats.dropped = 0;
	r->stats.wire_bytes = 0;
	if (r->gone > 0 && !err_is_set(&r->error))
		err_set(&r->error, ERR_PROTOCOL, 0, "round %u begins after a stream has ended", round);
	pthread_mutex_unlock(&r->lock);
	atomic_store(&r->round, round);
}

/* 1: the round is complete, 0: not yet, -1. */
static int look(struct stream_recv *r, uint32_t round, struct stream_recv_stats *stats, struct err *e)
{
	int rc = 0;

	pthread_mutex_lock(&r->lock);
	if (err_is_set(&r->error)) {
		*e = r->error;
		rc = -1;
	} else if (r->ended == r->streams && atomic_load(&r->round) == round) {
		*stats = r->stats;
		atomic_store(&r->round, 0);
		rc = 1;
	}
	pthread_mutex_unlock(&r->lock);
	return rc;
}

int stream_recv_barrier(struct stream_recv *r, uint32_t round, int wake_fd, int timeout_ms, struct stream_recv_stats *stats,
			struct err *e)
{
	uint64_t deadline = clock_us() + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0) * 1000;

	for (;;) {
		struct pollfd p[2] = { { .fd = r->event_fd, .events = POLLIN }, { .fd = wake_fd, .events = POLLIN } };
		uint64_t now = clock_us(), count;
		int left = timeout_ms < 0 ? -1 : deadline > now ? (int)((deadline - now + 999) / 1000) : 0;
		int rc = look(r, round, stats, e);

		if (rc != 0)
			return rc < 0 ? -1 : 0;
		rc = poll(p, 2, left);
		if (rc < 0 && errno != EINTR)
			return err_sys(e, "wait for the streams");
		if (rc == 0 && timeout_ms >= 0)
			return err_set(e, ERR_TIMEOUT, 0, "the streams are silent");
		if (rc > 0 && p[0].revents) {
			if (read(r->event_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
				return err_sys(e, "wait for the streams");
		} else if (rc > 0 && p[1].revents) {
			return err_set(e, ERR_CANCELLED, 0, "interrupted");
		}
	}
}

void stream_recv_destroy(struct stream_recv *r)
{
	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	shut_all(r);
	pthread_mutex_unlock(&r->lock);
	for (unsigned i = 0; i < r->streams; i++) {
		if (!r->stream[i].started)
			continue;
		pthread_join(r->stream[i].thread, NULL);
		frame_recv_finish(&r->stream[i].recv);
		if (r->stream[i].next_fd >= 0)
			close(r->stream[i].next_fd);
	}
	if (r->event_fd >= 0)
		close(r->event_fd);
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	free(r);
}
