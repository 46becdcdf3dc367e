/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets: unix ones with what is queued in them, listening TCP, UDP, and TCP without a connection. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "migrate/native/rebuild_priv.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"

enum { STATE_ESTABLISHED = 1, STATE_LISTEN = 10, PROC_UNIX_MAX = 16 << 20, ROOMY = 8 << 20 };

/* ---- unix ---- */

static struct built *unix_by_ino(const struct rebuild *r, uint32_t ino)
{
	for (size_t i = 0; ino && i < r->files; i++)
		if (r->file[i].first >= 0 && r->file[i].f->type == FD_TYPES__FD_UNIXSK && r->file[i].f->usk->ino == ino)
			return &r->file[i];
	return NULL;
}

/* to: NULL when `from` is connected to the reader. */
static int send_queue(struct rebuild *r, const struct built *reader, int from, const struct sockaddr_un *to, socklen_t to_len)
{
	for (size_t i = 0; i < r->tree->n_queues; i++) {
		const Drayage__SocketQueue *q = r->tree->queues[i];

		if (q->file_id != reader->f->id)
			continue;
		for (size_t k = 0; k < q->n_packets; k++) {
			const ProtobufCBinaryData *p = &q->packets[k];
			size_t done = 0;

			do { /* an empty datagram is one too */
				ssize_t n = sendto(from, p->data + done, p->len - done, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)to,
						   to ? to_len : 0);

				if (n < 0)
					return rebuild_fail(r, reader, ERR_SYSTEM, errno, "%zu bytes queued in a socket", p->len);
				done += (size_t)n;
			} while (done < p->len);
		}
	}
	return 0;
}

static int roomy(int fd)
{
	int room = ROOMY;

	return setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
}

static int unix_options(struct rebuild *r, struct built *b)
{
	const UnixSkEntry *u = b->f->usk;

	if (rebuild_sock_buffers(r, b, b->fd, u->opts) < 0 || rebuild_sock_options(r, b, b->fd, u->opts) < 0 || rebuild_sock_extra(r, b, b->fd) < 0)
		return -1;
	if (u->has_shutdown && u->shutdown && shutdown(b->fd, (int)u->shutdown - 1) < 0 && errno != ENOTCONN)
		return rebuild_fail_sys(r, b, "shutdown of a socket");
	return 0;
}

/* other: NULL when nobody of the tree has the other end (its last descriptor was closed). */
static int build_pair(struct rebuild *r, struct built *b, struct built *other)
{
	cleanup_fd int orphan = -1;
	int end[2], far;

	if (socketpair(AF_UNIX, (int)b->f->usk->type | SOCK_CLOEXEC, 0, end) < 0)
		return rebuild_fail_sys(r, b, "socketpair");
	orphan = end[1];
	if (rebuild_take(r, b, end[0], "socketpair") < 0)
		return -1;
	if (other && rebuild_take(r, other, steal_fd(&orphan), "socketpair") < 0)
		return -1;
	far = other ? other->fd : orphan;
	roomy(b->fd);
	roomy(far);
	if (send_queue(r, b, far, NULL, 0) < 0 || (other && send_queue(r, other, b->fd, NULL, 0) < 0))
		return -1;
	/* Until here it could be read and written whatever either side had shut down. */
	return unix_options(r, b) < 0 || (other && unix_options(r, other) < 0) ? -1 : 0;
}

static int unix_address(struct rebuild *r, const struct built *b, const ProtobufCBinaryData *name, struct sockaddr_un *sa, socklen_t *len)
{
	*sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (name->len > sizeof(sa->sun_path))
		return rebuild_fail(r, b, ERR_PROTOCOL, 0, "unix socket with a name of %zu bytes", name->len);
	memcpy(sa->sun_path, name->data, name->len);
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + name->len);
	return 0;
}

/* A socket of this network namespace that has the path now: somebody serves it, as somebody may hold a port. */
static bool path_in_use(const char *path)
{
	struct err ignored = { 0 };
	cleanup_free char *text = file_read(AT_FDCWD, "/proc/self/net/unix", PROC_UNIX_MAX, NULL, &ignored);
	size_t len = strlen(path);

	for (const char *at = text; at && (at = strstr(at, path)); at += len)
		if (at > text && at[-1] == ' ' && (at[len] == '\n' || at[len] == '\0'))
			return true;
	return false;
}

