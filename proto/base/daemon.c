/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"

enum { FIRST_PASSED = 3 };

int daemon_signals(struct err *e)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? err_sys(e, "signalfd") : fd;
}

void daemon_allow_descriptors(uint64_t n)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur >= n)
		return;
	r.rlim_cur = n < r.rlim_max ? n : r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
}

void daemon_fill_standard(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int pidfile_create(const char *path, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 && errno == EEXIST)
		return err_set(e, ERR_CONFLICT, 0, "pid file %s is there already: remove it once its process is gone", path);
	return fd < 0 ? err_sys(e, "pid file %s", path) : fd;
}

int pidfile_write(int fd, struct err *e)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", (int)getpid()), rc = write_full(fd, text, (size_t)len);

	return rc < 0 ? err_set(e, ERR_SYSTEM, -rc, "write the pid file") : 0;
}

static bool is_file(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

int daemon_detach(struct err *e)
{
	cleanup_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	pid_t pid;

	if (null < 0)
		return err_sys(e, "/dev/null");
	pid = fork();
	if (pid < 0)
		return err_sys(e, "fork");
	if (pid > 0)
		_exit(0);
	setsid();
	if (dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    (!is_file(STDERR_FILENO) && dup2(null, STDERR_FILENO) < 0))
		return err_sys(e, "standard descriptors");
	return 0;
}

int daemon_check_ready_fd(int fd, struct err *e)
{
	return fcntl(fd, F_GETFD) < 0 ? err_set(e, ERR_USAGE, errno, "--status-fd %d", fd) : 0;
}

int daemon_say_ready(int fd, struct err *e)
{
	int rc = write_full(fd, "", 1);

	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	return rc < 0 ? err_set(e, ERR_USAGE, -rc, "status descriptor %d", fd) : 0;
}

static int option_of(int fd, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? -1 : value;
}

int daemon_passed_socket(int family, int type, struct err *e)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");

	if (!pid || !count || strtol(pid, NULL, 10) != (long)getpid() || strcmp(count, "0") == 0)
		return 0;
	if (strcmp(count, "1") != 0)
		return err_set(e, ERR_USAGE, 0, "the service manager passed %.20s sockets, one is wanted", count);
	if ((family != AF_UNSPEC && option_of(FIRST_PASSED, SO_DOMAIN) != family) || option_of(FIRST_PASSED, SO_TYPE) != type ||
	    option_of(FIRST_PASSED, SO_ACCEPTCONN) != 1)
		return err_set(e, ERR_USAGE, 0, "the socket that the service manager passed is of another family or type, or does not listen");
	fcntl(FIRST_PASSED, F_SETFD, FD_CLOEXEC);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	return FIRST_PASSED;
}
