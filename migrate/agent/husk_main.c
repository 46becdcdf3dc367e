/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/agent/husk_main.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "control.pb-c.h"
#include "migrate/agent/channel.h"
#include "migrate/agent/husk_verify.h"
#include "migrate/agent/session_answers.h"
#include "migrate/native/rebuild.h"
#include "pageserver/place.h"
#include "pageserver/stream_recv.h"
#include "proto/base/io.h"
#include "proto/base/log.h"

enum { GIVEN_MAX = 256, LOAD_THREADS_MAX = 4 };

struct husk_state {
	int channel;
	bool ready;
	struct place *place;
	struct stream_recv *streams; /* NULL: pages come from files */
	struct rebuild_options rebuild;
	struct rebuild_given given[GIVEN_MAX];
	struct err err;
};

static void answer_with(struct husk_state *s, const void *payload, size_t len, int fd)
{
	struct err ignored;

	if (channel_send(s->channel, CHANNEL_OK, 0, payload, len, fd, &ignored) < 0)
		_exit(1); /* the session is gone */
}

static void answer(struct husk_state *s, const void *payload, size_t len)
{
	answer_with(s, payload, len, -1);
}

static int on_stream(struct husk_state *s, struct channel_message *m)
{
	int fd = m->fd;

	m->fd = -1;
	if (!s->streams)
		return err_set(&s->err, ERR_INTERNAL, 0, "a stream for a husk without streams");
	if (stream_recv_add(s->streams, (unsigned)m->value, fd, &s->err) < 0)
		return -1;
	answer(s, NULL, 0);
	return 0;
}

/* For pages that come when we are the target already: made now, with the privileges that the target may not have. Also the kernel's own
 * accesses must wait for a page, so the variant for user mode alone won't do. */
static int make_uffd(struct husk_state *s, int *uffd)
{
	*uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	return *uffd < 0 ? err_sys(&s->err, "post-copy: userfaultfd") : 0;
}

static int on_round_begin(struct husk_state *s, const struct channel_message *m)
{
	Drayage__RoundBegin *msg = drayage__round_begin__unpack(NULL, m->len, m->payload);
	int rc, uffd = -1;

	if (!msg)
		return err_set(&s->err, ERR_PROTOCOL, 0, "a round's layout that can't be decoded");
	rc = place_apply(s->place, msg, &s->err);
	if (rc == 0 && msg->n_late > 0)
		rc = make_uffd(s, &uffd);
	if (rc == 0 && s->streams)
		stream_recv_open_round(s->streams, msg->round);
	drayage__round_begin__free_unpacked(msg, NULL);
	if (rc == 0)
		answer_with(s, NULL, 0, uffd);
	if (uffd >= 0)
		close(uffd);
	return rc;
}

static void on_again(struct husk_state *s, struct channel_message *m)
{
	int fd = m->fd;

	m->fd = -1;
	if (fd >= 0 && s->streams)
		stream_recv_again(s->streams, (unsigned)m->value, fd);
	else if (fd >= 0)
		close(fd);
}

/* No deadline of its own: a session whose peer goes silent kills its husk. What the session says meanwhile is that a cut stream is back. */
static int await_streams(struct husk_state *s, uint32_t round, struct stream_recv_stats *stats)
{
	while (stream_recv_barrier(s->streams, round, s->channel, -1, stats, &s->err) < 0) {
		struct channel_message m;
		struct err lost;

		if (s->err.kind != ERR_CANCELLED)
			return -1;
		if (channel_receive(s->channel, &m, &lost) < 0)
			_exit(1); /* the session is gone */
		if (m.kind == CHANNEL_AGAIN)
			on_again(s, &m);
		channel_message_finish(&m);
	}
	return 0;
}

static int on_round_end(struct husk_state *s, const struct channel_message *m)
{
	struct round_answer a = { 0 };

	if (!s->streams)
		return err_set(&s->err, ERR_INTERNAL, 0, "a round's end for a husk without streams");
	if (await_streams(s, (uint32_t)m->value, &a.stats) < 0)
		return -1;
	a.resident_bytes = place_resident_bytes(s->place);
	answer(s, &a, sizeof(a));
	return 0;
}

static int on_verify(struct husk_state *s, const struct channel_message *m)
{
	Drayage__Verify *msg = drayage__verify__unpack(NULL, m->len, m->payload);
	struct verify_answer a = { 0 };
	uint64_t begin = clock_us();
	int rc;

	if (!msg)
		return err_set(&s->err, ERR_PROTOCOL, 0, "digests that can't be decoded");
	rc = husk_verify(s->place, msg, &a.first_bad, &s->err);
	drayage__verify__free_unpacked(msg, NULL);
	a.cost_us = clock_us() - begin;
	if (rc == 0)
		answer(s, &a, sizeof(a));
	return rc;
}

