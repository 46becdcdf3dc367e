/* SPDX-License-Identifier: Apache-2.0 */
/* Options that sockets of all families have. */
#include <errno.h>
#include <linux/filter.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "migrate/native/rebuild_priv.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif

int rebuild_sock_set(struct rebuild *r, const struct built *b, int fd, int level, int name, int value, const char *what)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)) == 0)
		return 0;
	return rebuild_fail(r, b, ERR_SYSTEM, errno, "socket option %s = %d", what, value);
}
#define SET(name, value) rebuild_sock_set(r, b, fd, SOL_SOCKET, name, (int)(value), #name)

/* The kernel doubles what it is given, for its own bookkeeping, and tells the double. An untouched size is left alone, so that it goes
 * on to be tuned. */
static int set_buffer(struct rebuild *r, const struct built *b, int fd, int name, int force, uint32_t want, const char *what)
{
	int now = 0, half = (int)(want / 2);
	socklen_t len = sizeof(now);

	if (getsockopt(fd, SOL_SOCKET, name, &now, &len) == 0 && now == (int)want)
		return 0;
	if (setsockopt(fd, SOL_SOCKET, force, &half, sizeof(half)) == 0)
		return 0;
	return rebuild_sock_set(r, b, fd, SOL_SOCKET, name, half, what);
}

int rebuild_sock_buffers(struct rebuild *r, const struct built *b, int fd, const SkOptsEntry *o)
{
	if (set_buffer(r, b, fd, SO_SNDBUF, SO_SNDBUFFORCE, o->so_sndbuf, "SO_SNDBUF") < 0 ||
	    set_buffer(r, b, fd, SO_RCVBUF, SO_RCVBUFFORCE, o->so_rcvbuf, "SO_RCVBUF") < 0)
		return -1;
	return o->has_so_buf_lock ? SET(SO_BUF_LOCK, o->so_buf_lock) : 0;
}

static int set_timeouts(struct rebuild *r, const struct built *b, int fd, const SkOptsEntry *o)
{
	struct timeval snd = { (time_t)o->so_snd_tmo_sec, (suseconds_t)o->so_snd_tmo_usec };
	struct timeval rcv = { (time_t)o->so_rcv_tmo_sec, (suseconds_t)o->so_rcv_tmo_usec };

	if (((snd.tv_sec || snd.tv_usec) && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &snd, sizeof(snd)) < 0) ||
	    ((rcv.tv_sec || rcv.tv_usec) && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &rcv, sizeof(rcv)) < 0))
		return rebuild_fail_sys(r, b, "socket timeout");
	return 0;
}

static int set_filter(struct rebuild *r, const struct built *b, int fd, const SkOptsEntry *o)
{
	struct sock_filter code[BPF_MAXINSNS];
	struct sock_fprog prog = { .len = (unsigned short)o->n_so_filter, .filter = code };

	_Static_assert(sizeof(code[0]) == sizeof(o->so_filter[0]), "one instruction is 64 bits");
	if (!o->n_so_filter)
		return 0;
	if (o->n_so_filter > BPF_MAXINSNS)
		return rebuild_fail(r, b, ERR_PROTOCOL, 0, "socket filter of %zu instructions", o->n_so_filter);
	memcpy(code, o->so_filter, o->n_so_filter * sizeof(code[0]));
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0 ? rebuild_fail_sys(r, b, "socket filter") : 0;
}

int rebuild_sock_options(struct rebuild *r, const struct built *b, int fd, const SkOptsEntry *o)
{
	if (set_timeouts(r, b, fd, o) < 0 || set_filter(r, b, fd, o) < 0)
		return -1;
	if ((o->so_priority && SET(SO_PRIORITY, o->so_priority) < 0) || (o->so_rcvlowat > 1 && SET(SO_RCVLOWAT, o->so_rcvlowat) < 0) ||
	    (o->so_mark && SET(SO_MARK, o->so_mark) < 0) || (o->so_passcred && SET(SO_PASSCRED, 1) < 0) ||
	    (o->so_passsec && SET(SO_PASSSEC, 1) < 0) || (o->so_dontroute && SET(SO_DONTROUTE, 1) < 0) ||
	    (o->so_no_check && SET(SO_NO_CHECK, 1) < 0) || (o->so_broadcast && SET(SO_BROADCAST, 1) < 0) ||
	    (o->so_keepalive && SET(SO_KEEPALIVE, 1) < 0) || (o->so_oobinline && SET(SO_OOBINLINE, 1) < 0))
		return -1;
	if (o->has_so_linger) {
		struct linger l = { 1, (int)o->so_linger };

		if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)) < 0)
			return rebuild_fail_sys(r, b, "SO_LINGER");
	}
	if (o->so_bound_dev && o->so_bound_dev[0] &&
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, o->so_bound_dev, (socklen_t)strlen(o->so_bound_dev)) < 0)
		return rebuild_fail(r, b, ERR_SYSTEM, errno, "socket bound to interface %s", o->so_bound_dev);
	return 0;
}

int rebuild_sock_extra(struct rebuild *r, const struct built *b, int fd)
{
	for (size_t i = 0; b->x && i < b->x->n_options; i++) {
		const Drayage__SocketOption *o = b->x->options[i];

		if (setsockopt(fd, o->level, o->name, o->value.data, (socklen_t)o->value.len) < 0)
			return rebuild_fail(r, b, ERR_SYSTEM, errno, "socket option %d of level %d", o->name, o->level);
	}
	return 0;
}
