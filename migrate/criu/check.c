/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/criu/check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/track/pagemap.h"
#include "migrate/track/track.h"
#include "proto/base/cleanup.h"
#include "proto/base/die_with.h"
#include "proto/base/io.h"

#ifndef TFD_IOC_SET_TICKS
#define TFD_IOC_SET_TICKS _IOW('T', 0, uint64_t) /* linux/timerfd.h, which glibc's header does not go with */
#endif
#ifndef PTRACE_GET_RSEQ_CONFIGURATION
#define PTRACE_GET_RSEQ_CONFIGURATION 0x420f
#endif
#ifndef PTRACE_GETSIGMASK
#define PTRACE_GETSIGMASK 0x420a
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef PR_TIMER_CREATE_RESTORE_IDS
#define PR_TIMER_CREATE_RESTORE_IDS 77
#endif

static int result(long rc)
{
	return rc < 0 ? -errno : 0;
}

/* --- what is asked of another process ------------------------------------------------------------------------------------------- */

typedef int child_probe(pid_t child);

static int stop(pid_t child)
{
	int status;

	if (ptrace(PTRACE_SEIZE, child, 0, PTRACE_O_EXITKILL) < 0 || ptrace(PTRACE_INTERRUPT, child, 0, 0) < 0 ||
	    waitpid(child, &status, __WALL) < 0)
		return -errno;
	return WIFSTOPPED(status) ? 0 : -ECHILD;
}

/* Asks of a child that is held by ptrace and ends with the question. */
static int of_held_child(child_probe *ask)
{
	pid_t self = getpid(), child = fork();
	int rc;

	if (child == 0) {
		if (!die_with(self, SIGKILL))
			_exit(1);
		for (;;)
			pause();
	}
	if (child < 0)
		return -errno;
	rc = stop(child);
	if (rc == 0 && ask)
		rc = ask(child);
	kill(child, SIGKILL);
	while (waitpid(child, NULL, __WALL) == child)
		;
	return rc;
}

static int probe_ptrace(void)
{
	return of_held_child(NULL);
}

static int ask_signals(pid_t child)
{
	struct __ptrace_peeksiginfo_args args = { .nr = 1 };
	siginfo_t info;
	uint64_t mask;

	if (ptrace(PTRACE_GETSIGMASK, child, sizeof(mask), &mask) < 0)
		return -errno;
	return result(ptrace(PTRACE_PEEKSIGINFO, child, &args, &info));
}

static int probe_signals(void)
{
	return of_held_child(ask_signals);
}

static int ask_rseq(pid_t child)
{
	uint64_t configuration[4]; /* struct ptrace_rseq_configuration, 24 bytes */

	return result(ptrace(PTRACE_GET_RSEQ_CONFIGURATION, child, sizeof(configuration), configuration));
}

static int probe_rseq(void)
{
	return of_held_child(ask_rseq);
}

static int ask_seccomp(pid_t child)
{
	return result(ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_EXITKILL | PTRACE_O_SUSPEND_SECCOMP));
}

static int probe_seccomp(void)
{
	return of_held_child(ask_seccomp);
}

/* --- memory --------------------------------------------------------------------------------------------------------------------- */

static int probe_pagemap(void)
{
	cleanup_fd int fd = proc_pagemap_open(getpid());
	uint64_t word;
	off_t at = (off_t)((uintptr_t)&word / (uintptr_t)sysconf(_SC_PAGESIZE) * sizeof(word));

	return fd < 0 ? fd : pread(fd, &word, sizeof(word), at) == sizeof(word) ? 0 : -EIO;
}

static int probe_map_files(void)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	cleanup_fd int memfd = memfd_create("check", MFD_CLOEXEC);
	cleanup_fd int again = -1;
	char *page, path[80];
	int rc;

	if (memfd < 0 || ftruncate(memfd, (off_t)size) < 0)
		return -errno;
	page = mmap(NULL, size, PROT_READ, MAP_SHARED, memfd, 0);
	if (page == MAP_FAILED)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)page, (unsigned long)(page + size));
	again = open(path, O_RDONLY | O_CLOEXEC);
	rc = result(again);
	munmap(page, size);
	return rc;
}

static int probe_readv(void)
{
	char from = 1, to = 0;
	struct iovec remote = { &from, 1 }, local = { &to, 1 };

	return result(process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
}

static int probe_memfd(void)
{
	cleanup_fd int fd = memfd_create("check", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	return result(fd);
}

/* The size of the structure is given by kernels that can take it whole. */
static int probe_mm_map(void)
{
	unsigned size = 0;

	return result(prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0));
}

static int probe_mem_track(void)
{
	return tracker_best() != TRACKER_NONE ? 0 : -EOPNOTSUPP;
}

static int probe_pagemap_scan(void)
{
	struct err e = { 0 };

	return tracker_probe(TRACKER_WP_ASYNC, &e) ? 0 : -EOPNOTSUPP;
}

static int open_uffd(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	cleanup_fd int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 && errno == EPERM && !features)
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	return fd < 0 ? -errno : result(ioctl(fd, UFFDIO_API, &api));
}

static int probe_uffd(void)
{
	return open_uffd(0);
}

static int probe_uffd_events(void)
{
	return open_uffd(UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP);
}