/* A socket file that nobody serves is what the process left here before, or its copy on a shared disk. */
static int clear_path(struct rebuild *r, const struct built *b, const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : rebuild_fail_sys(r, b, path);
	if (!S_ISSOCK(st.st_mode))
		return rebuild_fail(r, b, ERR_CONFLICT, 0, "%s exists here and is no socket", path);
	if (path_in_use(path))
		return rebuild_fail(r, b, ERR_CONFLICT, 0, "unix socket %s is in use here", path);
	return unlink(path) < 0 ? rebuild_fail_sys(r, b, path) : 0;
}

static int unix_bind(struct rebuild *r, struct built *b)
{
	const UnixSkEntry *u = b->f->usk;
	cleanup_fd int home = -1;
	struct sockaddr_un sa;
	socklen_t len;
	bool path = u->name.len && u->name.data[0];
	char name[sizeof(sa.sun_path) + 1] = "";
	int rc;

	if (!u->name.len)
		return 0;
	if (unix_address(r, b, &u->name, &sa, &len) < 0)
		return -1;
	if (path)
		memcpy(name, sa.sun_path, u->name.len);
	if (path && name[0] != '/') {
		/* A relative name was bound in a directory that need not be the working one any more. */
		home = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (home < 0 || !u->name_dir || chdir(u->name_dir) < 0)
			return rebuild_fail(r, b, ERR_SYSTEM, errno, "directory %s of unix socket %s", u->name_dir ? u->name_dir : "(none)", name);
	}
	rc = path ? clear_path(r, b, name) : 0;
	if (rc == 0 && bind(b->fd, (struct sockaddr *)&sa, len) < 0)
		rc = rebuild_fail(r, b, errno == EADDRINUSE ? ERR_CONFLICT : ERR_SYSTEM, errno, "bind unix socket %s%.*s", path ? "" : "@",
				  (int)u->name.len - !path, path ? name : sa.sun_path + 1);
	if (rc == 0 && path && u->file_perms &&
	    (chown(name, u->file_perms->uid, u->file_perms->gid) < 0 || chmod(name, u->file_perms->mode & 07777) < 0))
		rc = rebuild_fail(r, b, ERR_SYSTEM, errno, "owner and mode of %s", name);
	if (rc == 0 && path && u->has_deleted && u->deleted && unlink(name) < 0)
		rc = rebuild_fail_sys(r, b, name);
	if (home >= 0 && fchdir(home) < 0 && rc == 0)
		rc = rebuild_fail_sys(r, b, "working directory");
	return rc;
}

/* What strangers sent it: through its name, from a socket without one, while it takes from all. */
static int fill_from_outside(struct rebuild *r, struct built *b)
{
	struct sockaddr_un sa;
	socklen_t len = sizeof(sa);
	cleanup_fd int from = -1;
	bool any = false;

	for (size_t i = 0; i < r->tree->n_queues; i++)
		any |= r->tree->queues[i]->file_id == b->f->id && r->tree->queues[i]->n_packets;
	if (!any)
		return 0;
	from = socket(AF_UNIX, (int)b->f->usk->type | SOCK_CLOEXEC, 0);
	/* Without a name of its own it gets one for the moment, that nobody else can know. */
	if (from < 0 || (!b->f->usk->name.len && bind(b->fd, (struct sockaddr *)&(struct sockaddr_un){ .sun_family = AF_UNIX }, sizeof(sa_family_t)) < 0) ||
	    getsockname(b->fd, (struct sockaddr *)&sa, &len) < 0)
		return rebuild_fail_sys(r, b, "queue of a socket");
	roomy(from);
	return send_queue(r, b, from, &sa, len);
}

int rebuild_unix(struct rebuild *r, struct built *b)
{
	const UnixSkEntry *u = b->f->usk;
	struct built *peer = unix_by_ino(r, u->peer);
	bool connected = u->state == STATE_ESTABLISHED && u->type != SOCK_DGRAM;

	if (peer == b)
		peer = NULL;
	/* Two that were bound and connected to each other's names are no pair. */
	if (peer && peer->fd < 0 && peer->f->usk->peer == u->ino && !u->name.len && !peer->f->usk->name.len)
		return build_pair(r, b, peer);
	/* A datagram socket that others are connected to counts as connected itself, and has a name. */
	if (connected || (b->x && b->x->has_socketpair && b->x->socketpair && !peer && !u->name.len))
		return build_pair(r, b, NULL);
	if (rebuild_take(r, b, socket(AF_UNIX, (int)u->type | SOCK_CLOEXEC, 0), "unix socket") < 0)
		return -1;
	if (unix_bind(r, b) < 0 || unix_options(r, b) < 0)
		return -1;
	if (u->state == STATE_LISTEN)
		return listen(b->fd, (int)u->backlog) < 0 ? rebuild_fail_sys(r, b, "listen") : 0;
	return u->type == SOCK_DGRAM ? fill_from_outside(r, b) : 0;
}

