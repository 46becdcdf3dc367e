/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migrate/conduct/source_priv.h"
#include "migrate/conduct/target.h"
#include "proto/base/io.h"

enum { TICK_MS = 100 };

void monitor_tell(struct source *s, enum migration_event event, const struct progress *p)
{
	pthread_mutex_lock(&s->monitor.observer_lock);
	observe(s->observer, event, s->report, p);
	pthread_mutex_unlock(&s->monitor.observer_lock);
}

static void show(struct source *s)
{
	struct monitor *m = &s->monitor;
	struct progress p = {
		.round = m->round,
		.frozen = m->frozen,
		.late = m->late,
		.pages_total = m->pages_total,
		.pages_left = m->late ? late_source_left(s->late) : sender_pages_left(s->sender),
		.wire_bytes = sender_bytes_sent(s->sender),
		.dirty_bytes_per_s = m->dirty_rate,
		.bandwidth_bytes_per_s = m->bandwidth,
		.predicted_blackout_us = m->predicted_us,
		.elapsed_us = clock_us() - s->start_us,
	};

	monitor_tell(s, EVENT_PROGRESS, &p);
}

/* Wakes whoever waits: the workers, and the conductor in its read of the control connection. */
static void interrupt(struct source *s, enum interruption why)
{
	int none = NOT_INTERRUPTED;

	if (s->monitor.committed || !atomic_compare_exchange_strong(&s->monitor.interruption, &none, (int)why))
		return;
	if (s->sender)
		sender_cancel(s->sender);
	shutdown(s->control, SHUT_RD);
}

static void *monitor_main(void *arg)
{
	struct source *s = arg;
	uint64_t deadline = s->config->timeout_ms * 1000;
	struct pollfd p[3] = { { .fd = s->monitor.stop_fd, .events = POLLIN },
			       { .fd = s->cancel_fd, .events = POLLIN },
			       { .fd = keeper_event_fd(s->keeper), .events = POLLIN } };

	for (;;) {
		int n = poll(p, 3, TICK_MS);

		if (n < 0 && errno != EINTR)
			return NULL;
		if (p[0].revents)
			return NULL;
		if (p[1].revents) {
			interrupt(s, INTERRUPTED_BY_USER);
			p[1].fd = -1;
		}
		if (p[2].revents) {
			interrupt(s, INTERRUPTED_BY_TARGET);
			p[2].fd = -1;
		}
		/* The policy ends rounds in time; a link that stands still is this one's. */
		if (deadline && clock_us() - s->start_us > 2 * deadline)
			interrupt(s, INTERRUPTED_BY_TIME);
		if (n == 0)
			show(s);
	}
}

int monitor_start(struct source *s)
{
	int rc;

	s->monitor.stop_fd = eventfd(0, EFD_CLOEXEC);
	if (s->monitor.stop_fd < 0)
		return err_sys(s->err, "eventfd");
	rc = pthread_create(&s->monitor.thread, NULL, monitor_main, s);
	if (rc != 0)
		return err_set(s->err, ERR_SYSTEM, rc, "monitor thread");
	s->monitor.started = true;
	return 0;
}

void monitor_stop(struct source *s)
{
	uint64_t one = 1;

	if (s->monitor.started) {
		write_full(s->monitor.stop_fd, &one, sizeof(one));
		pthread_join(s->monitor.thread, NULL);
		s->monitor.started = false;
	}
	if (s->monitor.stop_fd >= 0)
		close(s->monitor.stop_fd);
	s->monitor.stop_fd = -1;
}

bool monitor_interrupted(struct source *s)
{
	struct pollfd p = { .fd = s->cancel_fd, .events = POLLIN };

	if (poll(&p, 1, 0) > 0 && p.revents)
		interrupt(s, INTERRUPTED_BY_USER);
	return s->monitor.interruption != NOT_INTERRUPTED;
}

int monitor_explain(struct source *s)
{
	switch ((enum interruption)s->monitor.interruption) {
	case NOT_INTERRUPTED:
		return -1;
	case INTERRUPTED_BY_USER:
		return err_set(s->err, ERR_CANCELLED, 0, "cancelled");
	case INTERRUPTED_BY_TARGET:
		if (target_lives(s->pid)) /* it is the other one that ended */
			return err_set(s->err, ERR_INTERNAL, 0, "the keeper process has ended");
		return err_set(s->err, ERR_GONE, 0, "process %d ended while it was being moved", (int)s->pid);
	case INTERRUPTED_BY_TIME:
		return err_set(s->err, ERR_TIMEOUT, 0, "not moved within %llu s, twice --timeout", (unsigned long long)(s->config->timeout_ms / 500));
	}
	return -1;
}

int monitor_pause(struct source *s, uint64_t us)
{
	uint64_t end = clock_us() + us;

	for (uint64_t now = clock_us(); now < end; now = clock_us()) {
		struct pollfd p = { .fd = s->control, .events = POLLIN | POLLRDHUP };

		if (monitor_interrupted(s))
			return monitor_explain(s);
		if (poll(&p, 1, (int)((end - now) / 1000 + 1)) > 0 && p.revents)
			break; /* the destination has something to say: whoever reads next says it */
	}
	return monitor_interrupted(s) ? monitor_explain(s) : 0;
}
