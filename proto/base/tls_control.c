/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/tls_control.h"

#include <errno.h>
#include <linux/tls.h>
#include <string.h>

#include "proto/base/io.h"
#include "proto/base/tls_priv.h"
#include "proto/base/tls_relay.h"

enum {
	RECORD_ALERT = 21, RECORD_HANDSHAKE = 22, RECORD_DATA = 23, /* RFC 8446, 5.1 */
	WARNING = 1,
	NEW_TICKET = 4, MESSAGE_HEAD = 4, /* of a handshake message: its type, and its length in three bytes */
	RECORD_MAX = 16384,
};

union control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(1)];
};

/* A record of whatever kind, or more of its like. Bytes; 0, -1 as recvmsg. *kind: RECORD_DATA where the kernel says nothing. */
static ssize_t receive(int fd, void *buf, size_t len, int flags, unsigned char *kind)
{
	union control control;
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(fd, &m, flags | MSG_DONTWAIT);
	const struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&m);

	*kind = c && c->cmsg_level == SOL_TLS && c->cmsg_type == TLS_GET_RECORD_TYPE ? *CMSG_DATA(c) : RECORD_DATA;
	return n;
}

static bool all_tickets(const unsigned char *p, size_t len)
{
	while (len >= MESSAGE_HEAD) {
		size_t message = MESSAGE_HEAD + ((size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3]);

		if (p[0] != NEW_TICKET || message > len)
			return false;
		p += message;
		len -= message;
	}
	return len == 0;
}

static bool is_closure(const unsigned char *p, size_t len)
{
	return len == 2 && p[1] == SSL_AD_CLOSE_NOTIFY;
}

/* After EIO. 1: skipped, there may be data behind it; 0: the end; -errno. */
static int hear(int fd)
{
	unsigned char bytes[RECORD_MAX], kind;
	ssize_t n = receive(fd, bytes, sizeof(bytes), MSG_PEEK, &kind);

	if (n < 0)
		return errno == EAGAIN ? -EIO : -errno;
	if (kind == RECORD_ALERT && is_closure(bytes, (size_t)n))
		return 0;
	if (kind != RECORD_HANDSHAKE || n == 0 || !all_tickets(bytes, (size_t)n))
		return -EIO;
	return receive(fd, bytes, (size_t)n, 0, &kind) == n ? 1 : -EIO;
}

ssize_t tls_recvmsg(int fd, struct msghdr *m, int flags)
{
	ssize_t n;
	int rc = 1;

	while ((n = recvmsg(fd, m, flags)) < 0 && errno == EIO && (rc = hear(fd)) > 0)
		;
	if (rc > 0 && n < 0 && errno == EBADMSG) /* the socket says so once more, to whom it is explained */
		rc = -EIO;
	if (rc > 0)
		return n;
	errno = -rc;
	return rc < 0 ? -1 : 0;
}

ssize_t tls_recv(int fd, void *buf, size_t len, int flags)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	return tls_recvmsg(fd, &m, flags);
}

int tls_recv_within(int fd, void *buf, size_t len, int timeout_ms)
{
	uint64_t deadline = clock_us() + (uint64_t)timeout_ms * 1000;
	size_t have = 0;

	while (have < len) {
		uint64_t now = clock_us();
		int rc = wait_readable(fd, now < deadline ? (int)((deadline - now) / 1000 + 1) : 0);
		ssize_t n;

		if (rc <= 0)
			return rc < 0 ? rc : -ETIMEDOUT;
		n = tls_recv(fd, (char *)buf + have, len - have, MSG_DONTWAIT);
		if (n == 0)
			return -EPIPE;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		have += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

bool tls_control_explain(int fd, struct err *e)
{
	unsigned char bytes[RECORD_MAX], kind;
	ssize_t n = receive(fd, bytes, sizeof(bytes), MSG_PEEK, &kind);

	if (n < 0 && errno == EBADMSG) {
		tls_changed_words(e);
		return true;
	}
	if (n == 2 && kind == RECORD_ALERT && !is_closure(bytes, (size_t)n)) {
		tls_alert_words(bytes[1], e);
		return true;
	}
	if (n > 0 && kind == RECORD_HANDSHAKE) {
		err_set(e, ERR_PEER, 0, "TLS: the other side changes its keys, as after some 400 GB, which the kernel's TLS can't follow: without that "
			"(" TLS_KERNEL_VARIABLE "=0 in the environment) a connection may be longer");
		return true;
	}
	return false;
}

void tls_control_bye(int fd)
{
	unsigned char alert[] = { WARNING, SSL_AD_CLOSE_NOTIFY };
	union control control = { .buf = { 0 } };
	struct iovec iov = { .iov_base = alert, .iov_len = sizeof(alert) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	ssize_t n;

	c->cmsg_level = SOL_TLS;
	c->cmsg_type = TLS_SET_RECORD_TYPE;
	c->cmsg_len = CMSG_LEN(1);
	*CMSG_DATA(c) = RECORD_ALERT;
	do
		n = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
}

void tls_control_linger(int fd, int timeout_ms)
{
	uint64_t deadline = clock_us() + (uint64_t)timeout_ms * 1000, now;
	unsigned char bytes[RECORD_MAX], kind;

	while ((now = clock_us()) < deadline) {
		ssize_t n = receive(fd, bytes, sizeof(bytes), 0, &kind);

		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return;
		if (n < 0 && wait_readable(fd, (int)((deadline - now) / 1000 + 1)) < 0)
			return;
	}
}
