/* SPDX-License-Identifier: Apache-2.0 */
/* remote.h - hold threads of another process with ptrace and have them run system calls.
 *
 * A batch is an array of system calls that a 100-byte loop of code inside the target runs one after the other: one stop for the whole
 * batch, not one a call. The loop and the arrays live in a scratch mapping that remote_scratch_create() makes in the target (by
 * one mmap at a `syscall` instruction that is there already) and remote_scratch_destroy() removes the same way, so that
 * nothing is left. Registers (orig_rax too), signal mask and a restartable sequence under way are put back after each batch.
 *
 * Nothing here uses int3 or single steps: the kernel forces their SIGTRAP, and resets the target's action for it if that was ignored. A batch
 * ends by sending itself an ordinary SIGTRAP, a single call by system call stops.
 *
 * Interrupted system calls go on as if there had been no stop; those that the kernel lets fail with EINTR though no handler ran
 * (epoll_wait and a few more) are made to start again, with their whole timeout. A real signal interrupts them as ever.
 *
 * Threads: ptrace belongs to the thread that seized; all calls from that one. If it dies the kernel lets the target go as it was; in the middle of a run
 * inside, or with remote_seize's flag, kills it. Who must survive that dies elsewhere: keeper.h.
 * Fails: err; ERR_GONE when the target ended. */
#ifndef DRAY_MIGRATE_REMOTE_H
#define DRAY_MIGRATE_REMOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "proto/base/err.h"

/* Beyond what a caller may use: what is live in the thread now, and what a run inside it would spoil. */
struct remote_state {
	struct user_regs_struct live; /* what the kernel holds; regs is written back only where it differs */
	uint64_t rseq, rseq_cs;       /* restartable sequence under way: running elsewhere would forget to abort it */
	bool entered;                 /* options for running inside are set: */
	unsigned long options;
};

struct remote_thread {
	pid_t tid;
	bool stopped;
	bool group_stop;   /* it was stopped by a stop signal before we came */
	int stop_signal;
	struct user_regs_struct regs; /* as found; what remote_release() gives back. Callers may change them before */
	struct remote_state priv;
};

enum { REMOTE_BORN_MAX = 256 };

struct remote {
	pid_t pid;
	struct remote_thread *thread; /* leader first, then as /proc/PID/task lists them */
	size_t threads, capacity;
	uint64_t scratch, scratch_len; /* 0 when there is none; first page code, then the callers' data, last the arrays of calls.
	                                  Outlives release: a caller that seizes again puts them back */
	uint64_t scratch_taken;        /* bytes at the start of the data area that are given away for good (twins); the callers' own begin behind */
	uint64_t syscall_at;           /* where a `syscall` instruction was found last, checked before each use */
	bool exitkill;
	int stop_ms;
	pid_t born[REMOTE_BORN_MAX]; /* tids (ours) of the tasks that clone calls of the last remote_run or remote_step made, in order. Traced by */
	unsigned born_count;         /* us, stopped before their first instruction: remote_adopt or remote_wait_born each */
};

enum remote_seize_flags {
	REMOTE_EXITKILL = 1, /* the target dies with this tracer: destination side */
};
/* Stops every thread (again and again until no new one appears). On failure nothing is held. */
int remote_seize(struct remote *r, pid_t pid, unsigned flags, struct err *e);
int remote_seize_within(struct remote *r, pid_t pid, unsigned flags, int stop_ms, struct err *e); /* for each thread; else 10 s */
/* Whether the held process was killed meanwhile: what failed then failed for that. */
bool remote_has_ended(const struct remote *r);
/* Takes one more thread of the target, made by a clone call inside it (r->born): waits for its first stop and reads its registers,
 * which are the batch loop's: the caller must set thread[].regs before release. Its index is r->threads - 1. */
int remote_adopt(struct remote *r, pid_t tid, struct err *e);
/* The same wait for a task that r is not to hold (a twin). It stays traced by this thread, with its creator's ptrace options. */
int remote_wait_born(pid_t tid, struct err *e);
/* Writes back regs of each thread and detaches; threads go on (or into their group stop). Frees the arrays. */
void remote_release(struct remote *r);

/* A system call that was cut short by the stop and would go on from kernel state that exists only in this process
 * (ERESTART_RESTARTBLOCK: nanosleep, poll, futex with a timeout) is made to start anew; one that was restarted before and can't be told which it
 * was gives EINTR. For registers that resume elsewhere. */
void remote_regs_for_elsewhere(struct user_regs_struct *regs);

/* bytes: data area wanted. fixed_addr: where (fails if anything is there), 0: the kernel chooses. Children forked don't get it. */
int remote_scratch_create(struct remote *r, size_t bytes, uint64_t fixed_addr, struct err *e);
int remote_scratch_destroy(struct remote *r, struct err *e);
/* Whether a scratch mapping is still at addr: an execve of the target takes it away. */
bool remote_is_scratch(pid_t pid, uint64_t addr);
static inline uint64_t remote_scratch_data(const struct remote *r) { return r->scratch + 4096 + r->scratch_taken; }
enum { REMOTE_CALLS_BYTES = 16 * 1024 };
static inline uint64_t remote_scratch_size(const struct remote *r)
{
	return r->scratch_len - 4096 - REMOTE_CALLS_BYTES - r->scratch_taken;
}

struct remote_call {
	int64_t nr;
	uint64_t arg[6];
	int64_t ret;    /* out; -errno as the kernel returns it */
	uint64_t flags; /* REMOTE_MAY_FAIL */
};
enum { REMOTE_MAY_FAIL = 1 };
#define REMOTE_CALL(number, ...) ((struct remote_call){ .nr = (number), .arg = { __VA_ARGS__ } })
#define REMOTE_TRY(number, ...) ((struct remote_call){ .nr = (number), .arg = { __VA_ARGS__ }, .flags = REMOTE_MAY_FAIL })

/* Runs calls in thread number t (index). Stops at the first that fails without REMOTE_MAY_FAIL and reports it with `what`; those before it
 * have their ret. Any number: long arrays go in pieces. The data area (remote_scratch_data, _size) is the callers' own.
 * All signals are blocked meanwhile, so no handler runs. Not for calls that replace or end the caller (execve, exit, rt_sigreturn). */
int remote_run(struct remote *r, size_t t, struct remote_call *calls, size_t n, const char *what, struct err *e);
/* One call at a `syscall` instruction of the target's own; needs no scratch. Three stops. */
int remote_step(struct remote *r, size_t t, struct remote_call *call, const char *what, struct err *e);

int remote_read(pid_t pid, uint64_t addr, void *buf, size_t len, struct err *e); /* also out of pages that nobody may read */
int remote_write(pid_t pid, uint64_t addr, const void *buf, size_t len, struct err *e); /* also into read-only pages */
/* The address of a `syscall` instruction in an executable mapping, preferably the vdso. */
int remote_find_syscall(pid_t pid, uint64_t *addr, struct err *e);

#endif
