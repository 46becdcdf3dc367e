/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/agent/late_guard.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"

enum { ROOM_TRIES = 100, ROOM_MS = 100 };

static _Noreturn void guard_main(const struct late_guard *g)
{
	struct pollfd p[2] = { { .fd = g->release, .events = POLLIN }, { .fd = g->session, .events = POLLIN } };

	prctl(PR_SET_NAME, "dray-guard");
	log_set_role("guard");
	setsid(); /* a signal to the session's group is not meant for us */
	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
	if (!p[0].revents)
		g->deed(g->arg);
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

void late_guard_release(struct late_guard *g)
{
	const uint64_t go = 1;

	if (!g->deed)
		return;
	write_full(g->release, &go, sizeof(go)); /* one that is gone needs no word */
	while (g->pid && waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (g->pid)
		close(g->end);
	close(g->release);
	close(g->session);
	*g = (struct late_guard){ 0 };
}
