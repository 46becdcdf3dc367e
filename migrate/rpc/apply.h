/* SPDX-License-Identifier: Apache-2.0 */
/* apply.h - from a request's options to open directories and checked values: everything that an operation needs from its client is taken here,
 * before anything is done, and the client need not be there any more afterwards.
 *
 * Order: configuration file over fields; what the rows refuse; images directory (configuration file, images_dir_fd, images_dir); work directory
 * (configuration file, work_dir_fd, else images directory); log file; parent; the client's rights. The first failure stops, but for what the
 * rows refuse, which comes into the log file too, where there can be one.
 * Threads: one; while a log file is applied, standard error is that file. Fails: err; what the client asked for wrongly is ERR_USAGE. */
#ifndef DRAY_MIGRATE_RPC_APPLY_H
#define DRAY_MIGRATE_RPC_APPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "migrate/criu/command.h"
#include "migrate/pagesink/ps_sink.h"
#include "migrate/restore/restore.h"
#include "migrate/rpc/options.h"
#include "migrate/rpc/peer.h"
#include "proto/base/log.h"

struct rpc_applied {
	enum rpc_op op;
	const CriuOpts *opts; /* what counts: with the configuration file's; owned */
	int images_dir, work_dir; /* owned; -1: op has no use for any */
	pid_t pid;            /* dumps: the root of the tree */
	bool self;            /* it is the client itself */
	struct restore_inherit *inherit; /* owned with the descriptors in it */
	size_t inherits;
	int ps_fd;            /* ps.fd, owned; -1 */
	bool has_choice;      /* the configuration file has one: */
	struct ps_choice choice;
	struct criu_list scripts; /* action scripts of the configuration file, owned */
	int own_stderr;       /* what standard error was before the log file took its place; -1 */
	enum log_level own_level;
};

/* opts: borrowed. peer is needed only here. */
int rpc_options_apply(const CriuOpts *opts, enum rpc_op op, const struct rpc_peer *peer, struct rpc_applied *a, struct err *e);
/* Gives everything back, standard error too; also after rpc_options_apply failed. */
void rpc_applied_finish(struct rpc_applied *a);

/* What only a client of swrk may ask for. */
int rpc_options_check_mode(const CriuOpts *o, enum rpc_op op, enum rpc_mode mode, struct err *e);

/* Ours for the protocol's log_level. */
enum log_level rpc_log_level(int level);

#endif
