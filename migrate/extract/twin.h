/* SPDX-License-Identifier: Apache-2.0 */
/* twin.h - helpers that share a target's memory and nothing else, so that its pages can be spliced out while it runs.
 *
 * A twin is made by one injected clone(CLONE_VM | CLONE_PTRACE), exit signal 0, own descriptors, all signals blocked, a session of its
 * own: not in the target's thread list, its descriptor table or its wait(). It runs a loop of ours (twin_blob.c) in the scratch
 * mapping and never the target's code: read iovecs from its command pipe, vmsplice them all into its page pipe, repeat; an end of
 * file on the command pipe ends it. It stays traced by the thread that made it, with PTRACE_O_EXITKILL: it can't outlive that.
 *
 * Exactly the bytes that were asked for come out, whatever happens to the memory: a page that can't be read (unmapped meanwhile, or
 * PROT_NONE) comes out as zeros and its address is written to the ring in the control block, before it is written to the pipe.
 *
 *   one twin's part of the scratch data area (TWIN_SCRATCH):  iovecs 4 KiB | zero page | struct twin_control, 52 KiB | stack 4 KiB
 *   the code page of the scratch mapping: the code of remote.h below TWIN_CODE_OFFSET, the twins' code from there on
 *
 * The target execs, exits or forks: the twin keeps the old memory; ask twins_share_mm().
 * Threads: all calls by the tracer's thread, twins_share_mm by any; create and reap while the target is held. */
#ifndef DRAY_MIGRATE_TWIN_H
#define DRAY_MIGRATE_TWIN_H

#include <stdbool.h>
#include <sys/types.h>

#include "migrate/remote/remote.h"
#include "migrate/send/sender.h"
#include "proto/base/err.h"

enum {
	TWIN_MAX_IOV = 256,
	TWIN_SCRATCH = 64 * 1024, /* bytes of scratch data area for each twin; what is not needed is not touched */
	TWIN_CODE_OFFSET = 1024,  /* of the code page: remote.h's own code must stay below */
	TWIN_HOLES = 6655,        /* ring of pages that couldn't be read */
	TWIN_INFLIGHT_PAGES = 2048 /* commanded and not yet taken out of the pipe; below TWIN_HOLES so that the ring can't lap its reader */
};

struct twins {
	pid_t pid[16];      /* as we see it; 0 once reaped */
	pid_t inner_pid[16]; /* as the target sees it */
	unsigned count;
};

/* Makes n twins of the held target r (scratch with n * TWIN_SCRATCH bytes made, from its start); their ends, owned by the caller, in ends[].
 * On failure there are none. */
int twins_create(struct remote *r, unsigned n, struct twins *t, struct twin_ends *ends, struct err *e);
/* Looks after them: reaps those that ended, lets those go on that someone tried to stop. Returns how many live. Call it on
 * SIGCHLD, or now and then; a pid namespace whose init ends waits for it. */
unsigned twins_poll(struct twins *t);
/* Whether every living twin still has the memory that the target has (it doesn't after an exec or exit of the target). */
bool twins_share_mm(const struct twins *t, pid_t target);
/* Kills and reaps them, as far as their tracer can. Accepts a zeroed object. */
void twins_destroy(struct twins *t);
/* After twins_destroy, with the target held and before its scratch is removed: has the target's side of them reaped too (a child
 * without an exit signal stays a zombie until its parent waits for it with __WALL, which a program doesn't do). */
int twins_reap(struct remote *r, struct twins *t, struct err *e);
/* A twin whose tracer was killed: dead, and its target, which knows nothing of it, does not wait for it. */
bool twins_left_dead(pid_t child);

#endif