int rebuild_unix_connect(struct rebuild *r, struct built *b)
{
	const UnixSkEntry *u = b->f->usk;
	const struct built *peer = unix_by_ino(r, u->peer);
	const ProtobufCBinaryData *name = NULL;
	struct sockaddr_un sa;
	socklen_t len;

	if (u->type != SOCK_DGRAM)
		return 0;
	if (b->x && b->x->has_peer_name && b->x->peer_name.len)
		name = &b->x->peer_name;
	else if (peer && peer->f->usk->name.len)
		name = &peer->f->usk->name;
	if (!name)
		return 0;
	if (unix_address(r, b, name, &sa, &len) < 0)
		return -1;
	if (connect(b->fd, (struct sockaddr *)&sa, len) == 0)
		return 0;
	return rebuild_fail(r, b, ERR_SYSTEM, errno, "connect datagram socket to %.*s", (int)name->len - 1, (const char *)name->data + !name->data[0]);
}

/* ---- inet ---- */

struct inet_address { struct sockaddr_storage sa; socklen_t len; bool any; };

static int inet_address(struct rebuild *r, const struct built *b, const uint32_t *words, size_t n, uint32_t port, struct inet_address *out)
{
	const InetSkEntry *i = b->f->isk;

	*out = (struct inet_address){ .any = true };
	if ((i->family != AF_INET && i->family != AF_INET6) || n != (i->family == AF_INET ? 1 : 4) || port > 65535)
		return rebuild_fail(r, b, ERR_PROTOCOL, 0, "socket of family %u with an address of %zu words", i->family, n);
	for (size_t k = 0; k < n; k++)
		out->any &= words[k] == 0;
	if (i->family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)&out->sa;

		*in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = words[0] };
		out->len = sizeof(*in);
	} else {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out->sa;

		*in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
		memcpy(&in6->sin6_addr, words, 16);
		out->len = sizeof(*in6);
	}
	return 0;
}

static int ip_options(struct rebuild *r, const struct built *b, const InetSkEntry *i)
{
	const IpOptsEntry *o = i->ip_opts;
	bool six = i->family == AF_INET6;

	if (six && i->has_v6only && rebuild_sock_set(r, b, b->fd, IPPROTO_IPV6, IPV6_V6ONLY, i->v6only, "IPV6_V6ONLY") < 0)
		return -1;
	if (!o)
		return 0;
	if (o->freebind && rebuild_sock_set(r, b, b->fd, IPPROTO_IP, IP_FREEBIND, 1, "IP_FREEBIND") < 0)
		return -1;
	if (o->pktinfo && rebuild_sock_set(r, b, b->fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_RECVPKTINFO : IP_PKTINFO, 1, "PKTINFO") < 0)
		return -1;
	if (o->tos && rebuild_sock_set(r, b, b->fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_TCLASS : IP_TOS, (int)o->tos, "IP_TOS") < 0)
		return -1;
	if (o->has_ttl && o->ttl > 0 && o->ttl <= 255 &&
	    rebuild_sock_set(r, b, b->fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_UNICAST_HOPS : IP_TTL, (int)o->ttl, "IP_TTL") < 0)
		return -1;
	return 0;
}

