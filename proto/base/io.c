/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/cleanup.h"

enum { MAX_PASSED_FDS = 16 };

int read_full(int fd, void *buf, size_t len)
{
	char *p = buf;

	while (len > 0) {
		ssize_t n = read(fd, p, len);

		if (n == 0)
			return -EPIPE;
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* send() keeps a cut connection from raising SIGPIPE; what is no socket takes write(). */
static ssize_t write_once(int fd, const void *buf, size_t len)
{
	ssize_t n = send(fd, buf, len, MSG_NOSIGNAL);

	if (n < 0 && errno == ENOTSOCK)
		n = write(fd, buf, len);
	return n;
}

int write_full(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len > 0) {
		ssize_t n = write_once(fd, p, len);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int peer_errno(int num)
{
	return num == EPIPE || num == ECONNRESET ? 0 : num;
}

bool errno_is_cut(int num)
{
	switch (num) {
	case EPIPE:
	case ECONNRESET:
	case ECONNABORTED:
	case ETIMEDOUT:
	case EHOSTUNREACH:
	case EHOSTDOWN:
	case ENETUNREACH:
	case ENETDOWN:
	case ENETRESET:
	case EBADMSG: /* TLS in the kernel: a record that was cut in two */
		return true;
	default:
		return false;
	}
}

/* Moves a message on behind what was sent of it. */
static void advance(struct msghdr *m, size_t sent)
{
	while (m->msg_iovlen > 0 && sent >= m->msg_iov->iov_len) {
		sent -= m->msg_iov->iov_len;
		m->msg_iov++;
		m->msg_iovlen--;
	}
	if (m->msg_iovlen > 0) {
		m->msg_iov->iov_base = (char *)m->msg_iov->iov_base + sent;
		m->msg_iov->iov_len -= sent;
	}
}

int send_some(int fd, struct msghdr *m, int flags)
{
	while (m->msg_iovlen > 0) {
		ssize_t n = sendmsg(fd, m, MSG_NOSIGNAL | MSG_DONTWAIT | flags);

		if (n >= 0)
			advance(m, (size_t)n);
		else if (errno != EINTR)
			return -errno;
	}
	return 0;
}

char *file_read(int dirfd, const char *path, size_t max, size_t *len, struct err *e)
{
	cleanup_fd int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	cleanup_free char *buf = NULL;
	size_t have = 0, cap = 0;

	if (fd < 0) {
		err_sys(e, "open %s", path);
		return NULL;
	}
	for (;;) {
		ssize_t n;

		if (have + 1 >= cap) {
			char *more;

			cap = cap ? cap * 2 : 4096;
			if (cap > 2 * max + 8192 || !(more = realloc(buf, cap))) {
				err_set(e, ERR_LIMIT, 0, "%s is larger than %zu bytes", path, max);
				return NULL;
			}
			buf = more;
		}
		n = read(fd, buf + have, cap - have - 1);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			err_sys(e, "read %s", path);
			return NULL;
		}
		if (n == 0)
			break;
		have += (size_t)n;
		if (have > max) {
			err_set(e, ERR_LIMIT, 0, "%s is larger than %zu bytes", path, max);
			return NULL;
		}
	}
	buf[have] = '\0';
	if (len)
		*len = have;
	return steal_pointer(&buf);
}

int file_write(int dirfd, const char *path, const char *text, struct err *e)
{
	cleanup_fd int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC);
	size_t len = strlen(text);

	if (fd < 0)
		return err_sys(e, "open %s", path);
	if (write(fd, text, len) != (ssize_t)len)
		return err_sys(e, "write \"%s\" to %s", text, path);
	return 0;
}

union fd_control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(sizeof(int) * MAX_PASSED_FDS)];
};

int send_fds(int sock, const void *buf, size_t len, const int *fds, int nfds)
{
	union fd_control control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (nfds > MAX_PASSED_FDS)
		return -EINVAL;
	if (nfds > 0) {
		struct cmsghdr *c;

		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)nfds);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)nfds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * (size_t)nfds);
	}
	do
		n = sendmsg(sock, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EMSGSIZE;
}

ssize_t recv_fds(int sock, void *buf, size_t len, int *fds, int max, int *nfds)
{
	union fd_control control;
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control) };
	ssize_t n;

	*nfds = 0;
	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		int *got = (int *)(void *)CMSG_DATA(c);
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			if (*nfds < max)
				fds[(*nfds)++] = got[i];
			else
				close(got[i]);
		}
	}
	return n;
}

uint64_t clock_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

int pidfd_open_(pid_t pid, unsigned flags)
{
	long fd = syscall(SYS_pidfd_open, pid, flags);

	return fd < 0 ? -errno : (int)fd;
}

int pidfd_getfd_(int pidfd, int fd)
{
	long got = syscall(SYS_pidfd_getfd, pidfd, fd, 0);

	return got < 0 ? -errno : (int)got;
}

int wait_readable(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int n;

	do
		n = poll(&p, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}
