/* SPDX-License-Identifier: Apache-2.0 */
/* System calls inside a held thread: batches by the loop in the scratch mapping, single ones at an instruction of the target's own. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "migrate/remote/remote.h"
#include "migrate/remote/remote_priv.h"
#include "proto/base/cleanup.h"
#include "proto/base/fault.h"
#include "proto/base/io.h"
#include "proto/base/proc_text.h"

#ifndef PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG
#define PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG 0x4211
#endif
#ifndef PTRACE_O_SUSPEND_SECCOMP
#define PTRACE_O_SUSPEND_SECCOMP (1 << 21)
#endif

enum {
	EVENT_STOP = PTRACE_EVENT_STOP,
	SYSCALL_STOP = SIGTRAP | 0x80,
	RSEQ_CS_OFFSET = 8, /* struct rseq: cpu_id_start, cpu_id, rseq_cs */
	CS_64BIT = 0x33,
	EFLAGS_TF = 0x100,
	CHUNK = REMOTE_CALLS_BYTES / sizeof(struct remote_call),
};
#define MASK_ALL (~UINT64_C(0))

struct dispatch_config { uint64_t mode, selector, offset, len; };          /* struct ptrace_sud_config */
struct rseq_config { uint64_t address; uint32_t size, signature, flags, pad; }; /* struct ptrace_rseq_configuration */

static const struct { int64_t nr; const char *name; } call_names[] = {
#define N(x) { SYS_##x, #x }
	N(mmap), N(munmap), N(mremap), N(mprotect), N(madvise), N(brk), N(mlock2), N(open), N(openat), N(close), N(dup2), N(dup3), N(fcntl),
	N(pipe2), N(read), N(write), N(pread64), N(lseek), N(vmsplice), N(ioctl), N(userfaultfd), N(clone), N(clone3), N(prctl), N(arch_prctl),
	N(prlimit64), N(rt_sigaction), N(rt_sigprocmask), N(sigaltstack), N(setitimer), N(getitimer), N(timer_create), N(timer_settime),
	N(timer_gettime), N(timer_getoverrun), N(set_tid_address), N(set_robust_list), N(get_robust_list), N(rseq), N(capset), N(capget),
	N(setresuid), N(setresgid), N(setgroups), N(setfsuid), N(setfsgid), N(personality), N(umask), N(chdir), N(fchdir), N(chroot),
	N(setpgid), N(setsid), N(seccomp), N(shmat), N(shmdt), N(sendmsg), N(recvmsg), N(socketpair), N(memfd_create), N(getpid), N(gettid),
	N(sched_setattr), N(sched_setaffinity), N(setpriority), N(membarrier), N(rt_tgsigqueueinfo), N(close_range),
#undef N
};

static const char *call_name(int64_t nr, char *buf, size_t len)
{
	for (size_t i = 0; i < sizeof(call_names) / sizeof(call_names[0]); i++)
		if (call_names[i].nr == nr)
			return call_names[i].name;
	snprintf(buf, len, "system call %lld", (long long)nr);
	return buf;
}

static int call_failed(const struct remote_call *c, const char *what, struct err *e)
{
	char buf[40];

	errno = (int)-c->ret;
	return err_sys(e, "%s: %s inside the process", what, call_name(c->nr, buf, sizeof(buf)));
}

/* ---- entering and leaving a thread ---- */

static bool filtered(pid_t pid, pid_t tid)
{
	struct err ignored = { 0 };
	cleanup_free char *text = status_text(pid, tid, &ignored);

	return !text || text_number(text, "Seccomp", 10, 1) != 0;
}

/* A system call that a filter or a dispatcher of the target catches would change it, or end it. The suspension holds only for a stopped
 * thread that we entered, never for one that runs its own code, and ends with the ptrace relation. */
static int make_calls_safe(struct remote *r, struct remote_thread *t, struct err *e)
{
	const unsigned long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
				(r->exitkill ? PTRACE_O_EXITKILL : 0);
	struct dispatch_config dispatch = { 0 };

	if (t->regs.cs != CS_64BIT)
		return err_set(e, ERR_UNSUPPORTED, 0, "task %d runs 32-bit code", t->tid);
	if (ptrace((enum __ptrace_request)PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, t->tid, (void *)sizeof(dispatch), &dispatch) == 0 &&
	    dispatch.mode != 0)
		return err_set(e, ERR_UNSUPPORTED, 0, "task %d catches its own system calls (syscall user dispatch)", t->tid);
	t->priv.options = options | PTRACE_O_SUSPEND_SECCOMP;
	if (ptrace(PTRACE_SETOPTIONS, t->tid, NULL, (void *)t->priv.options) == 0)
		return 0;
	if (filtered(r->pid, t->tid))
		return err_set(e, ERR_PERMISSION, 0, "task %d has a seccomp filter that we may not suspend", t->tid);
	t->priv.options = options;
	return REMOTE_PTRACE(PTRACE_SETOPTIONS, t->tid, 0, options, e);
}