static int tcp_options(struct rebuild *r, const struct built *b, const InetSkEntry *i)
{
	const TcpOptsEntry *o = i->tcp_opts;

	if (!o || i->type != SOCK_STREAM)
		return 0;
	if ((o->nodelay && rebuild_sock_set(r, b, b->fd, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY") < 0) ||
	    (o->cork && rebuild_sock_set(r, b, b->fd, IPPROTO_TCP, TCP_CORK, 1, "TCP_CORK") < 0) ||
	    (o->keepcnt && rebuild_sock_set(r, b, b->fd, IPPROTO_TCP, TCP_KEEPCNT, (int)o->keepcnt, "TCP_KEEPCNT") < 0) ||
	    (o->keepidle && rebuild_sock_set(r, b, b->fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)o->keepidle, "TCP_KEEPIDLE") < 0) ||
	    (o->keepintvl && rebuild_sock_set(r, b, b->fd, IPPROTO_TCP, TCP_KEEPINTVL, (int)o->keepintvl, "TCP_KEEPINTVL") < 0))
		return -1;
	return 0;
}

/* Bound with SO_REUSEADDR, so that what its last connections left behind is not in the way; then as the target had it. */
static int inet_bind(struct rebuild *r, const struct built *b, const InetSkEntry *i)
{
	struct inet_address src;

	if (inet_address(r, b, i->src_addr, i->n_src_addr, i->src_port, &src) < 0)
		return -1;
	if (i->src_port == 0 && src.any)
		return rebuild_sock_set(r, b, b->fd, SOL_SOCKET, SO_REUSEADDR, i->opts->reuseaddr, "SO_REUSEADDR");
	if ((i->opts->so_reuseport && rebuild_sock_set(r, b, b->fd, SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT") < 0) ||
	    rebuild_sock_set(r, b, b->fd, SOL_SOCKET, SO_REUSEADDR, i->type == SOCK_STREAM ? 1 : i->opts->reuseaddr, "SO_REUSEADDR") < 0)
		return -1;
	if (bind(b->fd, (struct sockaddr *)&src.sa, src.len) < 0)
		return rebuild_fail(r, b, errno == EADDRINUSE ? ERR_CONFLICT : ERR_SYSTEM, errno, "bind %s port %u",
				    i->type == SOCK_STREAM ? "TCP" : "UDP", i->src_port);
	return rebuild_sock_set(r, b, b->fd, SOL_SOCKET, SO_REUSEADDR, i->opts->reuseaddr, "SO_REUSEADDR");
}

static int inet_connect(struct rebuild *r, const struct built *b, const InetSkEntry *i)
{
	struct inet_address dst;

	if (i->type != SOCK_DGRAM || !i->dst_port)
		return 0;
	if (inet_address(r, b, i->dst_addr, i->n_dst_addr, i->dst_port, &dst) < 0)
		return -1;
	return connect(b->fd, (struct sockaddr *)&dst.sa, dst.len) < 0 ? rebuild_fail_sys(r, b, "connect UDP socket") : 0;
}

int rebuild_inet(struct rebuild *r, struct built *b)
{
	const InetSkEntry *i = b->f->isk;
	bool closed = b->x && b->x->has_tcp_closed && b->x->tcp_closed;
	bool stream = i->type == SOCK_STREAM;

	if ((i->family != AF_INET && i->family != AF_INET6) || (!stream && i->type != SOCK_DGRAM))
		return rebuild_fail(r, b, ERR_UNSUPPORTED, 0, "socket of family %u, type %u", i->family, i->type);
	if (stream && !closed && i->state != STATE_LISTEN && i->state != 7)
		return rebuild_fail(r, b, ERR_UNSUPPORTED, 0, "TCP connection in state %u", i->state);
	if (rebuild_take(r, b, socket((int)i->family, (int)i->type | SOCK_CLOEXEC, (int)i->proto), "socket") < 0)
		return -1;
	if (rebuild_sock_buffers(r, b, b->fd, i->opts) < 0 || rebuild_sock_options(r, b, b->fd, i->opts) < 0 || ip_options(r, b, i) < 0 ||
	    tcp_options(r, b, i) < 0 || rebuild_sock_extra(r, b, b->fd) < 0)
		return -1;
	/* A connection that was let go keeps neither end's address: its descriptor is a socket that was never connected. */
	if (closed)
		return 0;
	if (inet_bind(r, b, i) < 0 || inet_connect(r, b, i) < 0)
		return -1;
	if (stream && i->state == STATE_LISTEN && listen(b->fd, (int)i->backlog) < 0)
		return rebuild_fail(r, b, errno == EADDRINUSE ? ERR_CONFLICT : ERR_SYSTEM, errno, "listen on TCP port %u", i->src_port);
	if (!stream && i->has_shutdown && i->shutdown && shutdown(b->fd, (int)i->shutdown - 1) < 0 && errno != ENOTCONN)
		return rebuild_fail_sys(r, b, "shutdown of a socket");
	return 0;
}
