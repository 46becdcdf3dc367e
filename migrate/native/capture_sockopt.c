/* SPDX-License-Identifier: Apache-2.0 */
/* The options of a socket: those that images have fields for, and the others that differ from what a new socket has. */
#include "migrate/native/capture_priv.h"

#include <assert.h>
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "proto/base/cleanup.h"

enum { FILTER_MAX = 4096 };
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif

int socket_get(int fd, int level, int name, int missing)
{
	int v = 0;
	socklen_t len = sizeof(v);

	return getsockopt(fd, level, name, &v, &len) == 0 ? v : missing;
}

static int save_filter(struct capture *c, int local, SkOptsEntry *o)
{
	struct sock_filter program[FILTER_MAX];
	socklen_t count = FILTER_MAX; /* this option counts instructions */

	if (getsockopt(local, SOL_SOCKET, SO_GET_FILTER, program, &count) < 0 || count == 0)
		return 0;
	o->so_filter = malloc(count * sizeof(*o->so_filter));
	if (!o->so_filter)
		return err_set(c->e, ERR_SYSTEM, ENOMEM, "socket filter");
	_Static_assert(sizeof(program[0]) == sizeof(o->so_filter[0]), "one instruction, one number");
	memcpy(o->so_filter, program, count * sizeof(program[0]));
	o->n_so_filter = count;
	return 0;
}

static void save_times(int local, SkOptsEntry *o)
{
	struct timeval t = { 0 };
	socklen_t len = sizeof(t);

	if (getsockopt(local, SOL_SOCKET, SO_SNDTIMEO, &t, &len) == 0)
		o->so_snd_tmo_sec = (uint64_t)t.tv_sec, o->so_snd_tmo_usec = (uint64_t)t.tv_usec;
	len = sizeof(t);
	if (getsockopt(local, SOL_SOCKET, SO_RCVTIMEO, &t, &len) == 0)
		o->so_rcv_tmo_sec = (uint64_t)t.tv_sec, o->so_rcv_tmo_usec = (uint64_t)t.tv_usec;
}

static int save_device(struct capture *c, int local, SkOptsEntry *o)
{
	char name[32] = "";
	socklen_t len = sizeof(name);

	if (getsockopt(local, SOL_SOCKET, SO_BINDTODEVICE, name, &len) < 0 || !name[0])
		return 0;
	o->so_bound_dev = strndup(name, sizeof(name) - 1);
	return o->so_bound_dev ? 0 : err_set(c->e, ERR_SYSTEM, ENOMEM, "description");
}

SkOptsEntry *socket_options(struct capture *c, int local, bool let_go)
{
	SkOptsEntry *o = CAPTURE_NEW(c, sk_opts_entry);
	struct linger linger = { 0 };
	socklen_t len = sizeof(linger);

	if (!o)
		return NULL;
#define NUMBER(field, option) (o->has_##field = true, o->field = (uint32_t)socket_get(local, SOL_SOCKET, option, 0))
#define SWITCH(field, option) (o->has_##field = true, o->field = socket_get(local, SOL_SOCKET, option, 0) != 0)
	o->so_sndbuf = (uint32_t)socket_get(local, SOL_SOCKET, SO_SNDBUF, 0);
	o->so_rcvbuf = (uint32_t)socket_get(local, SOL_SOCKET, SO_RCVBUF, 0);
	if (let_go) /* all that will be done with it is to close it, and there may be thousands */
		return o;
	NUMBER(so_priority, SO_PRIORITY);
	NUMBER(so_rcvlowat, SO_RCVLOWAT);
	NUMBER(so_mark, SO_MARK);
	NUMBER(so_buf_lock, SO_BUF_LOCK);
	NUMBER(so_oobinline, SO_OOBINLINE);
	SWITCH(reuseaddr, SO_REUSEADDR);
	SWITCH(so_reuseport, SO_REUSEPORT);
	SWITCH(so_passcred, SO_PASSCRED);
	SWITCH(so_passsec, SO_PASSSEC);
	SWITCH(so_dontroute, SO_DONTROUTE);
	SWITCH(so_no_check, SO_NO_CHECK);
	SWITCH(so_broadcast, SO_BROADCAST);
	SWITCH(so_keepalive, SO_KEEPALIVE);
#undef NUMBER
#undef SWITCH
	if (getsockopt(local, SOL_SOCKET, SO_LINGER, &linger, &len) == 0 && linger.l_onoff) {
		o->has_so_linger = true;
		o->so_linger = (uint32_t)linger.l_linger;
	}
	save_times(local, o);
	if (save_device(c, local, o) < 0 || save_filter(c, local, o) < 0) {
		sk_opts_entry__free_unpacked(o, NULL);
		return NULL;
	}
	return o;
}

