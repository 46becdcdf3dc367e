/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"

enum { SHORT_LINK_US = 1000, BACKLOG = 128 };

static int parse_port(const char *text, uint16_t *port)
{
	unsigned long v = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9' && v <= UINT16_MAX; p++)
		v = v * 10 + (unsigned long)(*p - '0');
	if (p == text || *p || v > UINT16_MAX)
		return -1;
	*port = (uint16_t)v;
	return 0;
}

/* Finds where host and port lie in text. A text with several colons and no brackets is a bare IPv6 address. */
static int split(const char *text, const char **host, size_t *host_len, const char **port)
{
	const char *colon = strchr(text, ':'), *close_bracket;

	*port = NULL;
	if (text[0] == '[') {
		close_bracket = strchr(text, ']');
		if (!close_bracket || (close_bracket[1] && close_bracket[1] != ':'))
			return -1;
		*host = text + 1;
		*host_len = (size_t)(close_bracket - text - 1);
		if (close_bracket[1])
			*port = close_bracket + 2;
		return *host_len ? 0 : -1;
	}
	*host = text;
	if (colon && !strchr(colon + 1, ':')) {
		*host_len = (size_t)(colon - text);
		*port = colon + 1;
	} else {
		*host_len = strlen(text);
	}
	return 0;
}

int sock_parse(const char *text, uint16_t default_port, char host[SOCK_HOST_MAX], uint16_t *port, struct err *e)
{
	const char *from, *port_text;
	size_t len;

	if (split(text, &from, &len, &port_text) < 0 || len >= SOCK_HOST_MAX || (len == 0 && !port_text))
		return err_set(e, ERR_USAGE, 0, "\"%.300s\" is not HOST:PORT", text);
	*port = default_port;
	if (port_text && parse_port(port_text, port) < 0)
		return err_set(e, ERR_USAGE, 0, "\"%.300s\": the port is not a number from 0 to 65535", text);
	memcpy(host, from, len);
	host[len] = '\0';
	return 0;
}

static struct addrinfo *resolve(const char *address, uint16_t default_port, int flags, struct err *e)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags }, *list;
	char host[SOCK_HOST_MAX], service[8];
	uint16_t port;
	int rc;

	if (sock_parse(address, default_port, host, &port, e) < 0)
		return NULL;
	if (!host[0] && !(flags & AI_PASSIVE)) {
		err_set(e, ERR_USAGE, 0, "\"%s\" has no host", address);
		return NULL;
	}
	snprintf(service, sizeof(service), "%u", port);
	rc = getaddrinfo(host[0] ? host : NULL, service, &hints, &list);
	if (rc != 0) {
		err_set(e, ERR_PEER, 0, "resolve %s: %s", host, rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
		return NULL;
	}
	return list;
}

/* 0 or -errno. */
static int finish_connect(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	int n, error = 0;
	socklen_t len = sizeof(error);

	do
		n = poll(&p, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 ? -errno : -ETIMEDOUT;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		return -errno;
	return -error;
}

static int set_congestion(int fd, const char *name)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) < 0 ? -errno : 0;
}

/* An unprivileged process may set what tcp_allowed_congestion_control lists, and reno is always there. */
static void set_loss_based(int fd)
{
	if (set_congestion(fd, "cubic") < 0)
		set_congestion(fd, "reno");
}

static bool is_auto(const char *congestion)
{
	return congestion && strcmp(congestion, "auto") == 0;
}

/* A descriptor or -errno. A connection that began with a congestion control that paces (bbr) goes on pacing whatever it is given later. So
 * what it is to have it has from the start, and where the choice waits for the round trip, one that does not pace. */
static int connect_one(const struct addrinfo *a, const struct sock_tuning *t, int timeout_ms)
{
	cleanup_fd int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
	int rc;

	if (fd < 0)
		return -errno;
	if (t && is_auto(t->congestion))
		set_loss_based(fd);
	else if (t && t->congestion)
		set_congestion(fd, t->congestion); /* whether there is such a one sock_tune says */
	if (connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
		if (errno != EINPROGRESS)
			return -errno;
		rc = finish_connect(fd, timeout_ms);
		if (rc < 0)
			return rc;
	}
	if (fcntl(fd, F_SETFL, 0) < 0)
		return -errno;
	return steal_fd(&fd);
}

static int connect_any(const char *address, uint16_t default_port, int timeout_ms, const struct sock_tuning *t, struct err *e)
{
	uint64_t deadline = clock_us() + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0) * 1000;
	struct addrinfo *list = resolve(address, default_port, 0, e);
	int fd = -ETIMEDOUT;

	if (!list)
		return -1;
	for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
		uint64_t now = clock_us();

		if (timeout_ms >= 0 && now >= deadline && a != list)
			break;
		fd = connect_one(a, t, timeout_ms < 0 ? -1 : (int)((deadline > now ? deadline - now : 0) / 1000));
	}
	freeaddrinfo(list);
	if (fd == -ETIMEDOUT)
		return err_set(e, ERR_TIMEOUT, 0, "connect to %s: no answer", address);
	return fd < 0 ? err_set(e, ERR_PEER, -fd, "connect to %s", address) : fd;
}

int sock_connect(const char *address, uint16_t default_port, int timeout_ms, struct err *e)
{
	return connect_any(address, default_port, timeout_ms, NULL, e);
}

