/* SPDX-License-Identifier: Apache-2.0 */
/* restore.h - rebuild a process from an image directory, ours or stock criu's, for the RPC service and the criu verbs.
 *
 *   look      images, whether the native engine can rebuild all of it: docs/images.md. An object that it can't is named
 *   fork      the root, with its PID; pages from the files right into its memory, descriptors
 *   rebuild   from outside; all threads stand before their next instruction, held by us: it dies with us until it is let go
 *   let go
 *
 * The process stays in our namespaces and control groups. It leads a session of its own, but for shell_job.
 * Threads: the caller's only one. Fails: err; nothing that was made is left. */
#ifndef DRAY_MIGRATE_RESTORE_H
#define DRAY_MIGRATE_RESTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/base/err.h"

enum restore_moment { RESTORE_PRE, RESTORE_SETUP_NAMESPACES, RESTORE_POST_SETUP_NAMESPACES, RESTORE_POST, RESTORE_PRE_RESUME, RESTORE_POST_RESUME };
/* pid: the root's as we see it, 0 where there is none yet. A hook that fails before RESTORE_PRE_RESUME fails the restore, later ones are logged.
 * The two in the middle are never called: no namespace is made. */
typedef int restore_hook(void *arg, enum restore_moment when, pid_t pid, struct err *e);

struct restore_inherit { const char *key; int fd; }; /* fd: ours, borrowed */

struct restore_request {
	int images_dir, work_dir; /* borrowed */
	bool sibling;      /* the root becomes a child of our parent */
	bool shell_job;    /* the root need not have led its session: it joins ours */
	bool tcp_close;    /* TCP connections become unconnected sockets */
	bool ext_unix_sk;  /* datagram sockets connect to sockets of others by name again */
	bool auto_dedup;   /* pages are punched out of their files as they are read, in the parents too: also where the restore fails later */
	bool lazy_pages;   /* what the images mark lazy comes afterwards, from the lazy-pages daemon whose socket is in work_dir */
	/* Without effect: connections and locks can't be rebuilt, permissions of files are not compared. */
	bool tcp_established, file_locks, skip_file_rwx_check;
	bool leave_stopped;
	const struct restore_inherit *inherit; /* keys as stock criu's: "pipe:[123]", "socket:[456]", "tmp/x" for the file /tmp/x */
	size_t inherits;
	int requester_socket; /* what a socket that was the dumper's connection to the service becomes: borrowed; -1: a fresh pair */
	int *requester_line;  /* out, NULL: not wanted. The far end of that fresh pair (SOCK_SEQPACKET), the caller's; -1: no such socket */
	restore_hook *hook;
	void *hook_arg;
};
struct restore_stats { uint64_t restore_us, forking_us, pages_restored; };

/* 0 with *root the root's pid as we see it, running; our child to reap, or our parent's. On failure *root is the pid of what was made and killed,
 * or -1. ERR_CONFLICT with EEXIST: the PID, or a thread's, is taken. Writes stats-restore. */
int restore_run(const struct restore_request *q, pid_t *root, struct restore_stats *out, struct err *e);

#endif
