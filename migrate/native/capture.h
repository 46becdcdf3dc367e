/* SPDX-License-Identifier: Apache-2.0 */
/* capture.h - describe a process for the native engine: first, running, what can't be carried; then, frozen, all of it.
 * Threads: the tracer's. Fails: err. Ownership: a TreeState is freed with drayage__tree_state__free_unpacked. */
#ifndef DRAY_MIGRATE_CAPTURE_H
#define DRAY_MIGRATE_CAPTURE_H

#include <stdbool.h>
#include <sys/types.h>

#include "migrate/mm/vma.h"
#include "migrate/native/obstacles.h"
#include "migrate/remote/remote.h"
#include "proto/base/err.h"
#include "state.pb-c.h"

/* Resident memory in 4 KiB pages up to which reading the flags of mappings costs little: some 3 ms. */
#define CAPTURE_WALK_SHORT (64ull << 20)

struct capture_options {
	bool tcp_close;   /* established TCP connections are let go: the descriptor stays, unconnected */
	bool writes_untracked_ok; /* tracker none: O_DIRECT and the like need no refusal */
	bool tracked;             /* mappings registered with a userfaultfd are so by our own tracker (of a running process; in the freeze they are) */
	bool shared_memory_apart; /* the contents of shared memory are carried whole by somebody else: none in the description, and no limit */
	bool dump;                /* ways out are told by the options of a dump, not by those of a migration */
	uint32_t service_socket;  /* inode of a unix socket of the target's that is its connection to us (it asked for this itself); 0: none */
};

/* Looks at the running process, some times where anything seems to be in the way; stops nothing. 0 even when obstacles were found; -1 when it could not look. */
int capture_check(pid_t pid, const struct capture_options *opt, struct obstacles *out, struct err *e);
/* The same, which also gives the mappings of its first look, read with VMA_READ_SMAPS, where it came to look at them. seen: zeroed; the caller's; NULL: not asked for. */
int capture_check_seen(pid_t pid, const struct capture_options *opt, struct obstacles *out, struct vma_list *seen, struct err *e);

/* The frozen process (all threads held in r, scratch made). Objects that can't be carried are an error naming them. */
Drayage__TreeState *capture_tree(struct remote *r, const struct capture_options *opt, struct err *e);
/* The same, sparing the freeze what grows with memory: the kernel tells what was advised about a mapping (madvise, mlock) only together with
 * a walk over all of its pages, 20 to 50 ms for 1 GiB of 4 KiB pages. seen: read with VMA_READ_SMAPS while the process ran; borrowed. Where
 * the walk would take long, mappings that were there then keep what was said of them, and those that are new count as plain; a change of
 * what is locked is noticed and has all read again. Advice that was given since, to all of a mapping at once, is not carried. */
Drayage__TreeState *capture_tree_seen(struct remote *r, const struct capture_options *opt, const struct vma_list *seen, struct err *e);

/* The inode of the socket that fd, a connected unix socket of ours, is connected to. */
int capture_socket_peer(int fd, uint32_t *inode, struct err *e);

/* vma_entry for a mapping as RoundBegin and mm_entry carry it, without shmid. */
void capture_vma_entry(const struct vma *v, VmaEntry *out);

#endif
