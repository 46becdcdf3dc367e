/* SPDX-License-Identifier: Apache-2.0 */
/* Unix sockets: pairs inside the process with what is queued in them, listeners, unconnected ones. sock_diag tells who is whose peer. */
#include "migrate/native/capture_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/proc_text.h"

enum { QUEUE_MAX = 8 << 20, PACKETS_MAX = 65536 };
enum { UNIX_SERVICE = 2 }; /* unix_sk_entry.uflags: the connection to who made the images */
#ifndef UNIX_DIAG_SHUTDOWN
#define UNIX_DIAG_SHUTDOWN 6
#endif

struct question { struct nlmsghdr h; struct unix_diag_req q; };

static void take_attributes(struct sock_facts *s, const struct unix_diag_msg *m, size_t len)
{
	const struct rtattr *a = (const struct rtattr *)(m + 1);
	size_t left = len - sizeof(*m);

	for (; RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		const void *data = RTA_DATA(a);
		size_t size = RTA_PAYLOAD(a);

		if (a->rta_type == UNIX_DIAG_PEER && size >= 4)
			memcpy(&s->peer, data, 4);
		else if (a->rta_type == UNIX_DIAG_SHUTDOWN && size >= 1)
			s->shutdown = *(const uint8_t *)data;
		else if (a->rta_type == UNIX_DIAG_RQLEN && size >= sizeof(struct unix_diag_rqlen)) {
			struct unix_diag_rqlen q;

			memcpy(&q, data, sizeof(q));
			s->queue = q.udiag_rqueue;
			s->backlog = q.udiag_wqueue;
		} else if (a->rta_type == UNIX_DIAG_VFS && size >= sizeof(struct unix_diag_vfs)) {
			struct unix_diag_vfs v;

			memcpy(&v, data, sizeof(v));
			s->vfs_ino = v.udiag_vfs_ino;
			s->vfs_dev = v.udiag_vfs_dev;
		}
	}
}

/* Exactly one socket is asked for, by its inode: a host may have thousands. */
static int ask_kernel(struct capture *c, struct fd_desc *d)
{
	struct question q = {
		.h = { .nlmsg_len = sizeof(q), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST },
		.q = { .sdiag_family = AF_UNIX, .udiag_states = UINT32_MAX, .udiag_ino = (uint32_t)d->st.st_ino,
		       .udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN | UDIAG_SHOW_VFS, .udiag_cookie = { UINT32_MAX, UINT32_MAX } },
	};
	_Alignas(8) char answer[4096];
	const struct nlmsghdr *h = (const struct nlmsghdr *)answer;
	ssize_t got;

	if (c->diag < 0) {
		c->diag = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
		if (c->diag < 0)
			return err_sys(c->e, "sock_diag");
	}
	if (send(c->diag, &q, sizeof(q), 0) < 0 || (got = recv(c->diag, answer, sizeof(answer), 0)) < 0)
		return err_sys(c->e, "sock_diag");
	if (!NLMSG_OK(h, (size_t)got) || h->nlmsg_type != SOCK_DIAG_BY_FAMILY || h->nlmsg_len < NLMSG_LENGTH(sizeof(struct unix_diag_msg))) {
		int num = h->nlmsg_type == NLMSG_ERROR ? -((const struct nlmsgerr *)NLMSG_DATA(h))->error : EPROTO;

		if (num == ENOENT) /* closed meanwhile, or of another network namespace: that is checked by itself */
			return 0;
		return err_set(c->e, ERR_SYSTEM, num, "task %d fd %d: sock_diag", c->pid, d->fd);
	}
	d->sock.state = ((const struct unix_diag_msg *)NLMSG_DATA(h))->udiag_state;
	take_attributes(&d->sock, NLMSG_DATA(h), h->nlmsg_len - NLMSG_LENGTH(0));
	return 0;
}

int unix_read(struct capture *c, struct fd_desc *d)
{
	d->sock.state = TCP_CLOSE;
	d->sock.scm_fds = (uint32_t)text_number(d->info, "scm_fds", 10, 0);
	return ask_kernel(c, d);
}

int capture_socket_peer(int fd, uint32_t *inode, struct err *e)
{
	struct capture c = { .pid = getpid(), .diag = -1, .e = e };
	struct fd_desc d = { .fd = fd };
	int rc;

	if (fstat(fd, &d.st) < 0)
		return err_sys(e, "socket");
	rc = ask_kernel(&c, &d);
	cleanup_fd_(&c.diag);
	*inode = d.sock.peer;
	return rc == 0 && !d.sock.peer ? err_set(e, ERR_GONE, 0, "the connection has no other end") : rc;
}