static int on_load(struct husk_state *s, const struct channel_message *m)
{
	struct load_request q;
	struct load_options o = { .dirfd = m->fd, .threads = LOAD_THREADS_MAX, .skip = q.skip };
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t pages = 0;

	if (m->len != sizeof(q) || m->fd < 0)
		return err_set(&s->err, ERR_INTERNAL, 0, "a request to load of %zu bytes", m->len);
	memcpy(&q, m->payload, sizeof(q));
	o.punch = q.punch;
	o.leave_lazy = q.leave_lazy;
	o.skips = q.skips;
	if (cpus > 0 && cpus < LOAD_THREADS_MAX)
		o.threads = (unsigned)cpus;
	if (load_pages(s->place, &q.map, &o, &pages, &s->err) < 0)
		return -1;
	answer(s, &pages, sizeof(pages));
	return 0;
}

static int on_give(struct husk_state *s, struct channel_message *m)
{
	if (m->fd < 0 || s->rebuild.givens == GIVEN_MAX)
		return err_set(&s->err, ERR_LIMIT, 0, "more than %d descriptors given", GIVEN_MAX);
	s->given[s->rebuild.givens++] = (struct rebuild_given){ (uint32_t)m->value, m->fd };
	m->fd = -1;
	answer(s, NULL, 0);
	return 0;
}

/* After the answer the husk does nothing more of its own: it waits to be seized. */
static int on_state(struct husk_state *s, const struct channel_message *m)
{
	Drayage__TreeState *tree = drayage__tree_state__unpack(NULL, m->len, m->payload);
	struct rebuild_handover h = { .channel_fd = -1, .exe_fd = -1 };
	char never;
	int rc;

	if (!tree)
		return err_set(&s->err, ERR_PROTOCOL, 0, "a tree state that can't be decoded");
	stream_recv_destroy(s->streams);
	s->streams = NULL;
	rc = rebuild_inside(tree, s->place, &s->rebuild, s->channel, &h, &s->err);
	if (h.channel_fd >= 0) /* moved out of the target's way, also where something failed later */
		s->channel = h.channel_fd;
	if (rc < 0)
		return -1;
	answer(s, &h, sizeof(h));
	while (read(s->channel, &never, 1) < 0 && errno == EINTR)
		;
	_exit(1); /* the session gave up */
}

static int serve(struct husk_state *s, struct channel_message *m)
{
	switch (m->kind) {
	case CHANNEL_STREAM:
		return on_stream(s, m);
	case CHANNEL_AGAIN:
		on_again(s, m);
		return 0;
	case CHANNEL_ROUND_BEGIN:
		return on_round_begin(s, m);
	case CHANNEL_ROUND_END:
		return on_round_end(s, m);
	case CHANNEL_VERIFY:
		return on_verify(s, m);
	case CHANNEL_LOAD:
		return on_load(s, m);
	case CHANNEL_GIVE:
		return on_give(s, m);
	case CHANNEL_STATE:
		return on_state(s, m);
	case CHANNEL_OK:
	case CHANNEL_FAILED:
		break;
	}
	return err_set(&s->err, ERR_INTERNAL, 0, "request %d to a husk", (int)m->kind);
}

/* Keeps stdio and the channel: sockets, journal and listener belong to others. */
static int drop_descriptors(int *channel)
{
	if (*channel != 3) {
		if (dup3(*channel, 3, O_CLOEXEC) < 0)
			return -1;
		*channel = 3;
	}
	return close_range(4, ~0u, 0);
}

_Noreturn void husk_main(int channel, const struct husk_request *q)
{
	struct husk_state s = { .channel = channel };
	struct channel_message m;
	struct err lost;

	log_set_role("husk");
	prctl(PR_SET_NAME, "dray-husk"); /* what ps shows until the target's own name comes with its state */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* A session and process group of its own: what a target's group was called at the source may not exist here. */
	if (!q->keep_session)
		setsid();
	if (drop_descriptors(&s.channel) < 0)
		_exit(1);
	s.rebuild = (struct rebuild_options){ .given = s.given, .keep_session = q->keep_session, .staged_by_file = q->streams == 0 };
	s.place = place_create(q->max_bytes, &s.err);
	if (s.place && q->streams)
		s.streams = stream_recv_create(s.place, q->streams, &s.err);
	if (s.streams && q->streams_again)
		stream_recv_allow_again(s.streams);
	s.ready = s.place && (s.streams || !q->streams);
	while (channel_receive(s.channel, &m, &lost) == 0) {
		bool asked = m.kind != CHANNEL_AGAIN;
		int rc = s.ready || !asked ? serve(&s, &m) : -1;

		channel_message_finish(&m);
		if (rc < 0 && channel_send(s.channel, CHANNEL_FAILED, 0, &s.err, sizeof(s.err), -1, &lost) < 0)
			break;
	}
	_exit(1);
}
