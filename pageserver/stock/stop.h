/* SPDX-License-Identifier: Apache-2.0 */
/* stop.h - SIGTERM and SIGINT in a process that serves one sender itself. The session may be waiting anywhere, for a handshake, a header, pages, so a thread of
 * its own hears them: at the first the session may finish, as long as patience lasts; then, or at the second, its connection is cut, and what follows is what
 * follows when a sender leaves: nothing of it stays. A socket that is inherited is somebody else's to cut: there the session looks by itself (ps_input.stop).
 * Threads: all calls from the one that serves. Fails: err. */
#ifndef DRAY_PAGESERVER_STOP_H
#define DRAY_PAGESERVER_STOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/base/err.h"

struct ps_stop {
	int signals, fd; /* borrowed: daemon_signals, the connection, -1: inherited */
	uint64_t patience_ms;
	int end; /* readable: the session is over, or to be */
	pthread_t thread;
	atomic_bool cut;
};

/* Waits until somebody connects. ERR_TIMEOUT: nobody did for patience_ms (0: however long it takes); ERR_CANCELLED: a signal came first. */
int ps_stop_await(int signals, int listener, uint64_t patience_ms, struct err *e);
/* From here to the end of the session at fd; -1: at a socket that is inherited. patience_ms 0: as long as it takes. */
int ps_stop_begin(struct ps_stop *s, int signals, int fd, uint64_t patience_ms, struct err *e);
/* For the session: whether it is to end; and waits until there is something to read at fd, or it is: as wait_readable. s may be NULL: never. */
static inline bool ps_stop_is_cut(const struct ps_stop *s)
{
	return s && atomic_load_explicit(&s->cut, memory_order_relaxed);
}
int ps_stop_wait_readable(const struct ps_stop *s, int fd, int timeout_ms);
/* Of a session that failed: that it was cut, where it was. */
void ps_stop_explain(struct ps_stop *s, struct err *e);
void ps_stop_end(struct ps_stop *s);

#endif