/* Options that the image format has no field for. A fresh socket of the same kind tells the default; only what differs is carried. */
static const struct { int domain, level, name; } extra[] = {
	{ 0, SOL_SOCKET, SO_TIMESTAMP }, { 0, SOL_SOCKET, SO_TIMESTAMPNS }, { 0, SOL_SOCKET, SO_TIMESTAMPING }, { 0, SOL_SOCKET, SO_RXQ_OVFL },
	{ 0, SOL_SOCKET, SO_BUSY_POLL }, { 0, SOL_SOCKET, SO_ZEROCOPY }, { 0, SOL_SOCKET, SO_MAX_PACING_RATE }, { 0, SOL_SOCKET, SO_PEEK_OFF },
	{ AF_INET, IPPROTO_IP, IP_RECVTOS }, { AF_INET, IPPROTO_IP, IP_RECVTTL }, { AF_INET, IPPROTO_IP, IP_MTU_DISCOVER },
	{ AF_INET, IPPROTO_IP, IP_MULTICAST_TTL }, { AF_INET, IPPROTO_IP, IP_MULTICAST_LOOP }, { AF_INET, IPPROTO_IP, IP_MULTICAST_ALL },
	{ AF_INET, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT }, { AF_INET, IPPROTO_IP, IP_TRANSPARENT }, { AF_INET, IPPROTO_IP, IP_RECVERR },
	{ AF_INET, IPPROTO_IP, IP_MINTTL }, { AF_INET, IPPROTO_IP, IP_RECVORIGDSTADDR }, { AF_INET, IPPROTO_IP, IP_RECVOPTS },
	{ AF_INET6, IPPROTO_IPV6, IPV6_RECVPKTINFO }, { AF_INET6, IPPROTO_IPV6, IPV6_UNICAST_HOPS }, { AF_INET6, IPPROTO_IPV6, IPV6_MULTICAST_HOPS },
	{ AF_INET6, IPPROTO_IPV6, IPV6_MULTICAST_LOOP }, { AF_INET6, IPPROTO_IPV6, IPV6_TCLASS }, { AF_INET6, IPPROTO_IPV6, IPV6_RECVHOPLIMIT },
	{ AF_INET6, IPPROTO_IPV6, IPV6_RECVTCLASS }, { AF_INET6, IPPROTO_IPV6, IPV6_MTU_DISCOVER }, { AF_INET6, IPPROTO_IPV6, IPV6_RECVERR },
	{ -IPPROTO_TCP, IPPROTO_TCP, TCP_DEFER_ACCEPT }, { -IPPROTO_TCP, IPPROTO_TCP, TCP_USER_TIMEOUT }, { -IPPROTO_TCP, IPPROTO_TCP, TCP_FASTOPEN },
	{ -IPPROTO_TCP, IPPROTO_TCP, TCP_SYNCNT }, { -IPPROTO_TCP, IPPROTO_TCP, TCP_LINGER2 }, { -IPPROTO_TCP, IPPROTO_TCP, TCP_WINDOW_CLAMP },
	{ -IPPROTO_TCP, IPPROTO_TCP, TCP_CONGESTION }, { -IPPROTO_TCP, IPPROTO_TCP, TCP_NOTSENT_LOWAT }, { -IPPROTO_TCP, IPPROTO_TCP, TCP_SAVE_SYN },
	{ -IPPROTO_TCP, IPPROTO_TCP, TCP_MAXSEG },
	{ -IPPROTO_UDP, IPPROTO_UDP, UDP_CORK }, { -IPPROTO_UDP, IPPROTO_UDP, UDP_SEGMENT }, { -IPPROTO_UDP, IPPROTO_UDP, UDP_GRO },
};

