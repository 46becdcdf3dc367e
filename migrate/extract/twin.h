/* SPDX-License-Identifier: Apache-2.0 */
/* twin.h - helpers that share a target's memory and nothing else, so that its pages can be spliced out while it runs.
 *
 * A twin is made by one injected clone(CLONE_VM | CLONE_PTRACE), exit signal 0, own descriptors: not in the target's thread list, its
 * descriptor table or its wait(). It runs a loop of ours in the scratch mapping and never the target's code:
 * read up to TWIN_MAX_IOV iovecs from its command pipe, vmsplice them all into its page pipe, repeat; an end of file on the
 * command pipe ends it. It stays traced by the thread that made it, with PTRACE_O_EXITKILL: it can't outlive that.
 *
 * Threads: create and destroy by the tracer's thread, while the target is held. */
#ifndef DRAY_MIGRATE_TWIN_H
#define DRAY_MIGRATE_TWIN_H

#include <sys/types.h>

#include "migrate/remote/remote.h"
#include "migrate/send/sender.h"
#include "proto/base/err.h"

enum { TWIN_MAX_IOV = 256, TWIN_SCRATCH = 16 * 1024 /* bytes of scratch data area for each twin */ };

struct twins { pid_t pid[16]; unsigned count; };

/* Makes n twins of the held target r (scratch with n * TWIN_SCRATCH bytes made); their ends, owned by the caller, in ends[]. */
int twins_create(struct remote *r, unsigned n, struct twins *t, struct twin_ends *ends, struct err *e);
/* Kills and reaps them. Accepts a zeroed object. */
void twins_destroy(struct twins *t);

#endif