/* While anything of a thread is ours, its process dies with us: the kernel would let it go on with our registers, or all signals blocked, and long before
 * anybody could put back what was its own. */
static int tie(const struct remote *r, const struct remote_thread *t, bool to_us, struct err *e)
{
	return r->exitkill ? 0 : REMOTE_PTRACE(PTRACE_SETOPTIONS, t->tid, 0, t->priv.options | (to_us ? PTRACE_O_EXITKILL : 0), e);
}

/* The kernel forgets a restartable sequence when it sees the thread run outside of it; put back, it aborts the sequence as it should. */
static void note_rseq(struct remote *r, struct remote_thread *t)
{
	struct rseq_config c = { 0 };
	struct err ignored = { 0 };

	if (ptrace((enum __ptrace_request)PTRACE_GET_RSEQ_CONFIGURATION, t->tid, (void *)sizeof(c), &c) < 0 || !c.address)
		return;
	if (remote_read(r->pid, c.address + RSEQ_CS_OFFSET, &t->priv.rseq_cs, sizeof(t->priv.rseq_cs), &ignored) == 0)
		t->priv.rseq = c.address;
}

static int enter(struct remote *r, struct remote_thread *t, uint64_t allowed_signals, uint64_t *mask, struct err *e)
{
	uint64_t blocked = MASK_ALL & ~allowed_signals;

	if (!t->priv.entered) {
		if (make_calls_safe(r, t, e) < 0)
			return -1;
		note_rseq(r, t);
		t->priv.entered = true;
	}
	if (REMOTE_PTRACE(PTRACE_GETSIGMASK, t->tid, sizeof(*mask), mask, e) < 0 || tie(r, t, true, e) < 0)
		return -1;
	return REMOTE_PTRACE(PTRACE_SETSIGMASK, t->tid, sizeof(blocked), &blocked, e);
}

static int set_live(struct remote_thread *t, const struct user_regs_struct *regs, struct err *e)
{
	if (REMOTE_PTRACE(PTRACE_SETREGS, t->tid, 0, regs, e) < 0)
		return -1;
	t->priv.live = *regs;
	return 0;
}

/* rc: how it went inside. A failure here is told only when it is the first. */
static int leave(struct remote *r, struct remote_thread *t, uint64_t mask, int rc, struct err *e)
{
	struct err second = { 0 };
	struct err *to = rc < 0 ? &second : e;

	if (set_live(t, &t->regs, to) < 0 || REMOTE_PTRACE(PTRACE_SETSIGMASK, t->tid, sizeof(mask), &mask, to) < 0)
		return -1;
	if (t->priv.rseq_cs &&
	    remote_write(r->pid, t->priv.rseq + RSEQ_CS_OFFSET, &t->priv.rseq_cs, sizeof(t->priv.rseq_cs), to) < 0)
		return -1;
	return tie(r, t, false, to) < 0 ? -1 : rc;
}

static int note_born(struct remote *r, pid_t parent, struct err *e)
{
	unsigned long tid = 0;

	if (REMOTE_PTRACE(PTRACE_GETEVENTMSG, parent, 0, &tid, e) < 0)
		return -1;
	if (r->born_count == REMOTE_BORN_MAX)
		return err_set(e, ERR_LIMIT, 0, "more than %d new tasks in one batch", REMOTE_BORN_MAX);
	r->born[r->born_count++] = (pid_t)tid;
	return 0;
}

/* Resumes with `request` until the stop that the caller waits for (wanted: its stop signal). What else stops the thread: births, noted; a stop
 * signal, which can't be blocked and takes effect as it would have; group stop and SIGCONT notices, passed over (the kernel remembers and
 * puts the group stop back at the detach); a signal that was dequeued before we blocked it, which the kernel queues again. */
