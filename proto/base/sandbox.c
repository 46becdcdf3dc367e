/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/sandbox.h"

#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NOBODY = 65534 };

/* Sockets and pipes that are there, memory, time, randomness, signals, the end. */
static const uint16_t common_calls[] = {
	SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_recvfrom, SYS_sendto, SYS_recvmsg, SYS_sendmsg, SYS_poll, SYS_ppoll, SYS_close,
	SYS_shutdown, SYS_fcntl, SYS_dup, SYS_getsockname, SYS_getpeername, SYS_getsockopt, SYS_setsockopt, SYS_lseek, SYS_fstat,
	SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_brk, SYS_futex, SYS_sched_yield,
	SYS_clock_gettime, SYS_gettimeofday, SYS_time, SYS_clock_nanosleep, SYS_nanosleep, SYS_restart_syscall, SYS_getrandom,
	SYS_getpid, SYS_gettid, SYS_getppid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid,
	SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_rt_sigreturn, SYS_exit, SYS_exit_group,
};
static const uint16_t exporter_calls[] = { SYS_accept4 };

static const struct {
	const uint16_t *call;
	size_t count;
} extra[] = {
	[SANDBOX_RELAY] = { NULL, 0 },
	[SANDBOX_EXPORTER] = { exporter_calls, sizeof(exporter_calls) / sizeof(exporter_calls[0]) },
};

enum { CALLS_MAX = 96, FILTER_MAX = 2 * CALLS_MAX + 8 };

struct program {
	struct sock_filter step[FILTER_MAX];
	unsigned short steps;
};

static void add(struct program *p, struct sock_filter step)
{
	p->step[p->steps++] = step;
}

static void permit(struct program *p, const uint16_t *call, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		add(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call[i], 0, 1));
		add(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
	}
}

_Static_assert(sizeof(common_calls) / sizeof(common_calls[0]) + sizeof(exporter_calls) / sizeof(exporter_calls[0]) <= CALLS_MAX,
	       "the filter has room for each");

/* Another architecture's calls bear other numbers: none of them is permitted; nor is x32's, whose numbers are beyond all of these. */
static int filter_calls(enum sandbox_kind kind)
{
	struct program p = { .steps = 0 };
	struct sock_fprog prog = { .filter = p.step };

	add(&p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)));
	add(&p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0));
	add(&p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
	add(&p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
	permit(&p, common_calls, sizeof(common_calls) / sizeof(common_calls[0]));
	permit(&p, extra[kind].call, extra[kind].count);
	add(&p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
	prog.len = p.steps;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	return (int)syscall(SYS_capset, &head, none);
}

/* A user namespace may know no nobody: then the capabilities alone go. */
static int drop_user(void)
{
	if (geteuid() != 0)
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return errno == EINVAL || errno == EPERM ? 0 : -1;
	return 0;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

int sandbox_enter(enum sandbox_kind kind, struct err *e)
{
	if (drop_user() < 0 || drop_capabilities() < 0)
		return err_sys(e, "give up privileges");
	if (prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, "give up new privileges");
#ifndef SANITIZED
	if (filter_calls(kind) < 0 && errno != EINVAL) /* a kernel without seccomp */
		return err_sys(e, "system call filter");
#else
	(void)kind, (void)filter_calls;
#endif
	return 0;
}
