/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/agent/hellos.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/base/sock.h"
#include "proto/wire/control.h"
#include "proto/wire/frame.h"

enum {
	HANDSHAKE_MS = 30 * 1000, /* as the other side has, whose processors may have much else to do */
	HELLO_MS = 20 * 1000,     /* for the 64 bytes of a hello */
	GRACE_MS = 1000,          /* for a relay to say that a handshake took too long */
	DEAD_AFTER_MS = 20 * 1000,
};

enum stage { FREE, IN_HANDSHAKE, IN_HELLO };

struct waiting {
	enum stage stage;
	struct tls_link link; /* without TLS: only fd */
	uint64_t deadline_us;
	size_t have;
	unsigned char buf[HELLO_SIZE];
	char address[SOCK_NAME_MAX];
};

struct hellos {
	struct tls_gate *gate;
	struct metrics *metrics;
	hello_handler *handler;
	void *arg;
	struct waiting waiting[HELLOS_MAX];
};

int hello_answer(int fd, const struct hello *theirs, enum hello_status status)
{
	struct hello h = { .version = HELLO_VERSION, .role = theirs->role, .status = (uint8_t)status, .index = theirs->index,
			   .features = theirs->features & HELLO_FEATURES_KNOWN, .id = theirs->id,
			   .max_frame_pages = FRAME_MAX_PAGES, .max_control_len = CONTROL_MAX };
	unsigned char buf[HELLO_SIZE];

	hello_encode(&h, buf);
	return send(fd, buf, sizeof(buf), MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(buf) ? 0 : -1;
}

struct hellos *hellos_create(struct tls_gate *gate, struct metrics *metrics, hello_handler *handler, void *arg)
{
	struct hellos *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->gate = gate;
	s->metrics = metrics;
	s->handler = handler;
	s->arg = arg;
	return s;
}

static void set_free(struct waiting *w)
{
	tls_link_close(&w->link);
	w->stage = FREE;
}

static void drop(struct waiting *w, const char *why)
{
	log_event(LOG_WARN, "no-hello", "peer=%s reason=\"%s\"", w->address, why);
	set_free(w);
}

void hellos_destroy(struct hellos *s)
{
	for (size_t i = 0; s && i < HELLOS_MAX; i++)
		if (s->waiting[i].stage != FREE)
			set_free(&s->waiting[i]);
	free(s);
}

void hellos_close(const struct hellos *s, int keep)
{
	for (size_t i = 0; i < HELLOS_MAX; i++) {
		const struct tls_link *l = &s->waiting[i].link;

		if (s->waiting[i].stage == FREE)
			continue;
		if (l->fd >= 0 && l->fd != keep)
			close(l->fd);
		if (l->words >= 0)
			close(l->words);
	}
}

static struct waiting *make_room(struct hellos *s)
{
	struct waiting *oldest = &s->waiting[0];

	for (size_t i = 0; i < HELLOS_MAX; i++) {
		struct waiting *w = &s->waiting[i];

		if (w->stage == FREE)
			return w;
		if (w->deadline_us < oldest->deadline_us)
			oldest = w;
	}
	drop(oldest, "too many that say nothing");
	return oldest;
}

static void expect_hello(struct waiting *w)
{
	w->stage = IN_HELLO;
	w->deadline_us = clock_us() + HELLO_MS * 1000ull;
}

void hellos_accept(struct hellos *s, int listener)
{
	const struct sock_tuning tuning = { .congestion = "auto", .dead_after_ms = DEAD_AFTER_MS };
	const struct tls_wish wish = { .role = TLS_SERVER, .timeout_ms = HANDSHAKE_MS, .kernel = true };
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct waiting *w;
	struct err e;

	if (fd < 0)
		return;
	w = make_room(s);
	*w = (struct waiting){ .link = TLS_LINK_NONE };
	sock_name(fd, true, w->address);
	sock_tune(fd, &tuning, &e);
	if (!s->gate) {
		w->link.fd = fd;
		expect_hello(w);
	} else if (tls_gate_begin(s->gate, fd, &wish, &w->link, &e) < 0) {
		drop(w, e.text);
	} else {
		w->stage = IN_HANDSHAKE;
		w->deadline_us = clock_us() + (HANDSHAKE_MS + GRACE_MS) * 1000ull;
	}
}

static void tls_failed(struct hellos *s, struct waiting *w, const char *why)
{
	metrics_add(s->metrics, METRIC_TLS_FAILURES, 0, 1);
	drop(w, why);
}

static void on_handshake(struct hellos *s, struct waiting *w)
{
	struct err e;

	if (tls_gate_finish(&w->link, &e) < 0)
		tls_failed(s, w, e.text);
	else
		expect_hello(w);
}

static void hand_on(struct hellos *s, struct waiting *w)
{
	struct caller c = { .fd = w->link.fd };
	struct hello h = { 0 };
	int rc = hello_decode(w->buf, &h);

	if (rc < 0 && rc != -EPROTONOSUPPORT) {
		drop(w, "not a hello of this protocol");
		return;
	}
	snprintf(c.peer, sizeof(c.peer), "%s%s%s%s", w->address, w->link.peer[0] ? "(" : "", w->link.peer, w->link.peer[0] ? ")" : "");
	fcntl(c.fd, F_SETFL, 0); /* blocking from here on */
	s->handler(s->arg, rc, &h, &c);
	set_free(w);
}

static void on_bytes(struct hellos *s, struct waiting *w)
{
	ssize_t n = recv(w->link.fd, w->buf + w->have, sizeof(w->buf) - w->have, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop(w, "connection ended");
		return;
	}
	w->have += (size_t)n;
	if (!s->gate && tls_is_hello(w->buf, w->have))
		tls_failed(s, w, "it speaks TLS, for which this agent was given no credentials (--tls)");
	else if (w->have == sizeof(w->buf))
		hand_on(s, w);
}

void hellos_poll(const struct hellos *s, struct pollfd *p)
{
	for (size_t i = 0; i < HELLOS_MAX; i++) {
		const struct waiting *w = &s->waiting[i];

		p[i] = (struct pollfd){ .fd = w->stage == FREE ? -1 : w->stage == IN_HELLO ? w->link.fd : w->link.words, .events = POLLIN };
	}
}

void hellos_polled(struct hellos *s, const struct pollfd *p)
{
	for (size_t i = 0; i < HELLOS_MAX; i++) {
		struct waiting *w = &s->waiting[i];

		if (!p[i].revents)
			continue;
		if (w->stage == IN_HANDSHAKE && p[i].fd == w->link.words)
			on_handshake(s, w);
		else if (w->stage == IN_HELLO && p[i].fd == w->link.fd)
			on_bytes(s, w);
	}
}

void hellos_expire(struct hellos *s)
{
	uint64_t now = clock_us();

	for (size_t i = 0; i < HELLOS_MAX; i++)
		if (s->waiting[i].stage != FREE && s->waiting[i].deadline_us <= now)
			drop(&s->waiting[i], "silent");
}

uint64_t hellos_next_us(const struct hellos *s)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < HELLOS_MAX; i++)
		if (s->waiting[i].stage != FREE && s->waiting[i].deadline_us < next)
			next = s->waiting[i].deadline_us;
	return next;
}
