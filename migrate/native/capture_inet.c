/* SPDX-License-Identifier: Apache-2.0 */
/* TCP and UDP sockets, IPv4 and IPv6. */
#include "migrate/native/capture_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union address { struct sockaddr any; struct sockaddr_in v4; struct sockaddr_in6 v6; };

static int get(int fd, int level, int name)
{
	int v = 0;
	socklen_t len = sizeof(v);

	return getsockopt(fd, level, name, &v, &len) == 0 ? v : 0;
}

/* The states that a description may have: closed, listening, connected. Sets backlog and queue of a listener. */
static void read_state(struct fd_desc *d, int local)
{
	struct tcp_info info = { 0 };
	union address peer;
	socklen_t len = sizeof(info), peer_len = sizeof(peer);

	if (d->sock.proto == IPPROTO_UDP) {
		d->sock.state = getpeername(local, &peer.any, &peer_len) == 0 ? TCP_ESTABLISHED : TCP_CLOSE;
		return;
	}
	d->sock.state = getsockopt(local, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 ? info.tcpi_state : TCP_CLOSE;
	if (d->sock.state == TCP_LISTEN) {
		d->sock.queue = info.tcpi_unacked;
		d->sock.backlog = info.tcpi_sacked;
	}
}

static void say(const union address *a, char *out, size_t size)
{
	char text[INET6_ADDRSTRLEN] = "?";
	bool v6 = a->any.sa_family == AF_INET6;

	inet_ntop(a->any.sa_family, v6 ? (const void *)&a->v6.sin6_addr : (const void *)&a->v4.sin_addr, text, sizeof(text));
	snprintf(out, size, v6 ? "[%s]:%u" : "%s:%u", text, ntohs(v6 ? a->v6.sin6_port : a->v4.sin_port));
}

static void refuse_connection(struct capture *c, const struct fd_desc *d, int local)
{
	union address a = { 0 };
	socklen_t len = sizeof(a);
	char peer[INET6_ADDRSTRLEN + 16] = "its peer";

	if (getpeername(local, &a.any, &len) == 0)
		say(&a, peer, sizeof(peer));
	capture_fd_obstacle(c, d, "--tcp-close", "TCP connection with %s", peer);
}

int inet_check(struct capture *c, struct fd_desc *d, int local)
{
	read_state(d, local);
	if (d->sock.proto == IPPROTO_UDP || d->sock.state == TCP_CLOSE || c->opt->tcp_close)
		return 0;
	if (d->sock.state != TCP_LISTEN)
		refuse_connection(c, d, local);
	else if (d->sock.queue && c->r) /* the running server may still accept them */
		capture_fd_obstacle(c, d, "--tcp-close", "TCP listener with %u connections not accepted yet", d->sock.queue);
	return 0;
}

static int save_address(struct capture *c, const union address *a, int domain, uint32_t **words, size_t *n, uint32_t *port, char **ifname)
{
	size_t count = domain == AF_INET6 ? 4 : 1;

	*words = calloc(count, sizeof(**words));
	if (!*words)
		return err_set(c->e, ERR_SYSTEM, ENOMEM, "description");
	*n = count;
	if (a->any.sa_family == AF_INET6 && domain == AF_INET6) {
		char name[IF_NAMESIZE];

		memcpy(*words, &a->v6.sin6_addr, sizeof(a->v6.sin6_addr));
		*port = ntohs(a->v6.sin6_port);
		if (ifname && a->v6.sin6_scope_id && if_indextoname(a->v6.sin6_scope_id, name))
			*ifname = strdup(name);
	} else if (a->any.sa_family == AF_INET && domain == AF_INET) {
		memcpy(*words, &a->v4.sin_addr, sizeof(a->v4.sin_addr));
		*port = ntohs(a->v4.sin_port);
	}
	return 0;
}

/* With --tcp-close: a connection leaves an unconnected, unbound socket. */
static bool is_let_go(const struct fd_desc *d)
{
	return d->sock.proto == IPPROTO_TCP && d->sock.state != TCP_LISTEN && d->sock.state != TCP_CLOSE;
}

static int save_addresses(struct capture *c, const struct fd_desc *d, InetSkEntry *s, int local)
{
	union address own = { 0 }, peer = { 0 };
	socklen_t len = sizeof(own);

	if (!is_let_go(d) && getsockname(local, &own.any, &len) < 0)
		return err_sys(c->e, "task %d fd %d: its address", c->pid, d->fd);
	len = sizeof(peer);
	if (d->sock.proto == IPPROTO_UDP && d->sock.state == TCP_ESTABLISHED && getpeername(local, &peer.any, &len) < 0)
		return err_sys(c->e, "task %d fd %d: its peer's address", c->pid, d->fd);
	return save_address(c, &own, d->sock.domain, &s->src_addr, &s->n_src_addr, &s->src_port, &s->ifname) < 0 ||
	       save_address(c, &peer, d->sock.domain, &s->dst_addr, &s->n_dst_addr, &s->dst_port, NULL) < 0 ? -1 : 0;
}

static int save_levels(struct capture *c, const struct fd_desc *d, InetSkEntry *s, int local)
{
	IpOptsEntry *ip = CAPTURE_NEW(c, ip_opts_entry);
	TcpOptsEntry *tcp;

	if (!ip)
		return -1;
	s->ip_opts = ip;
	ip->has_freebind = ip->has_pktinfo = ip->has_tos = ip->has_ttl = true;
	ip->freebind = get(local, IPPROTO_IP, IP_FREEBIND) != 0;
	ip->pktinfo = get(local, IPPROTO_IP, IP_PKTINFO) != 0;
	ip->tos = (uint32_t)get(local, IPPROTO_IP, IP_TOS);
	ip->ttl = (uint32_t)get(local, IPPROTO_IP, IP_TTL);
	if (d->sock.domain == AF_INET6) {
		s->has_v6only = true;
		s->v6only = get(local, IPPROTO_IPV6, IPV6_V6ONLY) != 0;
	}
	if (d->sock.proto != IPPROTO_TCP)
		return 0;
	s->tcp_opts = tcp = CAPTURE_NEW(c, tcp_opts_entry);
	if (!tcp)
		return -1;
	tcp->has_cork = tcp->has_nodelay = tcp->has_keepcnt = tcp->has_keepidle = tcp->has_keepintvl = true;
	tcp->cork = get(local, IPPROTO_TCP, TCP_CORK) != 0;
	tcp->nodelay = get(local, IPPROTO_TCP, TCP_NODELAY) != 0;
	tcp->keepcnt = (uint32_t)get(local, IPPROTO_TCP, TCP_KEEPCNT);
	tcp->keepidle = (uint32_t)get(local, IPPROTO_TCP, TCP_KEEPIDLE);
	tcp->keepintvl = (uint32_t)get(local, IPPROTO_TCP, TCP_KEEPINTVL);
	return 0;
}

int inet_save(struct capture *c, struct fd_desc *d, FileEntry *f, int local)
{
	InetSkEntry *s = CAPTURE_NEW(c, inet_sk_entry);
	Drayage__FileExt *x;

	if (!s)
		return -1;
	f->isk = s;
	s->id = f->id;
	s->ino = (uint32_t)d->st.st_ino;
	s->family = (uint32_t)d->sock.domain;
	s->type = (uint32_t)d->sock.type;
	s->proto = (uint32_t)d->sock.proto;
	s->flags = d->flags;
	s->state = (uint32_t)d->sock.state;
	s->backlog = d->sock.backlog;
	if (!(s->fown = capture_fown(c, d, local)) || !(s->opts = socket_options(c, local, is_let_go(d))) || save_addresses(c, d, s, local) < 0)
		return -1;
	if (!is_let_go(d) && (save_levels(c, d, s, local) < 0 || socket_extra_options(c, d, local, f->id) < 0))
		return -1;
	if (is_let_go(d)) {
		x = capture_file_ext(c, f->id);
		if (!x)
			return -1;
		x->has_tcp_closed = x->tcp_closed = true;
		s->state = TCP_CLOSE;
	}
	return 0;
}
