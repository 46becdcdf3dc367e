/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/line.h"

#include <errno.h>
#include <stdint.h>
#include <sys/socket.h>

int line_pair(int end[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, end) < 0 ? -errno : 0;
}

bool line_say(int fd, enum line_word word)
{
	uint8_t byte = (uint8_t)word;

	return send(fd, &byte, 1, MSG_NOSIGNAL) == 1;
}

int line_hear(int fd, enum line_word *word)
{
	uint8_t byte;
	ssize_t n;

	do
		n = recv(fd, &byte, 1, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -1;
	*word = byte;
	return n == 0 ? -1 : 1;
}
