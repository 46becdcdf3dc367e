/* SPDX-License-Identifier: Apache-2.0 */
/* remote.h - hold threads of another process with ptrace and have them run system calls.
 *
 * A batch is an array of system calls that a 100-byte loop of code inside the target runs one after the other: one stop for the whole
 * batch, not one a call. The loop and the arrays live in a scratch mapping that remote_scratch_create() makes in the target (by single
 * stepping one mmap at a `syscall` instruction that is there already) and remote_scratch_destroy() removes the same way, so that
 * nothing is left. Registers, including orig_rax so that interrupted system calls restart, are put back after each batch.
 *
 * Threads: ptrace belongs to the thread that seized; all calls from that one. If it dies the kernel lets the target go, with
 * PTRACE_O_EXITKILL kills it: see remote_seize's flag. Who must survive that dies elsewhere: keeper.h.
 * Fails: err; ERR_GONE when the target ended. */
#ifndef DRAY_MIGRATE_REMOTE_H
#define DRAY_MIGRATE_REMOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "proto/base/err.h"

struct remote_thread {
	pid_t tid;
	bool stopped;
	bool group_stop;   /* it was stopped by a stop signal before we came */
	int stop_signal;
	struct user_regs_struct regs; /* as found; what remote_release() gives back. Callers may change them before */
};

struct remote {
	pid_t pid;
	struct remote_thread *thread; /* leader first, then as /proc/PID/task lists them */
	size_t threads, capacity;
	uint64_t scratch, scratch_len; /* 0 when there is none; first page code, the rest data */
	bool exitkill;
};

enum remote_seize_flags {
	REMOTE_EXITKILL = 1, /* the target dies with this tracer: destination side */
};
/* Stops every thread (again and again until no new one appears). On failure nothing is held. */
int remote_seize(struct remote *r, pid_t pid, unsigned flags, struct err *e);
/* Takes one more thread that was created under our eyes (PTRACE_EVENT_CLONE). */
int remote_adopt(struct remote *r, pid_t tid, struct err *e);
/* Writes back regs of each thread and detaches; threads go on (or into their group stop). Frees the arrays. */
void remote_release(struct remote *r);

/* bytes: data area wanted. avoid(addr,len): may refuse an address (NULL: the kernel chooses). */
int remote_scratch_create(struct remote *r, size_t bytes, uint64_t fixed_addr, struct err *e);
int remote_scratch_destroy(struct remote *r, struct err *e);
static inline uint64_t remote_scratch_data(const struct remote *r) { return r->scratch + 4096; }
static inline uint64_t remote_scratch_size(const struct remote *r) { return r->scratch_len - 4096; }

struct remote_call {
	int64_t nr;
	uint64_t arg[6];
	int64_t ret;    /* out; -errno as the kernel returns it */
	uint64_t flags; /* REMOTE_MAY_FAIL */
};
enum { REMOTE_MAY_FAIL = 1 };
#define REMOTE_CALL(number, ...) ((struct remote_call){ .nr = (number), .arg = { __VA_ARGS__ } })
#define REMOTE_TRY(number, ...) ((struct remote_call){ .nr = (number), .arg = { __VA_ARGS__ }, .flags = REMOTE_MAY_FAIL })

/* Runs calls in thread number t (index). Stops at the first that fails without REMOTE_MAY_FAIL and reports it with `what`.
 * The calls take the end of the scratch area; bytes below `keep` in the data area are the caller's own (buffers for arguments). */
int remote_run(struct remote *r, size_t t, struct remote_call *calls, size_t n, const char *what, struct err *e);
/* One call by single step at a `syscall` instruction of the target; needs no scratch. */
int remote_step(struct remote *r, size_t t, struct remote_call *call, const char *what, struct err *e);

int remote_read(pid_t pid, uint64_t addr, void *buf, size_t len, struct err *e);
int remote_write(pid_t pid, uint64_t addr, const void *buf, size_t len, struct err *e); /* also into read-only pages */
/* The address of a `syscall` instruction in an executable mapping, preferably the vdso. */
int remote_find_syscall(pid_t pid, uint64_t *addr, struct err *e);

#endif
