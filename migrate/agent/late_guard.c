/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/agent/late_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/io.h"
#include "proto/base/log.h"

enum { KEPT_UFFD = 3, KEPT_LINE = 4 };

/* Keeps nothing of the session's but the two: its connections would stay open through us. */
static int keep_only(int uffd, int line)
{
	int high_uffd = fcntl(uffd, F_DUPFD_CLOEXEC, 16), high_line = fcntl(line, F_DUPFD_CLOEXEC, 16);

	if (high_uffd < 0 || high_line < 0 || dup2(high_uffd, KEPT_UFFD) < 0 || dup2(high_line, KEPT_LINE) < 0)
		return -1;
	return close_range(KEPT_LINE + 1, ~0u, 0);
}

static _Noreturn void guard_main(int uffd, int line, struct freezer *freezer)
{
	struct err e;
	char go;

	prctl(PR_SET_NAME, "dray-guard");
	log_set_role("guard");
	setsid(); /* a signal to the session's group is not meant for us */
	if (keep_only(uffd, line) < 0 || read_full(KEPT_LINE, &go, 1) == 0)
		_exit(0);
	log_event(LOG_ERROR, "session-killed", "pid=%d its pages are not all there, it is ended", (int)freezer->pid);
	if (freezer_kill(freezer, &e) < 0 && e.kind != ERR_GONE)
		log_event(LOG_ERROR, "kill", "pid=%d error=\"%s\"", (int)freezer->pid, e.text);
	_exit(0);
}

int late_guard_start(struct late_guard *g, int uffd, const struct freezer *freezer, struct err *e)
{
	struct freezer f = *freezer;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "socketpair");
	g->pid = fork();
	if (g->pid == 0) {
		close(pair[0]);
		guard_main(uffd, pair[1], &f);
	}
	close(pair[1]);
	if (g->pid < 0) {
		close(pair[0]);
		g->pid = 0;
		return err_sys(e, "fork the guard");
	}
	g->line = pair[0];
	return 0;
}

void late_guard_release(struct late_guard *g)
{
	char go = 1;

	if (!g->pid)
		return;
	write_full(g->line, &go, 1); /* one that is gone needs no word */
	close(g->line);
	while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
		;
	*g = (struct late_guard){ .line = -1 };
}