static int run_until(struct remote *r, struct remote_thread *t, int request, int wanted, siginfo_t *info, struct err *e)
{
	int sig = 0;

	for (;;) {
		int status, event;

		if (REMOTE_PTRACE(request, t->tid, 0, sig, e) < 0 || remote_wait(t->tid, REMOTE_RUN_MS, &status, e) < 0)
			return -1;
		event = status >> 16;
		sig = 0;
		if (event == EVENT_STOP && wanted == 0)
			return 0;
		if (event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK) {
			if (note_born(r, t->tid, e) < 0)
				return -1;
			continue;
		}
		if (event != 0)
			continue;
		if (WSTOPSIG(status) == SYSCALL_STOP) {
			if (wanted == SYSCALL_STOP)
				return 0;
			continue;
		}
		if (REMOTE_PTRACE(PTRACE_GETSIGINFO, t->tid, 0, info, e) < 0)
			return -1;
		if (WSTOPSIG(status) == wanted)
			return 0;
		if (info->si_code > 0 && (info->si_signo == SIGSEGV || info->si_signo == SIGBUS || info->si_signo == SIGILL ||
					  info->si_signo == SIGFPE || info->si_signo == SIGSYS))
			return err_set(e, ERR_INTERNAL, 0, "task %d: our code in it got signal %d at %p", t->tid, info->si_signo, info->si_addr);
		sig = WSTOPSIG(status);
	}
}

/* ---- a batch ---- */

/* Until the loop's own SIGTRAP. One of the target's that was blocked and pending comes first: it is handed back afterwards, when it is blocked
 * again, so that the kernel queues it as it was. */
static int await_loop_end(struct remote *r, struct remote_thread *t, siginfo_t *foreign, struct err *e)
{
	siginfo_t info = { 0 };
	struct user_regs_struct now;

	for (;;) {
		if (run_until(r, t, PTRACE_CONT, SIGTRAP, &info, e) < 0)
			return -1;
		if (REMOTE_PTRACE(PTRACE_GETREGS, t->tid, 0, &now, e) < 0)
			return -1;
		t->priv.live = now;
		if (info.si_code == SI_TKILL && now.rip == r->scratch + (uint64_t)(remote_loop_end - remote_loop_start) - 2)
			return 0;
		if (info.si_code > 0)
			return err_set(e, ERR_INTERNAL, 0, "task %d: unexpected trap at %#llx", t->tid, now.rip);
		*foreign = info;
	}
}

/* Takes the thread from wherever it stands to a plain event stop; sig, if any, is delivered on the way. */
static int to_event_stop(struct remote *r, struct remote_thread *t, int sig, struct err *e)
{
	siginfo_t info;
	int status;

	if (REMOTE_PTRACE(PTRACE_INTERRUPT, t->tid, 0, 0, e) < 0)
		return -1;
	if (sig == 0)
		return run_until(r, t, PTRACE_CONT, 0, &info, e);
	if (REMOTE_PTRACE(PTRACE_CONT, t->tid, 0, sig, e) < 0 || remote_wait(t->tid, REMOTE_STOP_MS, &status, e) < 0)
		return -1;
	return status >> 16 == EVENT_STOP ? 0 : run_until(r, t, PTRACE_CONT, 0, &info, e);
}

static int run_loop(struct remote *r, struct remote_thread *t, uint64_t array, size_t n, uint64_t *stopped_at, struct err *e)
{
	struct user_regs_struct regs = t->regs;
	siginfo_t foreign = { 0 };
	uint64_t mask;
	int rc;

	regs.rip = r->scratch;
	regs.rbx = array;
	regs.rbp = array + n * sizeof(struct remote_call);
	regs.orig_rax = (uint64_t)-1; /* no restart of what was interrupted, not yet */
	regs.eflags &= ~(uint64_t)EFLAGS_TF;
	if (enter(r, t, UINT64_C(1) << (SIGTRAP - 1), &mask, e) < 0)
		return -1;
	rc = set_live(t, &regs, e);
	fault_point("remote.batch", -1);
	if (rc == 0)
		rc = await_loop_end(r, t, &foreign, e);
	*stopped_at = t->priv.live.rbx;
	if (leave(r, t, mask, rc, e) < 0)
		return -1;
	if (foreign.si_signo != SIGTRAP)
		return 0;
	if (REMOTE_PTRACE(PTRACE_SETSIGINFO, t->tid, 0, &foreign, e) < 0)
		return -1;
	return to_event_stop(r, t, SIGTRAP, e);
}

