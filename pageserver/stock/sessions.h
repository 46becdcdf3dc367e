/* SPDX-License-Identifier: Apache-2.0 */
/* sessions.h - the sessions of a page server: a process and a directory for each, and what is known of them while they run.
 * Threads: the only one of its process, whose other children are nobody's to wait for. Fails: err. */
#ifndef DRAY_PAGESERVER_SESSIONS_H
#define DRAY_PAGESERVER_SESSIONS_H

#include <limits.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "pageserver/stock/chain.h"
#include "pageserver/stock/page_server.h"
#include "pageserver/stock/session_dir.h"
#include "proto/base/exporter.h"
#include "proto/base/tls_relay.h"

enum { SESSIONS_OTHERS = 2 }; /* descriptors that the caller waits for beside them */

struct ps_session;
struct sessions {
	const struct page_server_options *options; /* borrowed */
	struct tls_gate *tls;                      /* of the caller; NULL: plain text */
	char template[PATH_MAX];                   /* of their directories */
	int lazy_images;                           /* with lazy_pages: the directory that all serve from; of the caller */
	int listener, signals;                     /* what a session's process closes */
	struct exporter *exporter;                 /* and forgets; borrowed */
	struct metrics *metrics;                   /* borrowed; NULL: nobody counts */
	uint64_t number;                           /* of the latest */
	struct ps_session *session;                   /* a table with free places */
	bool joins_only;                           /* what is started next may not be a session, but another connection of one (--max-sessions) */
	size_t places, running, silent;            /* silent: of those that run, whose sender has not said what it wants */
	struct pollfd *polled;                     /* those of the caller, then a line to each session */
	struct chains chains;
	pid_t helper;                              /* the caller's own child, waited for along with them; 0: none, or it has ended */
	int helper_status;                         /* then, as waitpid has it */
};

/* Before anything else. */
int sessions_begin(struct sessions *s, struct err *e);
/* Waits until something happens: to the sessions, or to the others, which are at s->polled[0] and on. -1, errno. */
int sessions_poll(struct sessions *s, const struct pollfd others[SESSIONS_OTHERS], int timeout_ms);
/* Forks one for the sender at the other end of fd (borrowed). */
int sessions_start(struct sessions *s, int fd, struct err *e);
/* Takes notice of those that ended, and cleans up behind those that were killed. */
void sessions_reap(struct sessions *s);
/* Whoever came first of those that have said nothing: kept, they would keep out who has something to say, and nobody has to show a certificate to be one. */
void sessions_drop_oldest_silent(struct sessions *s);
/* How many of max places are taken. A set that is published whose sender, cut off, may come again to hear of it (which takes until its resume time is over, if the
 * last word was lost) takes none: as many of these as there are places beside the others. */
size_t sessions_taken(const struct sessions *s, uint64_t max);
/* Whether a connection may be one more of a session that runs. */
bool sessions_want_more(const struct sessions *s);
/* No connections will come any more: who waits for one waits no longer. */
void sessions_leave_alone(struct sessions *s);
void sessions_end(struct sessions *s); /* SIGTERM to each */
void sessions_finish(struct sessions *s);

#endif
