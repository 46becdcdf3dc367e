/* SPDX-License-Identifier: Apache-2.0 */
/* Stopping threads and letting them go. What runs inside them is in run.c. */
#include "migrate/remote/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "migrate/remote/remote_priv.h"
#include "proto/base/cleanup.h"
#include "proto/base/grow.h"
#include "proto/base/io.h"
#include "proto/base/proc_stat.h"
#include "proto/base/proc_text.h"

/* Results of interrupted system calls that the kernel keeps to itself (linux/errno.h, not exported). */
enum { KERNEL_ERESTARTNOHAND = 514, KERNEL_ERESTART_RESTARTBLOCK = 516 };
enum { EVENT_STOP = PTRACE_EVENT_STOP, MOV_EAX = 0xb8, LOOKS_EACH_MS = 20 };
/* Those that the kernel goes on with by restart_syscall. */
static const int restartable[] = { SYS_poll, SYS_nanosleep, SYS_clock_nanosleep, SYS_futex };

int remote_ptrace(int request, const char *name, pid_t tid, uintptr_t addr, uintptr_t data, struct err *e)
{
	if (ptrace((enum __ptrace_request)request, tid, (void *)addr, (void *)data) >= 0)
		return 0;
	if (errno == ESRCH)
		return err_set(e, ERR_GONE, 0, "task %d ended or is not held (%s)", tid, name);
	return err_sys(e, "%s of task %d", name, tid);
}

static int gone(pid_t tid, int status, struct err *e)
{
	if (WIFSIGNALED(status))
		return err_set(e, ERR_GONE, 0, "task %d was killed by signal %d", tid, WTERMSIG(status));
	return err_set(e, ERR_GONE, 0, "task %d ended with status %d", tid, WEXITSTATUS(status));
}

static bool has_ended(pid_t pid, pid_t tid)
{
	struct proc_stat s;

	return proc_stat_read(pid, tid, &s) < 0 || proc_stat_ended(&s);
}

/* With what it does instead: nobody can look any more when this is read. */
static int still_runs(pid_t tid, int timeout_ms, struct err *e)
{
	struct proc_stat s = { .state = '?' };
	char path[48], where[64] = "";
	cleanup_fd int fd = -1;
	ssize_t n;

	proc_stat_read(tid, tid, &s);
	snprintf(path, sizeof(path), "/proc/%d/wchan", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, where, sizeof(where) - 1);
	where[n > 0 ? n : 0] = '\0';
	return err_set(e, ERR_TIMEOUT, 0, "task %d did not stop within %d ms: it is in state %c%s%s", tid, timeout_ms, s.state,
		       n > 1 ? ", in " : "", n > 1 ? where : "");
}

/* A wait that blocks can't be bounded without signals of our own, so: ask a few times, since a stop normally comes within microseconds, sooner than
 * a wakeup across CPUs would, then nap between. (Yielding instead costs whole time slices on a loaded machine.) */
int remote_wait(pid_t tid, int timeout_ms, int *status, struct err *e)
{
	uint64_t until = 0;
	long nap_ns = 5 * 1000;

	for (unsigned tries = 0;; tries++) {
		pid_t got = waitpid(tid, status, __WALL | WNOHANG);

		if (got == tid)
			return WIFSTOPPED(*status) ? 0 : gone(tid, *status, e);
		if (got < 0 && errno == ECHILD)
			return err_set(e, ERR_GONE, 0, "task %d ended", tid);
		if (got < 0 && errno != EINTR)
			return err_sys(e, "wait for task %d", tid);
		if (tries == 0)
			until = clock_us() + (uint64_t)timeout_ms * 1000u;
		if (tries < 30)
			continue;
		/* A leader can be waited for only when the other threads are gone, which is for their tracer, us, to see to: release does. */
		if (has_ended(tid, tid) && waitpid(tid, status, __WALL | WNOHANG) == 0)
			return err_set(e, ERR_GONE, 0, "task %d ended", tid);
		/* Time alone says nothing where we were not there to look: the machine stood still, or has much else to do. */
		if (clock_us() > until && tries > 30u + (unsigned)timeout_ms / LOOKS_EACH_MS)
			return still_runs(tid, timeout_ms, e);
		nanosleep(&(struct timespec){ .tv_nsec = nap_ns }, NULL);
		if (nap_ns < 1000 * 1000)
			nap_ns += nap_ns / 4;
	}
}

/* Calls that give up with EINTR for a stop as for a signal, and have done nothing when they do. ERESTARTNOHAND makes the kernel tell the two
 * apart when the thread goes on: with a handler to run the program sees EINTR, without one the call starts anew. */
