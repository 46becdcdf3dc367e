/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/dump/tracker_holder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/proc_stat.h"

int tracker_start_time(pid_t pid, uint64_t *ticks)
{
	struct proc_stat s;

	if (proc_stat_read(pid, pid, &s) < 0)
		return -1;
	*ticks = s.start_time;
	return 0;
}

/* ---- the holder ---- */

struct holder {
	int sock, target, uffd; /* listening socket, pidfd, what it is all about */
	struct tracker_left left;
	char path[TRACKER_PATH_MAX];
	ino_t socket; /* what path is; another holder may have taken our place */
};

static void remove_socket(const struct holder *h)
{
	struct stat st;

	if (lstat(h->path, &st) == 0 && st.st_ino == h->socket)
		unlink(h->path);
}

static bool may_have_it(int conn)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(conn, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && (cred.uid == 0 || cred.uid == geteuid());
}

/* True when it was taken. */
static bool answer(struct holder *h, int conn)
{
	struct timeval patience = { .tv_sec = TRACKER_ANSWER_S };
	unsigned char question = 0;

	setsockopt(conn, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (!may_have_it(conn) || recv(conn, &question, 1, 0) != 1)
		return false;
	if (question == TRACKER_LOOK)
		send_fds(conn, &h->left, sizeof(h->left), NULL, 0);
	if (question != TRACKER_TAKE || send_fds(conn, &h->left, sizeof(h->left), &h->uffd, 1) < 0)
		return false;
	close(steal_fd(&h->uffd)); /* before the connection: its end says that nobody but the taker has it */
	return true;
}

static void hold(struct holder *h)
{
	uint64_t until = clock_us() + TRACKER_IDLE_S * 1000000ull;

	for (uint64_t now = clock_us(); now < until; now = clock_us()) {
		struct pollfd p[2] = { { .fd = h->sock, .events = POLLIN }, { .fd = h->target, .events = POLLIN } };
		bool taken = false;
		int conn;

		if (poll(p, 2, (int)((until - now) / 1000) + 1) < 0)
			continue;
		if (p[1].revents)
			break;
		conn = p[0].revents ? accept4(h->sock, NULL, NULL, SOCK_CLOEXEC) : -1;
		if (conn >= 0) {
			taken = answer(h, conn);
			close(conn);
		}
		if (taken)
			break;
	}
	remove_socket(h);
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* A caller may have had 0 to 2 closed, so that ours stand there. */
static void keep_only(struct holder *h)
{
	int *own[3] = { &h->sock, &h->target, &h->uffd }, keep[3], null = open("/dev/null", O_RDWR);

	for (int i = 0; i < 3; i++)
		keep[i] = *own[i] = fcntl(*own[i], F_DUPFD_CLOEXEC, 3);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	qsort(keep, 3, sizeof(keep[0]), by_number);
	close_range(3, (unsigned)keep[0] - 1, 0);
	for (int i = 0; i < 2; i++)
		close_range((unsigned)keep[i] + 1, (unsigned)keep[i + 1] - 1, 0);
	close_range((unsigned)keep[2] + 1, ~0u, 0);
}

_Noreturn static void be_holder(struct holder *h)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, sig == SIGHUP || sig == SIGINT || sig == SIGPIPE ? SIG_IGN : SIG_DFL);
	keep_only(h);
	if (chdir("/") < 0)
		_exit(1);
	prctl(PR_SET_NAME, "dray-tracker");
	hold(h);
	_exit(0);
}

/* ---- who starts it ---- */

static int listen_at(const char *path, ino_t *ino, struct err *e)
{
	struct stat st;
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	cleanup_fd int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	mode_t before;
	int rc;

	if (strlen(path) >= sizeof(un.sun_path))
		return err_set(e, ERR_SYSTEM, ENAMETOOLONG, "%s", path);
	strcpy(un.sun_path, path);
	unlink(path); /* what is there was left by somebody who ended, or is replaced by us */
	before = umask(0177);
	rc = sock < 0 ? -1 : bind(sock, (struct sockaddr *)&un, sizeof(un));
	umask(before);
	if (rc < 0 || listen(sock, 8) < 0 || lstat(path, &st) < 0)
		return err_sys(e, "listen at %s", path);
	*ino = st.st_ino;
	return steal_fd(&sock);
}

/* Twice forked: whoever called us has no child to wait for. */
static int fork_holder(struct holder *h, struct err *e)
{
	pid_t pid;
	int status = 0;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return err_sys(e, "fork");
	if (pid == 0) {
		pid_t holder = setsid() < 0 ? -1 : fork();

		if (holder == 0)
			be_holder(h);
		_exit(holder < 0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status ? err_set(e, ERR_SYSTEM, EAGAIN, "fork") : 0;
}

int tracker_holder_start(const char *path, pid_t target, const struct tracker_left *left, int uffd, struct err *e)
{
	struct holder h = { .left = *left, .uffd = uffd };
	int rc;

	snprintf(h.path, sizeof(h.path), "%s", path);
	h.target = pidfd_open_(target, 0);
	if (h.target < 0)
		return err_set(e, ERR_GONE, -h.target, "process %d", target);
	h.sock = listen_at(path, &h.socket, e);
	rc = h.sock < 0 ? -1 : fork_holder(&h, e);
	if (rc < 0)
		remove_socket(&h);
	cleanup_fd_(&h.sock);
	close(h.target);
	return rc;
}
