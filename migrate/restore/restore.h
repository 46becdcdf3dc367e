/* SPDX-License-Identifier: Apache-2.0 */
/* restore.h - rebuild a process from an image directory, ours or stock criu's, for the RPC service and the criu verbs.
 * Threads: the caller's only one (it forks the root with its PID). Fails: err; nothing that was made is left. */
#ifndef DRAY_MIGRATE_RESTORE_H
#define DRAY_MIGRATE_RESTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/base/err.h"

enum restore_moment { RESTORE_PRE, RESTORE_SETUP_NAMESPACES, RESTORE_POST_SETUP_NAMESPACES, RESTORE_POST, RESTORE_PRE_RESUME, RESTORE_POST_RESUME };
/* pid: the root's as we see it, 0 where there is none yet. A hook that fails before RESTORE_PRE_RESUME fails the restore. */
typedef int restore_hook(void *arg, enum restore_moment when, pid_t pid, struct err *e);

struct restore_inherit { const char *key; int fd; }; /* fd: ours, borrowed */

struct restore_request {
	int images_dir, work_dir; /* borrowed */
	bool sibling;      /* the root becomes a child of our parent */
	bool shell_job, tcp_close, tcp_established, ext_unix_sk, file_locks, auto_dedup, skip_file_rwx_check;
	bool leave_stopped;
	const struct restore_inherit *inherit;
	size_t inherits;
	int requester_socket; /* what a socket that was the dumper's connection to the service becomes: borrowed; -1: a fresh pair */
	restore_hook *hook;
	void *hook_arg;
};
struct restore_stats { uint64_t restore_us, forking_us, pages_restored; };

/* 0 with *root the root's pid as we see it, running. On failure *root is the pid of what was made and killed, or -1. Writes stats-restore. */
int restore_run(const struct restore_request *q, pid_t *root, struct restore_stats *out, struct err *e);

#endif