/* Only the results are taken over: the array lies in memory that others may write. */
static int take_results(struct remote *r, uint64_t array, struct remote_call *c, size_t n, struct err *e)
{
	struct remote_call got[CHUNK];

	if (remote_read(r->pid, array, got, n * sizeof(*c), e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		c[i].ret = got[i].ret;
	return 0;
}

/* One array full of calls. ran: how many did not fail (or may). */
static int run_chunk(struct remote *r, struct remote_thread *t, struct remote_call *c, size_t n, size_t *ran, struct err *e)
{
	uint64_t array = r->scratch + r->scratch_len - REMOTE_CALLS_BYTES, stopped_at = array;

	if (remote_write(r->pid, array, c, n * sizeof(*c), e) < 0 || run_loop(r, t, array, n, &stopped_at, e) < 0)
		return -1;
	*ran = (stopped_at - array) / sizeof(*c);
	if (stopped_at < array || *ran > n)
		return err_set(e, ERR_INTERNAL, 0, "the loop's registers make no sense");
	return take_results(r, array, c, *ran < n ? *ran + 1 : n, e);
}

int remote_run(struct remote *r, size_t t, struct remote_call *calls, size_t n, const char *what, struct err *e)
{
	r->born_count = 0;
	if (!r->scratch)
		return err_set(e, ERR_INTERNAL, 0, "%s: no scratch mapping", what);
	for (size_t done = 0, ran = 0; done < n; done += ran) {
		size_t now = n - done < CHUNK ? n - done : CHUNK;

		if (run_chunk(r, &r->thread[t], calls + done, now, &ran, e) < 0)
			return err_wrap(e, "%s", what);
		if (ran < now)
			return call_failed(&calls[done + ran], what, e);
	}
	return 0;
}

/* ---- a single call ---- */

static int step_stops(struct remote *r, struct remote_thread *t, struct remote_call *call, struct err *e)
{
	struct user_regs_struct regs = t->regs;
	siginfo_t info;

	regs.rip = r->syscall_at;
	regs.rax = (uint64_t)call->nr;
	regs.rdi = call->arg[0];
	regs.rsi = call->arg[1];
	regs.rdx = call->arg[2];
	regs.r10 = call->arg[3];
	regs.r8 = call->arg[4];
	regs.r9 = call->arg[5];
	regs.orig_rax = (uint64_t)-1;
	regs.eflags &= ~(uint64_t)EFLAGS_TF;
	if (set_live(t, &regs, e) < 0)
		return -1;
	fault_point("remote.step", -1);
	if (run_until(r, t, PTRACE_SYSCALL, SYSCALL_STOP, &info, e) < 0 ||
	    run_until(r, t, PTRACE_SYSCALL, SYSCALL_STOP, &info, e) < 0 || REMOTE_PTRACE(PTRACE_GETREGS, t->tid, 0, &regs, e) < 0)
		return -1;
	call->ret = (int64_t)regs.rax;
	/* Registers first: on the way from here to the next stop the thread must look as it did when it was found. And from here the
	 * kernel would not restart what was interrupted, from an event stop it does. */
	if (set_live(t, &t->regs, e) < 0)
		return -1;
	return to_event_stop(r, t, 0, e);
}

static bool is_syscall_insn(pid_t pid, uint64_t addr)
{
	unsigned char insn[2] = { 0 };
	struct err ignored = { 0 };

	return addr && remote_read(pid, addr, insn, sizeof(insn), &ignored) == 0 && insn[0] == 0x0f && insn[1] == 0x05;
}

int remote_step(struct remote *r, size_t t, struct remote_call *call, const char *what, struct err *e)
{
	uint64_t mask;
	int rc;

	r->born_count = 0;
	if (!is_syscall_insn(r->pid, r->syscall_at) && remote_find_syscall(r->pid, &r->syscall_at, e) < 0)
		return err_wrap(e, "%s", what);
	if (enter(r, &r->thread[t], 0, &mask, e) < 0)
		return err_wrap(e, "%s", what);
	rc = step_stops(r, &r->thread[t], call, e);
	if (leave(r, &r->thread[t], mask, rc, e) < 0)
		return err_wrap(e, "%s", what);
	if ((uint64_t)call->ret >= (uint64_t)-4095 && !(call->flags & REMOTE_MAY_FAIL))
		return call_failed(call, what, e);
	return 0;
}
