/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/stop.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/io.h"
#include "proto/base/log.h"

/* Whether one of those that came means the end. */
static bool is_told(int signals)
{
	struct signalfd_siginfo si;
	bool told = false;

	while (read(signals, &si, sizeof(si)) == (ssize_t)sizeof(si))
		told |= si.ssi_signo != SIGCHLD;
	return told;
}

/* until_us 0: for ever. */
static int left_ms(uint64_t until_us)
{
	uint64_t now = clock_us();

	if (!until_us)
		return -1;
	if (until_us <= now)
		return 0;
	return (until_us - now) / 1000 < INT_MAX ? (int)((until_us - now) / 1000 + 1) : INT_MAX;
}

static uint64_t in_ms(uint64_t ms)
{
	return ms ? clock_us() + ms * 1000 : 0;
}

int ps_stop_await(int signals, int listener, uint64_t patience_ms, struct err *e)
{
	struct pollfd p[] = { { .fd = listener, .events = POLLIN }, { .fd = signals, .events = POLLIN } };
	uint64_t until = in_ms(patience_ms);

	for (;;) {
		int n = poll(p, 2, left_ms(until));

		if (n < 0 && errno != EINTR)
			return err_sys(e, "wait for a sender");
		if (n == 0)
			return err_set(e, ERR_TIMEOUT, 0, "no sender came for %" PRIu64 " ms", patience_ms);
		if (n > 0 && p[1].revents && is_told(signals))
			return err_set(e, ERR_CANCELLED, 0, "told to stop before a sender came");
		if (n > 0 && p[0].revents)
			return 0;
	}
}

/* Told once, and until when it is to finish. */
struct telling { bool once; uint64_t until_us; };

/* Whether the connection is to be cut now. */
static bool is_over(const struct ps_stop *s, struct telling *t, bool told)
{
	if (told && t->once)
		return true;
	if (told) {
		t->once = true;
		t->until_us = in_ms(s->patience_ms);
		log_event(LOG_INFO, "draining", "sessions=1");
	}
	return t->until_us && clock_us() >= t->until_us;
}

static void say_end(struct ps_stop *s)
{
	uint64_t one = 1;

	if (write(s->end, &one, sizeof(one)) < 0)
		log_event(LOG_DEBUG, "stop-end", "errno=%d", errno);
}

static void *attend(void *arg)
{
	struct ps_stop *s = arg;
	struct pollfd p[] = { { .fd = s->signals, .events = POLLIN }, { .fd = s->end, .events = POLLIN } };
	struct telling t = { .once = false };

	for (;;) {
		int n = poll(p, 2, left_ms(t.until_us));

		if (n > 0 && p[1].revents)
			return NULL;
		if (is_over(s, &t, n > 0 && p[0].revents && is_told(s->signals)))
			break;
	}
	s->cut = true;
	if (s->fd >= 0)
		shutdown(s->fd, SHUT_RDWR);
	else
		say_end(s);
	return NULL;
}

int ps_stop_begin(struct ps_stop *s, int signals, int fd, uint64_t patience_ms, struct err *e)
{
	int rc;

	*s = (struct ps_stop){ .signals = signals, .fd = fd, .patience_ms = patience_ms, .end = eventfd(0, EFD_CLOEXEC) };
	if (s->end < 0)
		return err_sys(e, "hear signals");
	rc = pthread_create(&s->thread, NULL, attend, s);
	if (rc == 0)
		return 0;
	close(s->end);
	return err_set(e, ERR_SYSTEM, rc, "hear signals");
}

int ps_stop_wait_readable(const struct ps_stop *s, int fd, int timeout_ms)
{
	struct pollfd p[] = { { .fd = fd, .events = POLLIN }, { .fd = s ? s->end : -1, .events = POLLIN } };
	int n;

	do
		n = poll(p, 2, timeout_ms);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

void ps_stop_explain(struct ps_stop *s, struct err *e)
{
	if (!s->cut)
		return;
	e->kind = ERR_CANCELLED;
	err_wrap(e, "told to stop");
}

void ps_stop_end(struct ps_stop *s)
{
	say_end(s);
	pthread_join(s->thread, NULL);
	close(s->end);
}
