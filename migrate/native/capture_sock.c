/* SPDX-License-Identifier: Apache-2.0 */
/* What all sockets have in common: which kind they are, who checks and saves it. */
#include "migrate/native/capture_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/cleanup.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

static const struct { int number; const char *name; } families[] = {
	{ AF_UNIX, "AF_UNIX" }, { AF_INET, "AF_INET" }, { AF_INET6, "AF_INET6" }, { AF_NETLINK, "AF_NETLINK" }, { AF_PACKET, "AF_PACKET" },
	{ AF_VSOCK, "AF_VSOCK" }, { AF_ALG, "AF_ALG" }, { AF_BLUETOOTH, "AF_BLUETOOTH" }, { AF_CAN, "AF_CAN" }, { AF_XDP, "AF_XDP" },
	{ AF_TIPC, "AF_TIPC" }, { AF_RDS, "AF_RDS" }, { AF_KEY, "AF_KEY" },
}, types[] = {
	{ SOCK_STREAM, "SOCK_STREAM" }, { SOCK_DGRAM, "SOCK_DGRAM" }, { SOCK_RAW, "SOCK_RAW" }, { SOCK_SEQPACKET, "SOCK_SEQPACKET" },
};

int socket_read(struct capture *c, struct fd_desc *d)
{
	cleanup_fd int local = -1;
	struct sock_facts *s = &d->sock;

	if (d->flags & O_PATH)
		return 0;
	local = capture_fd_open(c, d);
	if (local < 0) {
		if (c->r || c->e->num != EBADF)
			return -1;
		err_clear(c->e); /* closed meanwhile */
		return 0;
	}
	s->domain = socket_get(local, SOL_SOCKET, SO_DOMAIN, -1);
	s->type = socket_get(local, SOL_SOCKET, SO_TYPE, -1);
	s->proto = socket_get(local, SOL_SOCKET, SO_PROTOCOL, -1);
	return s->domain == AF_UNIX ? unix_read(c, d) : 0;
}

static void refuse_kind(struct capture *c, const struct fd_desc *d)
{
	const char *family = NULL, *type = "";

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		if (families[i].number == d->sock.domain)
			family = families[i].name;
	}
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (types[i].number == d->sock.type)
			type = types[i].name;
	}
	if (d->sock.domain == AF_INET || d->sock.domain == AF_INET6)
		capture_fd_obstacle(c, d, NULL, "%s %s socket of protocol %d", family, type, d->sock.proto);
	else if (family)
		capture_fd_obstacle(c, d, NULL, "%s socket", family);
	else
		capture_fd_obstacle(c, d, NULL, "socket of family %d", d->sock.domain);
}

static bool is_inet(const struct sock_facts *s)
{
	return (s->domain == AF_INET || s->domain == AF_INET6) &&
	       ((s->type == SOCK_STREAM && s->proto == IPPROTO_TCP) || (s->type == SOCK_DGRAM && s->proto == IPPROTO_UDP));
}

static uint64_t network_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	return getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) == 0 ? cookie : 0;
}

/* A socket keeps the network namespace that it was made in, whatever its owner moved to. */
static void check_network(struct capture *c, const struct fd_desc *d, int local)
{
	if (!c->network) {
		cleanup_fd int own = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

		c->network = own < 0 ? 0 : network_of(own);
	}
	if (network_of(local) != c->network)
		capture_fd_obstacle(c, d, NULL, "socket of another network namespace");
}

/* Only classic filters can be read back. */
static void check_filter(struct capture *c, const struct fd_desc *d, int local)
{
	socklen_t len = 0;

	if (getsockopt(local, SOL_SOCKET, SO_GET_FILTER, NULL, &len) < 0 && errno == EACCES)
		capture_fd_obstacle(c, d, NULL, "socket with an eBPF filter");
}

int socket_check(struct capture *c, struct fd_desc *d)
{
	cleanup_fd int local = -1;

	if (d->flags & O_PATH) {
		capture_fd_obstacle(c, d, NULL, "socket file %s opened with O_PATH", d->link);
		return 0;
	}
	if (d->sock.domain != AF_UNIX && !is_inet(&d->sock)) {
		refuse_kind(c, d);
		return 0;
	}
	local = capture_fd_open(c, d);
	if (local < 0)
		return -1;
	check_network(c, d, local);
	check_filter(c, d, local);
	return d->sock.domain == AF_UNIX ? unix_check(c, d, local) : inet_check(c, d, local);
}

int socket_save(struct capture *c, struct fd_desc *d, FileEntry *f)
{
	cleanup_fd int local = capture_fd_open(c, d);
	Drayage__FileExt *x;

	if (local < 0)
		return -1;
	f->type = d->sock.domain == AF_UNIX ? FD_TYPES__FD_UNIXSK : FD_TYPES__FD_INETSK;
	x = capture_file_ext(c, f->id);
	if (!x)
		return -1;
	x->key = strdup(d->link);
	if (!x->key)
		return err_set(c->e, ERR_SYSTEM, ENOMEM, "description");
	return d->sock.domain == AF_UNIX ? unix_save(c, d, f, local) : inet_save(c, d, f, local);
}
