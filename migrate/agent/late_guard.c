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

static _Noreturn void guard_main(int session, int release, late_guard_deed *deed, void *arg)
{
	struct pollfd p[2] = { { .fd = release, .events = POLLIN }, { .fd = session, .events = POLLIN } };

	prctl(PR_SET_NAME, "dray-guard");
	log_set_role("guard");
	setsid(); /* a signal to the session's group is not meant for us */
	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
	if (!p[0].revents)
		deed(arg);
	_exit(0);
}

int late_guard_start(struct late_guard *g, late_guard_deed *deed, void *arg, struct err *e)
{
	cleanup_fd int session = pidfd_open_(getpid(), 0), release = eventfd(0, EFD_CLOEXEC);
	pid_t pid;

	if (session < 0 || release < 0)
		return err_sys(e, "post-copy: guard");
	pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid == 0)
		guard_main(session, release, deed, arg);
	if (pid < 0)
		return err_sys(e, "post-copy: fork the guard");
	/* Open for the guard, in the table that is ours too. */
	*g = (struct late_guard){ .pid = pid, .release = steal_fd(&release), .session = steal_fd(&session) };
	return 0;
}

void late_guard_release(struct late_guard *g)
{
	const uint64_t go = 1;

	if (!g->pid)
		return;
	write_full(g->release, &go, sizeof(go)); /* one that is gone needs no word */
	while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
		;
	close(g->release);
	close(g->session);
	*g = (struct late_guard){ .release = -1, .session = -1 };
}
