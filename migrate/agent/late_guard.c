/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/agent/late_guard.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/wire/runs.h"

enum { ROOM_TRIES = 100, ROOM_MS = 100, HOLD_MS = 100, NOWHERE = 1 << 20 /* below where programs are: nothing of ours */ };

/* What it holds back from readers of zeros: who has ended needs it no more. */
static bool is_needed(int uffd)
{
	struct uffdio_copy nothing = { .dst = NOWHERE, .src = NOWHERE, .len = DRAY_PAGE_SIZE };

	return ioctl(uffd, UFFDIO_COPY, &nothing) == 0 || errno != ESRCH;
}

/* Closes all but the userfaultfds of those that live, and the log. Returns how many those are; where that can't be told, one. */
static unsigned close_rest(void)
{
	cleanup_dir DIR *dir = opendir("/proc/self/fd");
	struct dirent *d;
	unsigned kept = !dir;

	while (dir && (d = readdir(dir))) {
		int fd = (int)strtol(d->d_name, NULL, 10);
		char link[64] = "";

		if (fd <= STDERR_FILENO || fd == dirfd(dir) || readlinkat(dirfd(dir), d->d_name, link, sizeof(link) - 1) < 0)
			continue;
		if (strcmp(link, "anon_inode:[userfaultfd]") == 0 && is_needed(fd))
			kept++;
		else
			close(fd);
	}
	return kept;
}

/* With a cgroup nobody is left. Without one, whose parent ended before can't be told from other processes: he must not read zeros for that. */
static void hold_on(void)
{
	unsigned left = close_rest();

	if (left > 0)
		log_event(LOG_ERROR, "unfed", "processes=%u wait for pages for ever: end them", left);
	while (left > 0) {
		poll(NULL, 0, HOLD_MS);
		left = close_rest();
	}
}

static _Noreturn void guard_main(const struct late_guard *g)
{
	struct pollfd p[2] = { { .fd = g->release, .events = POLLIN }, { .fd = g->session, .events = POLLIN } };

	prctl(PR_SET_NAME, "dray-guard");
	log_set_role("guard");
	setsid(); /* a signal to the session's group is not meant for us */
	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
	if (!p[0].revents) {
		close(g->session); /* there may be no other descriptor left, and the deed takes some */
		close(g->release);
		g->deed(g->arg);
		hold_on();
	}
	_exit(0);
}

/* Its descriptors are open for it in the table that is ours too. */
static int start(struct late_guard *g)
{
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_FILES | CLONE_PIDFD | SIGCHLD, NULL, &g->end, NULL, NULL);

	if (pid == 0)
		guard_main(g);
	if (pid < 0)
		return -errno;
	g->pid = pid;
	return 0;
}

int late_guard_start(struct late_guard *g, late_guard_deed *deed, void *arg, struct err *e)
{
	cleanup_fd int session = pidfd_open_(getpid(), 0), release = eventfd(0, EFD_CLOEXEC);
	struct late_guard started = { .release = release, .session = session, .deed = deed, .arg = arg };
	int rc;

	if (session < 0 || release < 0)
		return err_sys(e, "post-copy: guard");
	rc = start(&started);
	if (rc < 0)
		return err_set(e, ERR_SYSTEM, -rc, "post-copy: start the guard");
	*g = started;
	steal_fd(&session);
	steal_fd(&release);
	return 0;
}

static bool has_ended(const struct late_guard *g)
{
	pid_t pid;

	do
		pid = waitpid(g->pid, NULL, WNOHANG);
	while (pid < 0 && errno == EINTR);
	return pid != 0;
}

int late_guard_keep(struct late_guard *g, struct err *e)
{
	int rc = -EAGAIN;

	if (!g->pid || !has_ended(g))
		return 0;
	log_event(LOG_WARN, "guard-killed", "pid=%d another one is started", (int)g->pid);
	close(g->end); /* leaves room for the next one's */
	g->pid = 0;
	for (unsigned i = 0; i < ROOM_TRIES && (rc = start(g)) < 0; i++)
		poll(NULL, 0, ROOM_MS);
	return rc < 0 ? err_set(e, ERR_SYSTEM, -rc, "post-copy: the guard was killed, and another one can't be started") : 0;
}

static void forget(struct late_guard *g)
{
	if (g->pid)
		close(g->end);
	close(g->release);
	close(g->session);
	*g = (struct late_guard){ 0 };
}

bool late_guard_leave(struct late_guard *g)
{
	if (!g->pid || unshare(CLONE_FILES) < 0)
		return false;
	forget(g);
	return true;
}

void late_guard_release(struct late_guard *g)
{
	const uint64_t go = 1;

	if (!g->deed)
		return;
	write_full(g->release, &go, sizeof(go)); /* one that is gone needs no word */
	while (g->pid && waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
		;
	forget(g);
}
