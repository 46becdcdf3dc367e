/* SPDX-License-Identifier: Apache-2.0 */
/* peer.h - who is at the other end of an RPC socket, what is in its descriptor table, and what it may do.
 *
 * Root may act on everything. A worker that serves anybody else becomes that user before it looks at a request (rpc_peer_become): from then
 * on the kernel holds it to what its client could do, but for CAP_CHECKPOINT_RESTORE, which is kept.
 * A peer is told from a later process of its PID by a pidfd. Threads: one. Fails: err; ERR_PERMISSION where the peer may not, ERR_GONE where
 * it is no more. */
#ifndef DRAY_MIGRATE_RPC_PEER_H
#define DRAY_MIGRATE_RPC_PEER_H

#include <stdbool.h>
#include <sys/types.h>

#include "proto/base/err.h"

enum rpc_mode {
	RPC_SERVICE, /* a connection that was accepted */
	RPC_SWRK,    /* a socket that was inherited from the client */
	RPC_LOCAL,   /* our own command line: the peer is this process */
};

struct rpc_peer {
	enum rpc_mode mode;
	pid_t pid; /* 0: not visible from here */
	uid_t uid;
	gid_t gid;
	int pidfd; /* owned; -1: none */
};

/* Asks the kernel who made the connection; of a socketpair: who made the pair. */
int rpc_peer_open(int sock, enum rpc_mode mode, struct rpc_peer *p, struct err *e);
void rpc_peer_local(struct rpc_peer *p);
void rpc_peer_close(struct rpc_peer *p); /* accepts a zeroed one whose pidfd is -1 */

/* Opens what descriptor fd of the peer's table refers to anew, with open(2)'s flags (close-on-exec is added). what: names it in errors. The
 * result is the caller's. */
int rpc_peer_open_fd(const struct rpc_peer *p, int fd, int flags, const char *what, struct err *e);

/* This process takes on the peer's user, groups and capabilities, unless the peer is root. Not to be undone. */
int rpc_peer_become(const struct rpc_peer *p, int sock, struct err *e);
/* Whether the peer may act on pid: it is root, or all user ids of the process are its own and the process may be looked into. The kernel
 * decides in the end; this one says it in words and before anything is done. */
int rpc_peer_may_act_on(const struct rpc_peer *p, pid_t pid, struct err *e);

#endif
