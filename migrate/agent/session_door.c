/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/agent/session_door.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/base/cleanup.h"

static socklen_t door_address(const struct migration_id *id, struct sockaddr_un *a)
{
	char hex[33];
	int n;

	migration_id_format(id, hex);
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(a->sun_path + 1, sizeof(a->sun_path) - 1, "dray-session-%s", hex);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static bool trusted(int sock)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && (cred.uid == 0 || cred.uid == geteuid());
}

int session_door_open(const struct migration_id *id)
{
	cleanup_fd int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un a;
	socklen_t len = door_address(id, &a);

	if (sock < 0 || bind(sock, (struct sockaddr *)&a, len) < 0 || listen(sock, 1) < 0)
		return -errno;
	return steal_fd(&sock);
}

int session_door_accept(int door)
{
	cleanup_fd int line = accept4(door, NULL, NULL, SOCK_CLOEXEC);

	return line >= 0 && trusted(line) ? steal_fd(&line) : -EAGAIN;
}

int session_door_knock(const struct migration_id *id)
{
	cleanup_fd int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un a;
	socklen_t len = door_address(id, &a);

	if (sock < 0 || connect(sock, (struct sockaddr *)&a, len) < 0)
		return -errno;
	return trusted(sock) ? steal_fd(&sock) : -EACCES;
}
