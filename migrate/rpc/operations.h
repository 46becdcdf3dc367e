/* SPDX-License-Identifier: Apache-2.0 */
/* operations.h - dump, pre-dump and restore as applied options ask for them: for requests of the RPC and for criu's verbs alike.
 * Threads: one. Fails: err; after a failure the tree runs on, and nothing that was restored is left. */
#ifndef DRAY_MIGRATE_RPC_OPERATIONS_H
#define DRAY_MIGRATE_RPC_OPERATIONS_H

#include "migrate/dump/dump.h"
#include "migrate/rpc/apply.h"

/* Who is told of the stages, by the names of CRIU's notifications, and may stop what can still be stopped. */
struct rpc_stages {
	/* pid: the root, 0 where it isn't said. ack: NULL, or where what an acknowledgement said goes (owned by the caller; NULL: nothing).
	 * 0, or -1: refused. */
	int (*reached)(void *arg, const char *stage, pid_t pid, CriuReq **ack, struct err *e);
	void *arg;
};

int rpc_do_pre_dump(struct dumper *d, const struct rpc_applied *a, struct err *e); /* has no stages */
/* requester: of a self dump the connection to its client; -1. */
int rpc_do_dump(struct dumper *d, const struct rpc_applied *a, int requester, const struct rpc_stages *s, struct err *e);
/* root: as restore_run has it. line: NULL, or where the far end of a restored connection to the service goes, the caller's; -1: there was none. */
int rpc_do_restore(const struct rpc_applied *a, const struct rpc_stages *s, pid_t *root, int *line, struct err *e);

#endif
