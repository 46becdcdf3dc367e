/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/extract/twin.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/extract/twin_blob.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/proc_text.h"

enum { TWINS_MAX = 16, PIPE_BYTES = 1 << 20 };

extern const char __start_twin_code[], __stop_twin_code[]; /* the linker's names for the section */

/* Waits until the twin stands still; false when it ended (and is reaped). */
static bool wait_stop(pid_t pid, int *status)
{
	pid_t got;

	do
		got = waitpid(pid, status, __WALL);
	while (got < 0 && errno == EINTR);
	return got == pid && WIFSTOPPED(*status);
}

/* A newborn twin stands at its first trap inside remote.h's loop: give it our code, our stack, no signals; let it set itself up. */
static int launch(const struct remote *r, pid_t pid, uint64_t area, struct err *e)
{
	struct user_regs_struct regs;
	uint64_t all = ~0ull;

	if (remote_wait_born(pid, e) < 0)
		return err_wrap(e, "twin %d", pid);
	if (ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_EXITKILL | PTRACE_O_SUSPEND_SECCOMP) < 0 &&
	    ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_EXITKILL) < 0)
		return err_sys(e, "cannot tie twin %d to its tracer", pid);
	if (ptrace(PTRACE_SETSIGMASK, pid, sizeof(all), &all) < 0 || ptrace(PTRACE_GETREGS, pid, 0, &regs) < 0)
		return err_sys(e, "cannot prepare twin %d", pid);
	regs.rip = r->scratch + TWIN_CODE_OFFSET + (uint64_t)((uintptr_t)twin_main - (uintptr_t)__start_twin_code);
	regs.rdi = area;
	/* As behind a call instruction: 8 below a multiple of 16. */
	regs.rsp = area + offsetof(struct twin_area, stack) + sizeof(((struct twin_area *)0)->stack) - 8;
	regs.rbp = 0;
	regs.eflags &= ~0x400ull; /* direction flag */
	regs.orig_rax = (unsigned long long)-1;
	if (ptrace(PTRACE_SETREGS, pid, 0, &regs) < 0 || ptrace(PTRACE_CONT, pid, 0, 0) < 0)
		return err_sys(e, "cannot start twin %d", pid);
	return 0;
}

/* The twin has set itself up and stopped: take our ends of its pipes and let it loop. */
static int connect_twin(pid_t pid, uint64_t area, struct twin_ends *ends, struct err *e)
{
	cleanup_fd int pidfd = -1;
	struct twin_setup setup;
	int status;

	if (!wait_stop(pid, &status))
		return err_set(e, ERR_GONE, 0, "twin %d ended while it was made", pid);
	if (WSTOPSIG(status) != SIGSTOP)
		return err_set(e, ERR_INTERNAL, 0, "twin %d stopped by signal %d", pid, WSTOPSIG(status));
	if (remote_read(pid, area, &setup, sizeof(setup), e) < 0)
		return -1;
	if (setup.rc < 0)
		return err_set(e, ERR_SYSTEM, -setup.rc, "twin %d cannot make its pipes", pid);
	pidfd = pidfd_open_(pid, 0);
	if (pidfd < 0)
		return err_sys(e, "twin %d", pid);
	ends->command_write = pidfd_getfd_(pidfd, setup.command[1]);
	ends->pipe_read = pidfd_getfd_(pidfd, setup.page[0]);
	if (ends->command_write < 0 || ends->pipe_read < 0)
		return err_set(e, ERR_SYSTEM, 0, "cannot fetch the pipes of twin %d", pid);
	if (fcntl(ends->pipe_read, F_SETPIPE_SZ, PIPE_BYTES) < 0)
		return err_sys(e, "cannot make the pipe of twin %d hold %d KiB", pid, PIPE_BYTES / 1024);
	ends->pid = pid;
	ends->control = area + offsetof(struct twin_area, control);
	if (ptrace(PTRACE_CONT, pid, 0, 0) < 0)
		return err_sys(e, "cannot start twin %d", pid);
	return 0;
}

static int give_birth(struct remote *r, unsigned n, struct twins *t, struct err *e)
{
	struct remote_call born[TWINS_MAX];
	int rc;

	for (unsigned i = 0; i < n; i++)
		born[i] = REMOTE_CALL(__NR_clone, CLONE_VM | CLONE_PTRACE);
	rc = remote_run(r, 0, born, n, "clone a twin", e);
	for (unsigned i = 0; i < r->born_count && i < n; i++) {
		t->inner_pid[i] = (pid_t)born[i].ret;
		t->pid[i] = r->born[i];
		t->count = i + 1;
	}
	if (rc == 0 && t->count < n)
		return err_set(e, ERR_INTERNAL, 0, "%u twins were asked for, %u were born", n, t->count);
	return rc;
}

