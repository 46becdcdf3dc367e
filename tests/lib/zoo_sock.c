/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets that can be carried. */
#include "tests/lib/zoo.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int option(int fd, int level, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	return getsockopt(fd, level, name, &v, &len) == 0 ? v : -1;
}

static void set(int fd, int level, int name, int v)
{
	zoo_need(setsockopt(fd, level, name, &v, sizeof(v)) == 0, "setsockopt");
}

static socklen_t un_address(struct sockaddr_un *un, const char *name)
{
	memset(un, 0, sizeof(*un));
	un->sun_family = AF_UNIX;
	snprintf(un->sun_path, sizeof(un->sun_path), "%.100s", zoo_path(name));
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(un->sun_path) + 1);
}

static bool next_is(int fd, const char *text)
{
	char got[64] = "";
	ssize_t n = recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT);

	if (n != (ssize_t)strlen(text) || memcmp(got, text, strlen(text)) != 0)
		return zoo_wrong("received %zd bytes '%s', not '%s'", n, n > 0 ? got : "", text);
	return true;
}

/* ---- pairs, with something under way in both directions ---- */
static int stream[2], dgram[2], packet[2], half;
static void stream_make(void)
{
	zoo_need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream) == 0, "socketpair");
	zoo_need(write(stream[0], "to one", 6) == 6 && write(stream[1], "to ", 3) == 3 && write(stream[1], "zero", 4) == 4, "socketpair");
	set(stream[0], SOL_SOCKET, SO_PASSCRED, 1);
}
static bool stream_check(void)
{
	if (!next_is(stream[1], "to one") || !next_is(stream[0], "to zero"))
		return false;
	ZOO_SAME(option(stream[0], SOL_SOCKET, SO_PASSCRED), 1);
	ZOO_SAME(fcntl(stream[0], F_GETFD), FD_CLOEXEC);
	ZOO_SAME(write(stream[0], "to one", 6), 6);
	ZOO_SAME(write(stream[1], "to zero", 7), 7);
	return true;
}
static void boundaries_make(void)
{
	zoo_need(socketpair(AF_UNIX, SOCK_DGRAM, 0, dgram) == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, packet) == 0, "socketpair");
	zoo_need(write(dgram[0], "first", 5) == 5 && write(dgram[0], "second", 6) == 6, "socketpair");
	zoo_need(write(packet[1], "one", 3) == 3 && write(packet[1], "two", 3) == 3, "socketpair");
}
static bool boundaries_check(void)
{
	if (!next_is(dgram[1], "first") || !next_is(dgram[1], "second") || !next_is(packet[0], "one") || !next_is(packet[0], "two"))
		return false;
	ZOO_SAME(fcntl(packet[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	ZOO_SAME(write(dgram[0], "first", 5), 5);
	ZOO_SAME(write(dgram[0], "second", 6), 6);
	ZOO_SAME(write(packet[1], "one", 3), 3);
	ZOO_SAME(write(packet[1], "two", 3), 3);
	return true;
}
static void half_make(void)
{
	int pair[2];

	zoo_need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && write(pair[1], "farewell", 8) == 8, "socketpair");
	close(pair[1]);
	half = pair[0];
}
static bool half_check(void)
{
	static bool read_already;
	char c;

	if (!read_already && !next_is(half, "farewell"))
		return false;
	read_already = true;
	ZOO_SAME(read(half, &c, 1), 0);
	return true;
}

/* ---- unix names ---- */
static int listener, receiver, sender;
static void unix_make(void)
{
	struct sockaddr_un un;
	socklen_t len = un_address(&un, "listener");

	unlink(un.sun_path);
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	zoo_need(bind(listener, (struct sockaddr *)&un, len) == 0 && chmod(un.sun_path, 0640) == 0 && listen(listener, 9) == 0, "unix listener");
	len = un_address(&un, "receiver");
	unlink(un.sun_path);
	receiver = socket(AF_UNIX, SOCK_DGRAM, 0);
	sender = socket(AF_UNIX, SOCK_DGRAM, 0);
	zoo_need(bind(receiver, (struct sockaddr *)&un, len) == 0 && connect(sender, (struct sockaddr *)&un, len) == 0, "unix datagrams");
	zoo_need(write(sender, "letter", 6) == 6, "unix datagrams");
}
static bool unix_check_(void)
{
	struct sockaddr_un un;
	socklen_t len = un_address(&un, "listener");
	struct stat st;
	int client = socket(AF_UNIX, SOCK_STREAM, 0), server;

	ZOO_SAME(connect(client, (struct sockaddr *)&un, len), 0);
	server = accept(listener, NULL, NULL);
	ZOO_SAME(server >= 0, 1);
	close(server);
	close(client);
	ZOO_SAME(stat(un.sun_path, &st), 0);
	ZOO_SAME(st.st_mode & 0777, 0640);
	if (!next_is(receiver, "letter"))
		return false;
	ZOO_SAME(write(sender, "letter", 6), 6);
	return true;
}

/* ---- inet: ports chosen by the kernel and noted, so that zoos can live side by side ---- */
static int tcp4, tcp6, udp_bound, udp_connected, tcp_fresh;
static uint16_t port4, port6, port_udp;

static uint16_t port_of(int fd)
{
	struct sockaddr_in6 a = { 0 };
	socklen_t len = sizeof(a);

	return getsockname(fd, (struct sockaddr *)&a, &len) == 0 ? ntohs(a.sin6_port) : 0;
}
static bool reaches(int listening, int family, uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 b = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct linger reset = { 1, 0 };
	int client = socket(family, SOCK_STREAM, 0), server;

	ZOO_SAME(family == AF_INET ? connect(client, (struct sockaddr *)&a, sizeof(a)) : connect(client, (struct sockaddr *)&b, sizeof(b)), 0);
	server = accept(listening, NULL, NULL);
	ZOO_SAME(server >= 0, 1);
	setsockopt(server, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(server);
	close(client);
	return true;
}
static void tcp_make(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 b = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };

	tcp4 = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	tcp6 = socket(AF_INET6, SOCK_STREAM, 0);
	tcp_fresh = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	set(tcp4, SOL_SOCKET, SO_REUSEADDR, 1);
	set(tcp4, IPPROTO_TCP, TCP_NODELAY, 1);
	set(tcp4, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0);
	set(tcp6, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	set(tcp6, IPPROTO_TCP, TCP_USER_TIMEOUT, 4321);
	set(tcp_fresh, SOL_SOCKET, SO_KEEPALIVE, 1);
	set(tcp_fresh, IPPROTO_TCP, TCP_KEEPIDLE, 33);
	set(tcp_fresh, SOL_SOCKET, SO_RCVBUF, 40000);
	zoo_need(bind(tcp4, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(tcp4, 17) == 0, "TCP listener");
	zoo_need(bind(tcp6, (struct sockaddr *)&b, sizeof(b)) == 0 && listen(tcp6, 5) == 0, "TCP6 listener");
	port4 = port_of(tcp4);
	port6 = port_of(tcp6);
}
static bool tcp_check(void)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	ZOO_SAME(port_of(tcp4), port4);
	ZOO_SAME(port_of(tcp6), port6);
	ZOO_SAME(option(tcp4, SOL_SOCKET, SO_ACCEPTCONN), 1);
	ZOO_SAME(option(tcp4, SOL_SOCKET, SO_REUSEADDR), 1);
	ZOO_SAME(option(tcp4, IPPROTO_TCP, TCP_NODELAY), 1);
	ZOO_SAME(option(tcp6, IPPROTO_IPV6, IPV6_V6ONLY), 1);
	ZOO_SAME(option(tcp6, IPPROTO_TCP, TCP_USER_TIMEOUT), 4321);
	ZOO_SAME(option(tcp_fresh, IPPROTO_TCP, TCP_KEEPIDLE), 33);
	ZOO_SAME(option(tcp_fresh, SOL_SOCKET, SO_RCVBUF), 80000);
	ZOO_SAME(fcntl(tcp_fresh, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	ZOO_SAME(getsockopt(tcp4, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	ZOO_SAME(info.tcpi_sacked, 17);
	return reaches(tcp4, AF_INET, port4) && reaches(tcp6, AF_INET6, port6);
}
static void udp_make(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);

	udp_bound = socket(AF_INET, SOCK_DGRAM, 0);
	udp_connected = socket(AF_INET, SOCK_DGRAM, 0);
	set(udp_bound, SOL_SOCKET, SO_BROADCAST, 1);
	zoo_need(bind(udp_bound, (struct sockaddr *)&a, sizeof(a)) == 0 && getsockname(udp_bound, (struct sockaddr *)&a, &len) == 0, "UDP");
	zoo_need(connect(udp_connected, (struct sockaddr *)&a, sizeof(a)) == 0, "UDP");
	port_udp = port_of(udp_bound);
}
static bool udp_check(void)
{
	ZOO_SAME(port_of(udp_bound), port_udp);
	ZOO_SAME(option(udp_bound, SOL_SOCKET, SO_BROADCAST), 1);
	ZOO_SAME(write(udp_connected, "datagram", 8), 8);
	poll(&(struct pollfd){ .fd = udp_bound, .events = POLLIN }, 1, 60000); /* a busy machine's loopback hands it over a moment later */
	return next_is(udp_bound, "datagram");
}

const struct zoo_kind zoo_sock_kinds[] = {
	{ "stream-pair", NULL, NULL, stream_make, stream_check },
	{ "packet-pairs", NULL, NULL, boundaries_make, boundaries_check },
	{ "half-pair", NULL, NULL, half_make, half_check },
	{ "unix-names", NULL, NULL, unix_make, unix_check_ },
	{ "tcp", NULL, NULL, tcp_make, tcp_check },
	{ "udp", NULL, NULL, udp_make, udp_check },
	{ 0 },
};
