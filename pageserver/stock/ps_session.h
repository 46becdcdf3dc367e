/* SPDX-License-Identifier: Apache-2.0 */
/* ps_session.h - one session of a page server, in the process that is there for it: what its rules are, how it ended, and what the log says of it.
 * Threads: one. Fails: err that names the peer. */
#ifndef DRAY_PAGESERVER_PS_SESSION_H
#define DRAY_PAGESERVER_PS_SESSION_H

#include "pageserver/stock/sessions.h"

struct ps_meter;

/* A sender that was not let in had no session: it is no news of whoever else has its address. */
enum stock_outcome { STOCK_PUBLISHED, STOCK_FAILED, STOCK_KEPT_OUT, STOCK_JOINS /* another connection of a session that runs: given to the server */ };
/* One, here: serves the sender at the other end of fd into d. line: to the server (line.h); -1 none. meter:
 * may be NULL. Of s the options and the gate. e: set unless published. */
enum stock_outcome stock_session_run(const struct sessions *s, int fd, const struct session_dir *d, const char *parent, int line,
				      struct ps_meter *meter, struct err *e);
/* The same of a lazy-pages client, who is given pages of s->lazy_images. STOCK_PUBLISHED: until it said that it has them all. */
enum stock_outcome lazy_session_run(const struct sessions *s, int fd, struct ps_meter *meter, struct err *e);
/* The sender's address alone, as it becomes part of a path. */
enum { SESSION_PEER_MAX = 80 };
void session_peer(int fd, char host[SESSION_PEER_MAX]);

#endif