static bool is_multicast(size_t i)
{
	return extra[i].level == IPPROTO_IP &&
	       (extra[i].name == IP_MULTICAST_TTL || extra[i].name == IP_MULTICAST_LOOP || extra[i].name == IP_MULTICAST_ALL);
}

/* Of a connection these are live numbers, not what somebody set. */
static bool is_live(const struct sock_facts *s, size_t i)
{
	return s->state != TCP_CLOSE && s->state != TCP_LISTEN && extra[i].level == IPPROTO_TCP &&
	       (extra[i].name == TCP_MAXSEG || extra[i].name == TCP_WINDOW_CLAMP);
}

/* A stream socket reads a multicast TTL of its own that nobody could set. */
static bool applies(const struct sock_facts *s, size_t i)
{
	int want = extra[i].domain;

	if (s->type == SOCK_STREAM && is_multicast(i))
		return false;
	if (want == AF_INET)
		return s->domain == AF_INET || s->domain == AF_INET6;
	return want == 0 || want == s->domain || (s->domain != AF_UNIX && want == -s->proto);
}

static void read_option(int fd, size_t i, struct option_value *v)
{
	socklen_t len = sizeof(v->data);

	memset(v, 0, sizeof(*v));
	v->len = getsockopt(fd, extra[i].level, extra[i].name, v->data, &len) == 0 ? len : 0;
}

/* A server may hold thousands of sockets of one kind: a fresh one is asked once. */
static const struct socket_defaults *defaults_of(struct capture *c, const struct sock_facts *s)
{
	struct socket_defaults *d;
	cleanup_fd int fresh = -1;

	_Static_assert(sizeof(extra) / sizeof(extra[0]) <= EXTRA_OPTIONS_MAX, "room for all");
	for (size_t i = 0; i < c->defaults_known; i++) {
		d = &c->defaults[i];
		if (d->domain == s->domain && d->type == s->type && d->proto == s->proto)
			return d;
	}
	if (!c->defaults)
		c->defaults = calloc(SOCKET_KINDS, sizeof(*c->defaults));
	fresh = socket(s->domain, s->type | SOCK_CLOEXEC, s->domain == AF_UNIX ? 0 : s->proto);
	if (!c->defaults || fresh < 0) {
		err_set(c->e, ERR_SYSTEM, c->defaults ? errno : ENOMEM, "socket");
		return NULL;
	}
	assert(c->defaults_known < SOCKET_KINDS); /* unix has three types, TCP and UDP two families each */
	d = &c->defaults[c->defaults_known++];
	*d = (struct socket_defaults){ .domain = s->domain, .type = s->type, .proto = s->proto };
	for (size_t i = 0; i < sizeof(extra) / sizeof(extra[0]); i++) {
		if (applies(s, i))
			read_option(fresh, i, &d->value[i]);
	}
	return d;
}

int socket_extra_options(struct capture *c, const struct fd_desc *d, int local, uint32_t id)
{
	const struct socket_defaults *plain = defaults_of(c, &d->sock);
	Drayage__FileExt *x = capture_file_ext(c, id);

	if (!plain || !x)
		return -1;
	for (size_t i = 0; i < sizeof(extra) / sizeof(extra[0]); i++) {
		Drayage__SocketOption *o;
		struct option_value v;

		if (plain->value[i].len == 0 || !applies(&d->sock, i) || is_live(&d->sock, i))
			continue;
		read_option(local, i, &v);
		if (v.len == 0 || (v.len == plain->value[i].len && memcmp(v.data, plain->value[i].data, v.len) == 0))
			continue;
		o = CAPTURE_NEW(c, drayage__socket_option);
		if (capture_push(c, &x->options, &x->n_options, o) < 0 || capture_bytes(c, &o->value, v.data, v.len) < 0)
			return -1;
		o->level = extra[i].level;
		o->name = extra[i].name;
	}
	return 0;
}