int sock_connect_tuned(const char *address, uint16_t default_port, int timeout_ms, const struct sock_tuning *t, struct err *e)
{
	cleanup_fd int fd = connect_any(address, default_port, timeout_ms, t, e);

	if (fd < 0 || sock_tune(fd, t, e) < 0)
		return -1;
	return steal_fd(&fd);
}

static int listen_on(const struct addrinfo *a)
{
	cleanup_fd int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, a->ai_protocol);
	int on = 1;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return -errno;
	if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	return steal_fd(&fd);
}

int sock_listen(const char *address, uint16_t default_port, struct err *e)
{
	struct addrinfo *list = resolve(address, default_port, AI_PASSIVE, e);
	int fd = -EADDRNOTAVAIL;

	if (!list && e->kind == ERR_PEER) /* no other host is to blame */
		e->kind = ERR_USAGE;
	if (!list)
		return -1;
	for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
		fd = listen_on(a);
	freeaddrinfo(list);
	if (fd < 0)
		return err_set(e, fd == -EADDRINUSE ? ERR_CONFLICT : ERR_SYSTEM, -fd, "listen on %s", address);
	return fd;
}

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_storage room;
};

static int address_of(int fd, bool peer, union address *a)
{
	socklen_t len = sizeof(*a);

	memset(a, 0, sizeof(*a));
	return (peer ? getpeername(fd, &a->any, &len) : getsockname(fd, &a->any, &len)) < 0 ? -errno : 0;
}

int sock_port(int fd)
{
	union address a;
	int rc = address_of(fd, false, &a);

	if (rc < 0)
		return rc;
	if (a.any.sa_family == AF_INET)
		return ntohs(a.v4.sin_port);
	return a.any.sa_family == AF_INET6 ? ntohs(a.v6.sin6_port) : -EAFNOSUPPORT;
}

bool sock_is_loopback(int fd)
{
	union address a;

	if (address_of(fd, false, &a) < 0)
		return false;
	switch (a.any.sa_family) {
	case AF_UNIX:
		return true;
	case AF_INET:
		return ntohl(a.v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	case AF_INET6:
		return IN6_IS_ADDR_LOOPBACK(&a.v6.sin6_addr) ||
		       (IN6_IS_ADDR_V4MAPPED(&a.v6.sin6_addr) && a.v6.sin6_addr.s6_addr[12] == IN_LOOPBACKNET);
	default:
		return false;
	}
}

void sock_name(int fd, bool peer, char text[SOCK_NAME_MAX])
{
	char host[INET6_ADDRSTRLEN];
	union address a;

	snprintf(text, SOCK_NAME_MAX, "unknown");
	if (address_of(fd, peer, &a) < 0)
		return;
	if (a.any.sa_family == AF_INET && inet_ntop(AF_INET, &a.v4.sin_addr, host, sizeof(host)))
		snprintf(text, SOCK_NAME_MAX, "%s:%u", host, ntohs(a.v4.sin_port));
	else if (a.any.sa_family == AF_INET6 && inet_ntop(AF_INET6, &a.v6.sin6_addr, host, sizeof(host)))
		snprintf(text, SOCK_NAME_MAX, "[%s]:%u", host, ntohs(a.v6.sin6_port));
}

static bool is_tcp(int fd)
{
	int protocol = 0;
	socklen_t len = sizeof(protocol);

	return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) == 0 && protocol == IPPROTO_TCP;
}

unsigned sock_rtt_us(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 ? info.tcpi_rtt : 0;
}

void sock_congestion(int fd, char name[16])
{
	socklen_t len = 15;

	memset(name, 0, 16);
	if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) < 0)
		name[0] = '\0';
}

/* What a socket of the same family is born with. */
static void set_system_congestion(int fd)
{
	union address a;
	char name[16];
	cleanup_fd int newborn = address_of(fd, false, &a) < 0 ? -1 : socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	sock_congestion(newborn, name);
	if (name[0])
		set_congestion(fd, name);
}

static void choose_congestion(int fd)
{
	unsigned rtt = sock_rtt_us(fd);

	if (rtt > 0 && rtt < SHORT_LINK_US)
		set_loss_based(fd);
	else
		set_system_congestion(fd);
}

/* Keepalive notices a peer that is gone while we wait for it, the user timeout one that is gone while we send. */
static void set_dead_after(int fd, unsigned ms)
{
	int on = 1, count = 4, interval = (int)(ms / 1000 / 5 > 0 ? ms / 1000 / 5 : 1);

	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &interval, sizeof(interval));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
}

int sock_tune(int fd, const struct sock_tuning *t, struct err *e)
{
	int on = 1, bytes = t->buffer_bytes > INT_MAX ? INT_MAX : (int)t->buffer_bytes;

	if (!is_tcp(fd))
		return 0;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (bytes) {
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	}
	if (t->dead_after_ms)
		set_dead_after(fd, t->dead_after_ms);
	if (is_auto(t->congestion)) {
		choose_congestion(fd);
	} else if (t->congestion) {
		int rc = set_congestion(fd, t->congestion);

		if (rc < 0)
			return err_set(e, ERR_USAGE, -rc, "congestion control \"%.16s\", of those in /proc/sys/net/ipv4/tcp_available_congestion_control", t->congestion);
	}
	return 0;
}