/* --- descriptors ---------------------------------------------------------------------------------------------------------------- */

static int probe_pidfd(void)
{
	cleanup_fd int memfd = memfd_create("check", MFD_CLOEXEC);
	cleanup_fd int pidfd = pidfd_open_(getpid(), 0);
	cleanup_fd int copy = -1;

	if (memfd < 0 || pidfd < 0)
		return -errno;
	copy = pidfd_getfd_(pidfd, memfd);
	return result(copy);
}

static int probe_kcmp(void)
{
	return result(syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, 0, 0));
}

static int probe_kcmp_epoll(void)
{
	cleanup_fd int epoll = epoll_create1(EPOLL_CLOEXEC);
	cleanup_fd int event = eventfd(0, EFD_CLOEXEC);
	struct epoll_event ev = { .events = EPOLLIN };
	struct kcmp_epoll_slot slot = { .efd = (uint32_t)epoll, .tfd = (uint32_t)event };

	if (epoll < 0 || event < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, event, &ev) < 0)
		return -errno;
	return result(syscall(SYS_kcmp, getpid(), getpid(), KCMP_EPOLL_TFD, event, &slot));
}

static int probe_timerfd(void)
{
	cleanup_fd int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	uint64_t ticks = 1;

	return fd < 0 ? -errno : result(ioctl(fd, TFD_IOC_SET_TICKS, &ticks));
}

static int probe_sock_diag(void)
{
	cleanup_fd int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	return result(fd);
}

/* --- processes ------------------------------------------------------------------------------------------------------------------ */

/* Asks for a PID that is taken, its own: refused as such once the right to choose one was found. */
static int probe_set_tid(void)
{
	pid_t taken = getpid();
	struct clone_args args = { .exit_signal = SIGCHLD, .set_tid = (uintptr_t)&taken, .set_tid_size = 1 };
	long rc = syscall(SYS_clone3, &args, sizeof(args));

	if (rc == 0)
		_exit(0);
	return rc < 0 && errno != EEXIST ? -errno : 0;
}

static int probe_timer_ids(void)
{
	return result(prctl(PR_TIMER_CREATE_RESTORE_IDS, 2 /* PR_TIMER_CREATE_RESTORE_IDS_GET */, 0, 0, 0));
}

const struct check_feature check_features[] = {
	{ "ptrace_seize", true, "stopping tasks without a signal", probe_ptrace },
	{ "ptrace_siginfo", true, "pending and blocked signals", probe_signals },
	{ "pagemap", true, "which pages there are", probe_pagemap },
	{ "map_files", true, "files behind mappings", probe_map_files },
	{ "process_vm_readv", true, "reading pages from outside", probe_readv },
	{ "memfd", true, "shared memory without a name", probe_memfd },
	{ "prctl_set_mm", true, "restoring the layout of memory", probe_mm_map },
	{ "pidfd_store", true, "descriptors of other processes, and telling a process from a later one of its PID", probe_pidfd },
	{ "kcmp", true, "what tasks and descriptors share", probe_kcmp },
	{ "net_diag_raw", true, "the state of unix sockets", probe_sock_diag },
	{ "clone3_set_tid", true, "restoring tasks with their PIDs", probe_set_tid },
	{ "mem_dirty_track", false, "pre-dumps that build on each other", probe_mem_track },
	{ "pagemap_scan", false, "pre-dumps that don't stop the tasks", probe_pagemap_scan },
	{ "uffd", false, "userfaultfd", probe_uffd },
	{ "uffd-noncoop", false, "lazy pages", probe_uffd_events },
	{ "timerfd", false, "expirations of a timerfd that were not read", probe_timerfd },
	{ "kcmp_epoll", false, "which file an epoll entry watches", probe_kcmp_epoll },
	{ "seccomp_suspend", false, "tasks under a seccomp filter", probe_seccomp },
	{ "get_rseq_conf", false, "tasks that use restartable sequences", probe_rseq },
	{ "timer_ids", false, "POSIX timers with large ids", probe_timer_ids },
	{ .name = NULL },
};

static int missing(struct err *e, int rc, const char *name, const char *what)
{
	bool rights = rc == -EPERM || rc == -EACCES;

	return err_set(e, rights ? ERR_PERMISSION : ERR_UNSUPPORTED, -rc, "%s (%s)", name, what);
}

int criu_check(struct err *e)
{
	bool good = true;

	for (const struct check_feature *f = check_features; f->name; f++) {
		struct err one;
		int rc = f->needed ? f->probe() : 0;

		if (rc == 0)
			continue;
		missing(&one, rc, f->name, f->what);
		if (good)
			*e = one;
		else
			err_wrap(e, "%s", one.text);
		good = false;
	}
	return good ? 0 : err_wrap(e, "the kernel or this process's rights lack");
}

int criu_check_feature(const char *name, struct err *e)
{
	for (const struct check_feature *f = check_features; f->name; f++) {
		int rc;

		if (strcmp(f->name, name) != 0)
			continue;
		rc = f->probe();
		return rc == 0 ? 0 : missing(e, rc, f->name, f->what);
	}
	return err_set(e, ERR_USAGE, 0, "%.60s: no such feature", name);
}
