/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/rpc/packet.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"

static ssize_t recv_again(int sock, void *buf, size_t len, int flags)
{
	ssize_t n;

	do
		n = recv(sock, buf, len, flags);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t take(int sock, int timeout_ms, int flags, uint8_t **buf)
{
	cleanup_free uint8_t *packet = NULL;
	int ready = wait_readable(sock, timeout_ms);
	ssize_t n;

	*buf = NULL;
	if (ready <= 0)
		return ready < 0 ? ready : -ETIMEDOUT;
	n = recv_again(sock, NULL, 0, MSG_PEEK | MSG_TRUNC);
	if (n <= 0)
		return n;
	if (n > RPC_PACKET_MAX)
		return -EMSGSIZE;
	packet = malloc((size_t)n);
	if (!packet)
		return -ENOMEM;
	n = recv_again(sock, packet, (size_t)n, flags); /* no room for descriptors: the kernel closes those that came along */
	if (n > 0)
		*buf = steal_pointer(&packet);
	return n;
}

ssize_t rpc_recv(int sock, int timeout_ms, uint8_t **buf)
{
	return take(sock, timeout_ms, 0, buf);
}

ssize_t rpc_peek(int sock, int timeout_ms, uint8_t **buf)
{
	return take(sock, timeout_ms, MSG_PEEK, buf);
}

void rpc_drop(int sock)
{
	recv_again(sock, NULL, 0, MSG_DONTWAIT);
}

int rpc_send(int sock, const ProtobufCMessage *message, int pass_fd)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	cleanup_free uint8_t *buf = malloc(len ? len : 1);

	if (!buf)
		return -ENOMEM;
	protobuf_c_message_pack(message, buf);
	return send_fds(sock, buf, len, &pass_fd, pass_fd >= 0 ? 1 : 0);
}
