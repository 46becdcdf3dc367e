/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/line.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/io.h"

enum { SIZE = 1 + HELLO_SIZE }; /* of every message */

int line_pair(int end[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, end) < 0 ? -errno : 0;
}

bool line_say(int fd, const struct line_message *m)
{
	uint8_t bytes[SIZE] = { (uint8_t)m->word };

	memcpy(bytes + 1, m->hello, HELLO_SIZE);
	return send_fds(fd, bytes, SIZE, &m->fd, m->fd >= 0) == 0;
}

bool line_say_word(int fd, enum line_word word)
{
	const struct line_message m = { .word = word, .fd = -1 };

	return line_say(fd, &m);
}

int line_hear(int fd, struct line_message *m)
{
	uint8_t bytes[SIZE];
	int fds = 0;
	ssize_t n;

	m->fd = -1;
	do
		n = recv_fds(fd, bytes, sizeof(bytes), &m->fd, 1, &fds);
	while (n == -EINTR);
	if (n == -EAGAIN)
		return 0;
	m->word = bytes[0];
	memcpy(m->hello, bytes + 1, HELLO_SIZE);
	if (n == (ssize_t)sizeof(bytes))
		return 1;
	if (fds > 0)
		close(m->fd);
	m->fd = -1;
	return -1;
}
