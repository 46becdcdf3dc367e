/* SPDX-License-Identifier: Apache-2.0 */
/* lazy_daemon.h - `lazy-pages`: feeds processes that were restored before all their pages were there.
 *
 *   restore --lazy-pages --> lazy-pages.socket --> this <-- GET, pages --> a source that still has them (or the images themselves)
 *
 * A restore hands over each task's userfaultfd; what a task touches first is fetched first, then everything else. When every page is there it says
 * CLOSE to the source and ends. When the source is lost before the restore is over, it ends at once, and the restore fails; after that, the tasks
 * are left waiting where they need a page (the kernel would give them zeros if we ended) until they are gone.
 *
 * The socket: lazy_socket.h.
 * Threads: one. Fails: err. */
#ifndef DRAY_MIGRATE_LAZY_DAEMON_H
#define DRAY_MIGRATE_LAZY_DAEMON_H

#include "proto/base/err.h"
#include "proto/base/tls_relay.h"
#include "proto/wire/ps_command.h"

struct lazy_daemon_config {
	int images_dir, work_dir; /* borrowed; the socket is made in work_dir */
	int page_server;          /* connected; borrowed. -1: every page is in the images */
	const struct tls_link *tls; /* that page_server is the descriptor of, with `cut`; borrowed. NULL: plain text */
	enum ps_layout layout;    /* of its headers */
	int (*ready)(void *arg, struct err *e); /* the socket is there; may be NULL */
	void *arg;
};

/* Until every task of one restore has all its pages. */
int lazy_daemon_run(const struct lazy_daemon_config *c, struct err *e);

#endif