static void mend_interrupted(struct user_regs_struct *regs)
{
	if ((int64_t)regs->rax != -EINTR)
		return;
	switch ((int64_t)regs->orig_rax) {
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
	case SYS_semop:
	case SYS_semtimedop:
	case SYS_rt_sigtimedwait:
	case SYS_io_getevents:
	case SYS_io_uring_enter:
		regs->rax = (uint64_t)-KERNEL_ERESTARTNOHAND;
		break;
	default:
		break;
	}
}

/* A sleep that was stopped before goes on as restart_syscall, whose number has taken the place of its own. Which one it was the code tells, in the
 * instruction before: a constant into eax, as every C library makes these calls. Here it changes nothing: the kernel goes by what it remembers. */
static void name_restarted(pid_t pid, struct user_regs_struct *regs)
{
	struct __attribute__((packed)) { uint8_t mov; int32_t number; uint8_t syscall[2]; } code;
	struct err ignored = { 0 };

	if (regs->orig_rax != SYS_restart_syscall || (int64_t)regs->rax != -KERNEL_ERESTART_RESTARTBLOCK ||
	    remote_read(pid, regs->rip - sizeof(code), &code, sizeof(code), &ignored) < 0)
		return;
	if (code.mov != MOV_EAX || code.syscall[0] != 0x0f || code.syscall[1] != 0x05)
		return;
	for (size_t i = 0; i < sizeof(restartable) / sizeof(restartable[0]); i++)
		if (code.number == restartable[i])
			regs->orig_rax = (uint64_t)code.number;
}

void remote_regs_for_elsewhere(struct user_regs_struct *regs)
{
	if ((int64_t)regs->orig_rax < 0 || (int64_t)regs->rax != -KERNEL_ERESTART_RESTARTBLOCK)
		return;
	regs->rax = (uint64_t)(regs->orig_rax == SYS_restart_syscall ? -EINTR : -KERNEL_ERESTARTNOHAND);
}

static int read_regs(struct remote_thread *t, struct err *e)
{
	if (REMOTE_PTRACE(PTRACE_GETREGS, t->tid, 0, &t->priv.live, e) < 0)
		return -1;
	t->regs = t->priv.live;
	mend_interrupted(&t->regs);
	name_restarted(t->tid, &t->regs);
	return 0;
}

/* Until the stop that PTRACE_INTERRUPT asked for. A signal that was on its way is delivered first, by the kernel's own rules: with another
 * interrupt behind it, since any stop uses up the one before, the thread stops again before its handler's first instruction. */
static int await_interrupt(struct remote_thread *t, int timeout_ms, struct err *e)
{
	for (;;) {
		int status, sig;

		if (remote_wait(t->tid, timeout_ms, &status, e) < 0)
			return -1;
		sig = WSTOPSIG(status);
		if (status >> 16 == EVENT_STOP) {
			t->stopped = true;
			t->group_stop = sig != SIGTRAP;
			t->stop_signal = t->group_stop ? sig : 0;
			return 0;
		}
		if (status >> 16 != 0)
			sig = 0;
		if (REMOTE_PTRACE(PTRACE_INTERRUPT, t->tid, 0, 0, e) < 0 || REMOTE_PTRACE(PTRACE_CONT, t->tid, 0, sig, e) < 0)
			return -1;
	}
}

static struct remote_thread *add_thread(struct remote *r, pid_t tid, struct err *e)
{
	if (!array_room(&r->thread, r->threads, &r->capacity, sizeof(*r->thread), 8)) {
		err_set(e, ERR_INTERNAL, ENOMEM, "list of threads");
		return NULL;
	}
	r->thread[r->threads] = (struct remote_thread){ .tid = tid };
	return &r->thread[r->threads++];
}

static bool holds(const struct remote *r, pid_t tid)
{
	for (size_t i = 0; i < r->threads; i++)
		if (r->thread[i].tid == tid)
			return true;
	return false;
}

/* A field of /proc/PID/task/TID/status as a number; -1 when the task is gone or has no such line. */
static long status_field(pid_t pid, pid_t tid, const char *name)
{
	struct err ignored = { 0 };
	cleanup_free char *text = status_text(pid, tid, &ignored);

	return text ? (long)text_number(text, name, 10, (uint64_t)-1) : -1;
}

/* Why a task that should be there could not be seized. */
static int explain_seize(pid_t pid, pid_t tid, int error, struct err *e)
{
	long tracer = status_field(pid, tid, "TracerPid");

	if (error == ESRCH || tracer < 0)
		return err_set(e, ERR_GONE, 0, "no process %d", pid);
	if (tracer > 0)
		return err_set(e, ERR_PERMISSION, 0, "task %d is traced by process %ld", tid, tracer);
	if (error == EPERM && status_field(pid, tid, "Threads") > 1 && pid == tid && geteuid() == 0)
		return err_set(e, ERR_UNSUPPORTED, 0, "task %d: the first thread has ended while others run", tid);
	if (error == EPERM)
		return err_set(e, ERR_PERMISSION, EPERM, geteuid() == 0 ? "may not trace task %d" : "may not trace task %d, as root may", tid);
	return err_set(e, ERR_SYSTEM, error, "seize task %d", tid);
}