static void close_ends(struct twin_ends *ends, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		cleanup_fd_(&ends[i].command_write);
		cleanup_fd_(&ends[i].pipe_read);
		ends[i].command_write = ends[i].pipe_read = -1;
	}
}

int twins_create(struct remote *r, unsigned n, struct twins *t, struct twin_ends *ends, struct err *e)
{
	size_t code = (size_t)(__stop_twin_code - __start_twin_code);
	struct err later;

	*t = (struct twins){ 0 };
	if (n == 0 || n > TWINS_MAX || r->scratch == 0 || remote_scratch_size(r) < (uint64_t)n * TWIN_SCRATCH ||
	    code > DRAY_PAGE_SIZE - TWIN_CODE_OFFSET)
		return err_set(e, ERR_INTERNAL, 0, "no room for %u twins", n);
	for (unsigned i = 0; i < n; i++)
		ends[i] = (struct twin_ends){ .command_write = -1, .pipe_read = -1 };
	if (remote_write(r->pid, r->scratch + TWIN_CODE_OFFSET, __start_twin_code, code, e) < 0 || give_birth(r, n, t, e) < 0)
		goto fail;
	for (unsigned i = 0; i < n; i++)
		if (launch(r, t->pid[i], remote_scratch_data(r) + (uint64_t)i * TWIN_SCRATCH, e) < 0)
			goto fail;
	for (unsigned i = 0; i < n; i++)
		if (connect_twin(t->pid[i], remote_scratch_data(r) + (uint64_t)i * TWIN_SCRATCH, &ends[i], e) < 0)
			goto fail;
	return 0;
fail:
	close_ends(ends, n);
	twins_destroy(t);
	twins_reap(r, t, &later);
	return -1;
}

/* One stop or end of a twin that nobody asked for. A stop signal isn't for it (its target's own stop isn't its business). */
static void settle_stop(struct twins *t, unsigned i, int status)
{
	if (WIFSTOPPED(status))
		ptrace(PTRACE_CONT, t->pid[i], 0, 0);
	else
		t->pid[i] = 0;
}

bool twins_left_dead(pid_t child)
{
	struct err ignored;
	cleanup_free char *text = status_text(child, child, &ignored);
	const char *name = text ? text_field(text, "Name") : NULL, *state = text ? text_field(text, "State") : NULL;

	return name && state && strncmp(name, "dray-twin\n", 10) == 0 && *state == 'Z';
}

unsigned twins_poll(struct twins *t)
{
	unsigned alive = 0;

	for (unsigned i = 0; i < t->count; i++) {
		int status;

		while (t->pid[i] > 0) {
			pid_t got = waitpid(t->pid[i], &status, __WALL | WNOHANG);

			if (got == t->pid[i])
				settle_stop(t, i, status);
			else if (got == 0 || errno != EINTR)
				break;
		}
		alive += t->pid[i] > 0;
	}
	return alive;
}

bool twins_share_mm(const struct twins *t, pid_t target)
{
	for (unsigned i = 0; i < t->count; i++)
		if (t->pid[i] > 0 && syscall(SYS_kcmp, t->pid[i], target, KCMP_VM, 0, 0) != 0)
			return false;
	return true;
}

void twins_destroy(struct twins *t)
{
	for (unsigned i = 0; i < t->count; i++)
		if (t->pid[i] > 0)
			kill(t->pid[i], SIGKILL);
	for (unsigned i = 0; i < t->count; i++) {
		int status;

		if (t->pid[i] <= 0)
			continue;
		while (wait_stop(t->pid[i], &status))
			; /* a stop that was on its way when the kill came */
		t->pid[i] = 0;
	}
}

int twins_reap(struct remote *r, struct twins *t, struct err *e)
{
	struct remote_call calls[TWINS_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < t->count; i++)
		if (t->inner_pid[i] > 0 && t->pid[i] == 0)
			calls[n++] = REMOTE_TRY(__NR_wait4, (uint64_t)t->inner_pid[i], 0, __WALL | WNOHANG, 0);
	*t = (struct twins){ 0 };
	if (r->scratch)
		return n > 0 ? remote_run(r, 0, calls, n, "reap the twins", e) : 0;
	for (unsigned i = 0; i < n; i++) /* a program that came by execve has no loop of ours in it */
		if (remote_step(r, 0, &calls[i], "reap the twins", e) < 0)
			return -1;
	return 0;
}
