/* SPDX-License-Identifier: Apache-2.0 */
/* exporter.h - a daemon's metrics over HTTP/1.1: GET /metrics (Prometheus text format 0.0.4) and GET /status (what `dray status` reads), on a
 * TCP port or a unix socket.
 *
 * A process of its own, dray-exporter, as nobody in a sandbox: it reads the shared memory, knows no session's descriptors, and
 * what its clients do can harm nobody but itself. A client has a few seconds for everything, CLIENTS_MAX may be there at once, the oldest makes room.
 * It is the child of dray-metrics, which the daemon forks at the start: that keeps the listener and starts another one where one was killed, at most one a
 * second, so that neither the daemon's loop nor a session has to. Both end when the daemon has, however it ended.
 * Threads: the daemon's only one. Fails: err. */
#ifndef DRAY_BASE_EXPORTER_H
#define DRAY_BASE_EXPORTER_H

#include <stdbool.h>
#include <sys/types.h>

#include "proto/base/err.h"
#include "proto/base/metrics.h"

struct exporter {
	pid_t pid;  /* of dray-metrics; 0: none */
	int line;   /* closed by every child that is forked later: the last one to hold it keeps the exporter alive */
	const char *path; /* of a unix socket, borrowed, removed at the end; NULL */
};
#define EXPORTER_NONE ((struct exporter){ .line = -1 })

/* where: ADDRESS:PORT or unix:PATH (mode 0600; a socket that nobody listens on any more is replaced). Another address than loopback is refused unless
 * insecure: it is plain HTTP. Standard error is kept for the log, no other descriptor. */
int exporter_start(struct exporter *x, const char *where, bool insecure, struct metrics *m, struct err *e);
int exporter_check(const char *where, struct err *e); /* whether it has the form */
void exporter_forget(struct exporter *x); /* in a child */
void exporter_stop(struct exporter *x);   /* accepts EXPORTER_NONE */

#endif
