/* SPDX-License-Identifier: Apache-2.0 */
/* What stands against rebuilding a tree here, object by object, before anything is made. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "migrate/restore/restore_priv.h"

enum { UNIX_EXTERNAL = 1, UNIX_CALLBACK = 4 }; /* of unix_sk_entry.uflags */
enum { STATUS_VSYSCALL = 0x4, STATUS_FILE_PRIVATE = 0x40, STATUS_MEMFD = 0x4000 };

static int refuse(struct restore *r, const FdinfoEntry *d, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int refuse(struct restore *r, const FdinfoEntry *d, const char *fmt, ...)
{
	char text[320];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_set(r->e, ERR_UNSUPPORTED, 0, "task %u fd %u: %s", r->task->ps->pid, d->fd, text);
}

/* The details of a file, made where there are none. The list may have come as it is, without room. */
static Drayage__FileExt *details_of(struct restore *r, uint32_t id)
{
	Drayage__TreeState *t = r->tree;
	Drayage__FileExt *x, **more;

	for (size_t i = 0; i < t->n_files_ext; i++)
		if (t->files_ext[i]->id == id)
			return t->files_ext[i];
	more = realloc(t->files_ext, (t->n_files_ext + 1) * sizeof(*more));
	x = malloc(sizeof(*x));
	if (more)
		t->files_ext = more;
	if (!more || !x) {
		free(x);
		err_set(r->e, ERR_SYSTEM, ENOMEM, "details of files");
		return NULL;
	}
	drayage__file_ext__init(x);
	x->id = id;
	t->files_ext[t->n_files_ext++] = x;
	return x;
}

/* ---- sockets ---- */

static void peer_name(const InetSkEntry *i, char out[96])
{
	char text[INET6_ADDRSTRLEN] = "?";

	if (i->n_dst_addr == (i->family == AF_INET ? 1u : 4u))
		inet_ntop((int)i->family, i->dst_addr, text, sizeof(text));
	snprintf(out, 96, i->family == AF_INET6 ? "[%s]:%u" : "%s:%u", text, i->dst_port);
}

static int check_inet(struct restore *r, const FdinfoEntry *d, const FileEntry *f)
{
	const InetSkEntry *i = f->isk;
	Drayage__FileExt *x;
	char peer[96];

	if ((i->family != AF_INET && i->family != AF_INET6) || !((i->type == SOCK_STREAM && i->proto == IPPROTO_TCP) ||
								(i->type == SOCK_DGRAM && i->proto == IPPROTO_UDP)))
		return refuse(r, d, "socket of family %u, type %u, protocol %u", i->family, i->type, i->proto);
	if (i->type != SOCK_STREAM || i->state == TCP_LISTEN || i->state == TCP_CLOSE)
		return 0;
	peer_name(i, peer);
	if (!r->q->tcp_close)
		return refuse(r, d, "TCP connection with %s (tcp_close would let it go)", peer);
	x = details_of(r, f->id);
	if (!x)
		return -1;
	x->has_tcp_closed = x->tcp_closed = true;
	return 0;
}

static const FileEntry *unix_by_ino(const struct restore *r, uint32_t ino)
{
	for (size_t i = 0; ino && i < r->tree->n_files; i++)
		if (r->tree->files[i]->usk && r->tree->files[i]->usk->ino == ino)
			return r->tree->files[i];
	return NULL;
}

static bool has_descriptor(const struct restore *r, uint32_t file_id)
{
	for (size_t i = 0; i < r->task->n_fds; i++)
		if (r->task->fds[i]->id == file_id)
			return true;
	return false;
}

static bool knows_peer(const struct restore *r, uint32_t id)
{
	for (size_t i = 0; i < r->tree->n_files_ext; i++)
		if (r->tree->files_ext[i]->id == id)
			return r->tree->files_ext[i]->has_peer_name;
	return false;
}

/* A datagram socket that was connected to somebody else's name. Ours say which in their own details. */
static int check_outside(struct restore *r, const FdinfoEntry *d, const FileEntry *f, const UnixSkEntry *peer)
{
	int len = peer ? (int)peer->name.len : 0;
	bool path = len && peer->name.data[0];
	Drayage__FileExt *x;

	if (f->usk->type == SOCK_DGRAM && knows_peer(r, f->id))
		return 0;
	if (f->usk->type != SOCK_DGRAM || !len)
		return refuse(r, d, "unix socket connected to a socket outside of the process");
	if (!r->q->ext_unix_sk)
		return refuse(r, d, "unix socket connected to %s%.*s of another process (ext_unix_sk would connect it again)", path ? "" : "@", len - 1,
			      (const char *)peer->name.data + !path);
	x = details_of(r, f->id);
	if (!x)
		return -1;
	x->peer_name.data = malloc((size_t)len);
	if (!x->peer_name.data)
		return err_set(r->e, ERR_SYSTEM, ENOMEM, "name of a socket");
	memcpy(x->peer_name.data, peer->name.data, (size_t)len);
	x->peer_name.len = (size_t)len;
	x->has_peer_name = true;
	return 0;
}

static int check_unix(struct restore *r, const FdinfoEntry *d, const FileEntry *f)
{
	const UnixSkEntry *u = f->usk;
	const FileEntry *peer = unix_by_ino(r, u->peer);

	if (u->uflags & UNIX_CALLBACK)
		return refuse(r, d, "unix socket that a plugin of criu's was to make");
	if (u->peer == 0)
		return 0;
	if (!peer || !has_descriptor(r, peer->id) || peer->usk->uflags & UNIX_EXTERNAL)
		return check_outside(r, d, f, peer ? peer->usk : NULL);
	if (u->type == SOCK_DGRAM ? peer->usk->peer != u->ino && !peer->usk->name.len : peer->usk->peer != u->ino || peer->usk->type != u->type)
		return refuse(r, d, "unix socket connected one way, or to a listener that has not accepted it");
	return 0;
}

/* ---- open files ---- */

static const char *unknown_kind(FdTypes type)
{
	static const struct { FdTypes type; const char *name; } kind[] = {
		{ FD_TYPES__FD_PACKETSK, "packet socket" }, { FD_TYPES__FD_TTY, "terminal" },        { FD_TYPES__FD_FANOTIFY, "fanotify" },
		{ FD_TYPES__FD_NETLINKSK, "AF_NETLINK socket" }, { FD_TYPES__FD_NS, "namespace" },   { FD_TYPES__FD_TUNF, "tun device" },
		{ FD_TYPES__FD_EXT, "external file" },      { FD_TYPES__FD_BPFMAP, "BPF map" },      { FD_TYPES__FD_PIDFD, "pidfd" },
		{ FD_TYPES__FD_UND, "object of an unknown kind" },
	};

	for (size_t i = 0; i < sizeof(kind) / sizeof(kind[0]); i++)
		if (kind[i].type == type)
			return kind[i].name;
	return type > FD_TYPES__FD_PIDFD ? "object of an unknown kind" : NULL;
}

static int check_descriptor(struct restore *r, const FdinfoEntry *d)
{
	const FileEntry *f = tree_images_file(r->tree, d->id);
	const char *unknown = unknown_kind(f->type);

	if (restore_is_given(r, f->id))
		return 0;
	if (unknown)
		return refuse(r, d, "%s", unknown);
	if (f->reg && f->reg->has_ext && f->reg->ext)
		return refuse(r, d, "external file %s, and no descriptor is given for it (inherit_fd)", f->reg->name);
	return f->isk ? check_inet(r, d, f) : f->usk ? check_unix(r, d, f) : 0;
}

/* ---- mappings ---- */

static const char *unknown_mapping(const VmaEntry *v)
{
	static const struct { uint32_t status; const char *name; } kind[] = {
		{ 0x400, "System V shared memory" }, { 0x800, "memory of a packet socket" }, { 0x2000, "AIO ring" }, { 0x8000, "shadow stack" },
		{ 0x10000, "guard region (MADV_GUARD_INSTALL)" }, { 0x20000, "uprobes" }, { 0xfffc0000, "memory of an unknown kind" },
	};

	for (size_t i = 0; i < sizeof(kind) / sizeof(kind[0]); i++)
		if (v->status & kind[i].status)
			return kind[i].name;
	if (v->flags & MAP_HUGETLB)
		return "huge pages (hugetlb)";
	return v->status & STATUS_MEMFD && v->status & STATUS_FILE_PRIVATE ? "private mapping of a memfd" : NULL;
}

static int check_mappings(struct restore *r)
{
	const MmEntry *mm = r->task->mm;

	if (mm->n_aios)
		return err_set(r->e, ERR_UNSUPPORTED, 0, "task %u: AIO ring", r->task->ps->pid);
	for (size_t i = 0; i < mm->n_vmas; i++) {
		const VmaEntry *v = mm->vmas[i];
		const char *unknown = v->status & STATUS_VSYSCALL ? NULL : unknown_mapping(v);

		if (unknown)
			return err_set(r->e, ERR_UNSUPPORTED, 0, "task %u mapping %llx-%llx: %s", r->task->ps->pid, (unsigned long long)v->start,
				       (unsigned long long)v->end, unknown);
	}
	return 0;
}

static int check_session(struct restore *r)
{
	const PstreeEntry *ps = r->task->ps;

	if (ps->sid == ps->pid || r->q->shell_job)
		return 0;
	return err_set(r->e, ERR_UNSUPPORTED, 0, "task %u: it did not lead its session, %u (shell_job would have it join ours)", ps->pid, ps->sid);
}

int restore_prepare(struct restore *r)
{
	if (r->facts.tcp_close && !r->q->tcp_close)
		return err_set(r->e, ERR_USAGE, 0, "the dump let TCP connections go: a restore must be told tcp_close too");
	if (rebuild_check_tree(r->tree, r->e) < 0 || check_session(r) < 0 || check_mappings(r) < 0)
		return -1;
	for (size_t i = 0; i < r->task->n_fds; i++)
		if (check_descriptor(r, r->task->fds[i]) < 0)
			return -1;
	return 0;
}
