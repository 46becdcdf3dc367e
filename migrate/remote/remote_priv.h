/* SPDX-License-Identifier: Apache-2.0 */
/* remote_priv.h - what remote.c (stopping), run.c (running calls inside), scratch.c (where their code lies) and memory.c share. */
#ifndef DRAY_MIGRATE_REMOTE_PRIV_H
#define DRAY_MIGRATE_REMOTE_PRIV_H

#include "migrate/remote/remote.h"

/* loop_blob.c */
extern const char remote_loop_start[], remote_loop_end[];

enum {
	REMOTE_STOP_MS = 10 * 1000,  /* a thread that does not stop within this is in an uninterruptible wait */
	REMOTE_RUN_MS = 300 * 1000,  /* a batch may unmap or populate a lot of memory */
};

/* Waits for the next stop of a tracee; status as waitpid gives it. ERR_GONE when it ended (and is reaped), ERR_TIMEOUT. */
int remote_wait(pid_t tid, int timeout_ms, int *status, struct err *e);
/* ptrace(2) with its error told as "ptrace REQUEST of task N"; ESRCH becomes ERR_GONE. */
int remote_ptrace(int request, const char *name, pid_t tid, uintptr_t addr, uintptr_t data, struct err *e);
#define REMOTE_PTRACE(request, tid, addr, data, e) remote_ptrace(request, #request, tid, (uintptr_t)(addr), (uintptr_t)(data), e)

#endif