static const struct fd_desc *peer_inside(const struct capture *c, const struct fd_desc *d)
{
	for (size_t i = 0; i < c->fds; i++) {
		const struct fd_desc *o = &c->fd[i];

		if (S_ISSOCK(o->st.st_mode) && o->sock.domain == AF_UNIX && !o->again && (uint32_t)o->st.st_ino == d->sock.peer)
			return o;
	}
	return NULL;
}

/* The bytes of sun_path: with the NUL that ends a path, abstract names beginning with NUL; 0 none. */
static size_t name_of(int local, struct sockaddr_un *un, bool peer)
{
	socklen_t len = sizeof(*un);

	memset(un, 0, sizeof(*un));
	if ((peer ? getpeername : getsockname)(local, (struct sockaddr *)un, &len) < 0 || len <= offsetof(struct sockaddr_un, sun_path))
		return 0;
	if (len > sizeof(*un))
		len = sizeof(*un);
	return len - offsetof(struct sockaddr_un, sun_path);
}

static void check_name(struct capture *c, const struct fd_desc *d, const struct sockaddr_un *un, size_t len)
{
	struct stat there;

	if (len == 0 || un->sun_path[0] == '\0')
		return;
	if (un->sun_path[0] != '/')
		capture_fd_obstacle(c, d, NULL, "unix socket bound to the relative path %s", un->sun_path);
	else if (lstat(un->sun_path, &there) < 0 || (uint32_t)there.st_ino != d->sock.vfs_ino)
		capture_fd_obstacle(c, d, NULL, "unix socket whose file %s is gone", un->sun_path);
}

/* A datagram socket may be connected one way, to a name: to a logger, mostly. That can be done again, if the name is a path. */
static bool connected_by_name(const struct fd_desc *d, int local, struct sockaddr_un *un)
{
	return d->sock.type == SOCK_DGRAM && name_of(local, un, true) > 0 && (un->sun_path[0] == '/' || un->sun_path[0] == '\0');
}

static void check_connected(struct capture *c, const struct fd_desc *d, int local, size_t own_name)
{
	const struct fd_desc *peer = peer_inside(c, d);
	struct sockaddr_un un;

	if (connected_by_name(d, local, &un))
		return;
	if (d->sock.peer == 0)
		return; /* its peer is gone */
	if (!peer)
		capture_fd_obstacle(c, d, NULL, "unix socket connected to a socket outside of the process");
	else if (peer->sock.peer != (uint32_t)d->st.st_ino)
		capture_fd_obstacle(c, d, NULL, "unix socket connected one way to descriptor %d", peer->fd);
	else if (own_name || name_of(local, &un, true))
		capture_fd_obstacle(c, d, NULL, "connected unix socket with a name");
}

static bool is_service_socket(const struct capture *c, const struct fd_desc *d)
{
	return c->opt->service_socket && (uint32_t)d->st.st_ino == c->opt->service_socket;
}

int unix_check(struct capture *c, struct fd_desc *d, int local)
{
	struct sockaddr_un un;
	size_t name = name_of(local, &un, false);

	if (d->sock.scm_fds)
		capture_fd_obstacle(c, d, NULL, "unix socket with %u descriptors in flight (SCM_RIGHTS)", d->sock.scm_fds);
	check_name(c, d, &un, name);
	if (is_service_socket(c, d)) {
		return 0;
	} else if (d->sock.state == TCP_LISTEN) {
		if (d->sock.queue && c->r)
			capture_fd_obstacle(c, d, NULL, "unix listener with %u connections not accepted yet", d->sock.queue);
	} else if (d->sock.state == TCP_ESTABLISHED) {
		check_connected(c, d, local, name);
	}
	return 0;
}

/* ---- save ---- */

static int push_packet(struct capture *c, Drayage__SocketQueue *q, const void *data, size_t len)
{
	ProtobufCBinaryData *grown;

	if ((q->n_packets & (q->n_packets - 1)) == 0) {
		grown = realloc(q->packets, (q->n_packets ? q->n_packets * 2 : 1) * sizeof(*grown));
		if (!grown)
			return err_set(c->e, ERR_SYSTEM, ENOMEM, "queue of a socket");
		q->packets = grown;
	}
	if (capture_bytes(c, &q->packets[q->n_packets], data, len) < 0)
		return -1;
	q->n_packets++;
	return 0;
}

