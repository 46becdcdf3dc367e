/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/lazy/lazy_socket.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"

enum { FINISH_US = 60 * 1000 * 1000 };
#define SOCKET_NAME "lazy-pages.socket"

/* Named beneath the directory's descriptor: its path may be longer than an address, or not ours to know. */
static struct sockaddr_un address(int work_dir, const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/%s", work_dir, name);
	return a;
}

/* It has its name once it listens: a restore that finds it there is not refused. */
int lazy_socket_listen(int work_dir, struct err *e)
{
	static const char not_yet[] = "." SOCKET_NAME ".new";
	struct sockaddr_un a = address(work_dir, not_yet);
	cleanup_fd int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	unlinkat(work_dir, not_yet, 0);
	if (sock < 0 || bind(sock, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(sock, 1) < 0 || renameat(work_dir, not_yet, work_dir, SOCKET_NAME) < 0)
		return err_sys(e, "%s", SOCKET_NAME);
	return steal_fd(&sock);
}

void lazy_socket_remove(int work_dir)
{
	unlinkat(work_dir, SOCKET_NAME, 0);
}

int lazy_socket_connect(int work_dir, struct err *e)
{
	struct sockaddr_un a = address(work_dir, SOCKET_NAME);
	cleanup_fd int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (sock < 0 || connect(sock, (struct sockaddr *)&a, sizeof(a)) < 0)
		return err_set(e, ERR_PEER, errno, "%s in the work directory: no lazy-pages daemon; it has to be started first", SOCKET_NAME);
	return steal_fd(&sock);
}

/* The same words whether it is met while speaking or while waiting to be heard. */
static int daemon_lost(int rc, struct err *e)
{
	return err_set(e, ERR_PEER, peer_errno(-rc), "%s: the lazy-pages daemon is gone", SOCKET_NAME);
}

int lazy_socket_give(int sock, uint32_t pid, int uffd, struct err *e)
{
	int rc = write_full(sock, &pid, sizeof(pid));

	if (rc == 0)
		rc = send_fds(sock, "", 1, &uffd, 1);
	return rc < 0 ? daemon_lost(rc, e) : 0;
}

/* How much of what was said nobody has read; what a daemon leaves unread that ends is an error of the socket. */
static int unread(int sock)
{
	int bytes = 0, error = 0;
	socklen_t len = sizeof(error);

	if (ioctl(sock, SIOCOUTQ, &bytes) < 0)
		return -errno;
	if (bytes > 0)
		return bytes;
	return getsockopt(sock, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ? -errno : -error;
}

int lazy_socket_finish(int sock, struct err *e)
{
	const uint32_t finished = LAZY_RESTORE_FINISHED;
	uint64_t end = clock_us() + FINISH_US;
	int rc = write_full(sock, &finished, sizeof(finished));

	while (rc == 0 && (rc = unread(sock)) > 0) {
		rc = clock_us() < end ? 0 : -ETIMEDOUT;
		poll(NULL, 0, 1);
	}
	return rc < 0 ? daemon_lost(rc, e) : 0;
}