/* Seizes and interrupts one thread; 0 also when it ended meanwhile (it is not in the list then). */
static int seize_one(struct remote *r, pid_t tid, struct err *e)
{
	unsigned long options = PTRACE_O_TRACESYSGOOD | (r->exitkill ? PTRACE_O_EXITKILL : 0);
	struct remote_thread *t;

	if (ptrace(PTRACE_SEIZE, tid, NULL, (void *)options) < 0) {
		int error = errno;

		if (tid != r->pid && has_ended(r->pid, tid))
			return 0;
		return explain_seize(r->pid, tid, error, e);
	}
	t = add_thread(r, tid, e);
	if (!t) {
		/* Only a stopped task can be detached, so this one is let go when this thread ends. */
		return -1;
	}
	return REMOTE_PTRACE(PTRACE_INTERRUPT, tid, 0, 0, e);
}

static void forget(struct remote *r, size_t i)
{
	memmove(&r->thread[i], &r->thread[i + 1], (r->threads - i - 1) * sizeof(r->thread[0]));
	r->threads--;
}

/* Waits for those from `from` on; threads that ended meanwhile leave the list. */
static int await_from(struct remote *r, size_t from, struct err *e)
{
	for (size_t i = from; i < r->threads;) {
		struct remote_thread *t = &r->thread[i];

		if (await_interrupt(t, r->stop_ms, e) == 0 && read_regs(t, e) == 0) {
			i++;
			continue;
		}
		if (e->kind != ERR_GONE || t->tid == r->pid)
			return -1;
		err_clear(e);
		forget(r, i);
	}
	return 0;
}

/* One pass over /proc/PID/task; found says how many were new. */
static int seize_pass(struct remote *r, size_t *found, struct err *e)
{
	cleanup_dir DIR *threads = proc_threads(r->pid);
	size_t before = r->threads;
	pid_t tid;

	if (!threads)
		return err_set(e, ERR_GONE, 0, "no process %d", r->pid);
	*found = 0;
	if (before == 0 && seize_one(r, r->pid, e) < 0)
		return -1;
	while ((tid = proc_next_thread(threads)))
		if (!holds(r, tid) && seize_one(r, tid, e) < 0)
			return -1;
	*found = r->threads - before;
	return await_from(r, before, e);
}

int remote_seize_within(struct remote *r, pid_t pid, unsigned flags, int stop_ms, struct err *e)
{
	size_t found = 0;

	*r = (struct remote){ .pid = pid, .exitkill = flags & REMOTE_EXITKILL, .stop_ms = stop_ms };
	if (proc_check_pid(pid, e) < 0)
		return -1;
	do {
		if (seize_pass(r, &found, e) < 0) {
			remote_release(r);
			return err_wrap(e, "stop process %d", pid);
		}
	} while (found > 0);
	return 0;
}

bool remote_has_ended(const struct remote *r)
{
	return has_ended(r->pid, r->pid);
}

int remote_wait_born(pid_t tid, struct err *e)
{
	struct remote_thread t = { .tid = tid };

	return await_interrupt(&t, REMOTE_STOP_MS, e);
}

int remote_adopt(struct remote *r, pid_t tid, struct err *e)
{
	struct remote_thread *t = add_thread(r, tid, e);

	if (!t)
		return -1;
	if (await_interrupt(t, REMOTE_STOP_MS, e) < 0 || read_regs(t, e) < 0) {
		r->threads--;
		return err_wrap(e, "new thread %d", tid);
	}
	return 0;
}

/* A thread that was interrupted and not waited for has to stop before it can be let go. */
static void release_one(struct remote_thread *t)
{
	struct err ignored = { 0 };
	int status;

	if (!t->stopped && await_interrupt(t, REMOTE_STOP_MS, &ignored) < 0)
		return;
	if (memcmp(&t->regs, &t->priv.live, sizeof(t->regs)) != 0 && t->priv.live.cs != 0)
		ptrace(PTRACE_SETREGS, t->tid, NULL, &t->regs);
	if (ptrace(PTRACE_DETACH, t->tid, NULL, NULL) < 0 && errno == ESRCH)
		remote_wait(t->tid, REMOTE_STOP_MS, &status, &ignored); /* killed: reaped, so that its parent can */
}

void remote_release(struct remote *r)
{
	/* The leader last: its end can be waited for only when the other threads are gone. */
	for (size_t i = r->threads; i-- > 0;)
		release_one(&r->thread[i]);
	free(r->thread);
	r->thread = NULL;
	r->threads = r->capacity = 0;
	r->born_count = 0;
}

int remote_seize(struct remote *r, pid_t pid, unsigned flags, struct err *e)
{
	return remote_seize_within(r, pid, flags, REMOTE_STOP_MS, e);
}