static int peek_queue(struct capture *c, const struct fd_desc *d, int local, Drayage__SocketQueue *q, unsigned char *room, size_t size)
{
	size_t total = 0;

	for (;;) {
		struct sockaddr_un from;
		struct iovec iov = { room, size };
		struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1 };
		ssize_t got = recvmsg(local, &m, MSG_PEEK | MSG_DONTWAIT | (d->sock.type == SOCK_STREAM ? 0 : MSG_TRUNC));

		if (got < 0 && errno == EAGAIN)
			return 0;
		if (got < 0)
			return err_sys(c->e, "task %d fd %d: queue of a unix socket", c->pid, d->fd);
		if (got == 0 && (d->sock.type != SOCK_DGRAM || (d->sock.shutdown & 1)))
			return 0;
		total += (size_t)got;
		if ((size_t)got > size || total > QUEUE_MAX || q->n_packets >= PACKETS_MAX)
			return err_set(c->e, ERR_LIMIT, 0, "task %d fd %d: more is queued in a unix socket than can be carried", c->pid, d->fd);
		if (d->sock.type == SOCK_DGRAM && m.msg_namelen > offsetof(struct sockaddr_un, sun_path))
			capture_fd_obstacle(c, d, NULL, "unix socket with datagrams queued from a named sender");
		if (push_packet(c, q, room, (size_t)got) < 0)
			return -1;
	}
}

/* Nothing is taken out: the peek offset walks along the queue and is put back where its owner had it. */
static int save_queue(struct capture *c, const struct fd_desc *d, int local)
{
	int zero = 0, before = -1, rc;
	socklen_t len = sizeof(before);
	size_t size = 1 << 20;
	cleanup_free unsigned char *room = malloc(size);
	Drayage__SocketQueue *q = CAPTURE_NEW(c, drayage__socket_queue);

	if (!room || !q) {
		free(q);
		return err_set(c->e, ERR_SYSTEM, ENOMEM, "queue of a socket");
	}
	q->file_id = d->file_id;
	q->type = (uint32_t)d->sock.type;
	if (getsockopt(local, SOL_SOCKET, SO_PEEK_OFF, &before, &len) < 0 || setsockopt(local, SOL_SOCKET, SO_PEEK_OFF, &zero, sizeof(zero)) < 0)
		rc = err_sys(c->e, "task %d fd %d: SO_PEEK_OFF", c->pid, d->fd);
	else
		rc = peek_queue(c, d, local, q, room, size);
	setsockopt(local, SOL_SOCKET, SO_PEEK_OFF, &before, sizeof(before));
	if (rc < 0 || q->n_packets == 0) {
		drayage__socket_queue__free_unpacked(q, NULL);
		return rc;
	}
	return capture_push(c, &c->tree->queues, &c->tree->n_queues, q);
}

static int save_name(struct capture *c, const struct fd_desc *d, UnixSkEntry *u, int local)
{
	struct sockaddr_un un;
	size_t len = name_of(local, &un, false);
	struct stat st;

	if (capture_bytes(c, &u->name, un.sun_path, len) < 0)
		return -1;
	if (len && un.sun_path[0] == '/' && lstat(un.sun_path, &st) == 0) {
		u->file_perms = CAPTURE_NEW(c, file_perms_entry);
		if (!u->file_perms)
			return -1;
		u->file_perms->mode = st.st_mode;
		u->file_perms->uid = st.st_uid;
		u->file_perms->gid = st.st_gid;
	}
	(void)d;
	return 0;
}

static int save_peer(struct capture *c, const struct fd_desc *d, UnixSkEntry *u, int local)
{
	struct sockaddr_un un;
	Drayage__FileExt *x = capture_file_ext(c, u->id);
	size_t len;

	if (!x)
		return -1;
	if (u->uflags & UNIX_SERVICE) {
		u->peer = d->sock.peer;
		return 0;
	}
	if (d->sock.state == TCP_ESTABLISHED && connected_by_name(d, local, &un)) {
		len = name_of(local, &un, true);
		if (capture_bytes(c, &x->peer_name, un.sun_path, len) < 0)
			return -1;
		x->has_peer_name = true;
		u->peer = d->sock.peer;
		return 0;
	}
	x->has_socketpair = true;
	x->socketpair = d->sock.state == TCP_ESTABLISHED;
	u->peer = d->sock.peer;
	return 0;
}

int unix_save(struct capture *c, struct fd_desc *d, FileEntry *f, int local)
{
	UnixSkEntry *u = CAPTURE_NEW(c, unix_sk_entry);

	if (!u)
		return -1;
	f->usk = u;
	u->id = f->id;
	u->ino = (uint32_t)d->st.st_ino;
	u->type = (uint32_t)d->sock.type;
	u->state = (uint32_t)d->sock.state;
	u->flags = d->flags;
	u->backlog = d->sock.state == TCP_LISTEN ? d->sock.backlog : 0;
	u->has_shutdown = true;
	u->shutdown = (SkShutdown)(d->sock.shutdown & 3);
	u->uflags = is_service_socket(c, d) ? UNIX_SERVICE : 0;
	if (!(u->fown = capture_fown(c, d, local)) || !(u->opts = socket_options(c, local, false)) || save_name(c, d, u, local) < 0 ||
	    save_peer(c, d, u, local) < 0 || socket_extra_options(c, d, local, f->id) < 0)
		return -1;
	return d->sock.state == TCP_LISTEN ? 0 : save_queue(c, d, local);
}
