/* SPDX-License-Identifier: Apache-2.0 */
/* How a keeper comes to be, and to its end: the fork, what it is made of, who watches it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/keeper/keeper_priv.h"
#include "proto/base/io.h"
#include "proto/base/log.h"

/* Above stdio only these two stay: what the migrating process has open (sockets to the destination above all) must close when it dies. */
static void close_others(int a, int b)
{
	unsigned low = (unsigned)(a < b ? a : b), high = (unsigned)(a < b ? b : a);

	if (low > 3)
		close_range(3, low - 1, 0);
	if (high > low + 1)
		close_range(low + 1, high - 1, 0);
	close_range(high + 1, ~0u, 0);
}

static void default_signals(void)
{
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2 };

	signal(SIGCHLD, SIG_DFL);
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
}

_Noreturn static void be_keeper(int sock, int pidfd, pid_t target, const char *id, const struct keeper_settler *settler)
{
	struct hold h;
	struct err ignored = { 0 };

	setsid();
	default_signals();
	close_others(sock, pidfd);
	prctl(PR_SET_NAME, "dray-keeper");
	prctl(PR_SET_PDEATHSIG, 0);
	prctl(PR_SET_TIMERSLACK, 1); /* its naps while it waits for a stop are part of the stop */
	log_set_role("keeper");
	file_write(AT_FDCWD, "/proc/self/oom_score_adj", "-900", &ignored); /* where it is permitted */
	if (hold_init(&h, target, id, pidfd) < 0)
		_exit(1);
	_exit(keeper_serve(&h, sock, settler));
}

static int watch(int epoll, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev);
}

void keeper_release(struct keeper *k)
{
	int *fds[] = { &k->sock, &k->event, &k->target_fd, &k->keeper_fd };

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (*fds[i] >= 0)
			close(*fds[i]);
	free(k);
}

/* Ends a keeper that nothing was asked of yet, or one that is dead already. */
void keeper_reap(struct keeper *k)
{
	close(k->sock);
	k->sock = -1;
	while (k->pid > 0 && waitpid(k->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static int open_target(struct keeper *k, pid_t target, struct err *e)
{
	k->target_fd = pidfd_open_(target, 0);
	if (k->target_fd == -ESRCH || k->target_fd == -EINVAL)
		return err_set(e, ERR_GONE, 0, "no process %d", target);
	if (k->target_fd < 0)
		return err_set(e, ERR_SYSTEM, -k->target_fd, "open process %d", target);
	return 0;
}

struct keeper *keeper_start(pid_t target, const char *id, const struct keeper_settler *settler, struct err *e)
{
	struct keeper *k = malloc(sizeof(*k));
	int pair[2];

	if (!k) {
		err_set(e, ERR_INTERNAL, ENOMEM, "start the keeper");
		return NULL;
	}
	*k = (struct keeper){ .sock = -1, .event = -1, .target_fd = -1, .keeper_fd = -1, .target = target };
	if (open_target(k, target, e) < 0)
		goto fail;
	k->event = epoll_create1(EPOLL_CLOEXEC);
	if (k->event < 0 || watch(k->event, k->target_fd) < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		err_sys(e, "start the keeper");
		goto fail;
	}
	k->sock = pair[0];
	fflush(NULL); /* what stdio holds would be written twice */
	k->pid = fork();
	if (k->pid == 0)
		be_keeper(pair[1], k->target_fd, target, id, settler);
	close(pair[1]);
	k->keeper_fd = k->pid > 0 ? pidfd_open_(k->pid, 0) : -1;
	if (k->keeper_fd < 0 || watch(k->event, k->keeper_fd) < 0) {
		err_sys(e, "start the keeper");
		keeper_reap(k);
		goto fail;
	}
	return k;
fail:
	keeper_release(k);
	return NULL;
}
