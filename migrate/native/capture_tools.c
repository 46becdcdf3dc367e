/* SPDX-License-Identifier: Apache-2.0 */
/* What all parts of a capture use: naming what stands in the way, reading below /proc/PID, adding to the description. */
#include "migrate/native/capture_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/grow.h"
#include "proto/base/io.h"

enum { MAX_PROC_TEXT = 16 << 20 };

void capture_obstacle(struct capture *c, const char *way_out, const char *fmt, ...)
{
	struct obstacles *o = c->found;
	va_list ap;

	if (!array_room(&o->v, o->count, &o->capacity, sizeof(*o->v), 8)) {
		/* A list that can't grow must not look complete or empty. */
		err_set(c->e, ERR_SYSTEM, ENOMEM, "list of obstacles");
		return;
	}
	va_start(ap, fmt);
	vsnprintf(o->v[o->count].what, sizeof(o->v[0].what), fmt, ap);
	va_end(ap);
	snprintf(o->v[o->count].way_out, sizeof(o->v[0].way_out), "%s", way_out ? way_out : "");
	o->count++;
}

int capture_bytes(struct capture *c, ProtobufCBinaryData *out, const void *data, size_t len)
{
	out->data = malloc(len ? len : 1);
	if (!out->data)
		return err_set(c->e, ERR_SYSTEM, ENOMEM, "description");
	memcpy(out->data, data, len);
	out->len = len;
	return 0;
}

char *capture_text(struct capture *c, const char *name, struct err *e)
{
	size_t len;
	char *text = file_read(c->procfd, name, MAX_PROC_TEXT, &len, e);

	if (!text && (e->num == ESRCH || e->num == ENOENT) && faccessat(c->procfd, "status", F_OK, 0) < 0)
		err_set(e, ERR_GONE, 0, "process %d is gone", c->pid);
	return text;
}

/* ---- threads ---- */

pid_t capture_tid_inside(const struct capture *c, pid_t tid)
{
	for (size_t i = 0; i < c->r->threads; i++) {
		if (c->r->thread[i].tid == tid)
			return c->nstid[i];
	}
	return -1;
}

void capture_fd_obstacle(struct capture *c, const struct fd_desc *d, const char *way_out, const char *fmt, ...)
{
	char what[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	capture_obstacle(c, way_out, "task %d fd %d: %s", c->pid, d->fd, what);
}

int capture_fd_open(struct capture *c, const struct fd_desc *d)
{
	int fd = pidfd_getfd_(c->pidfd, d->fd);

	return fd < 0 ? err_set(c->e, fd == -EPERM ? ERR_PERMISSION : ERR_SYSTEM, -fd, "task %d fd %d", c->pid, d->fd) : fd;
}

const struct fd_desc *capture_fd_find(const struct capture *c, int fd)
{
	size_t low = 0, high = c->fds;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (c->fd[mid].fd < fd)
			low = mid + 1;
		else
			high = mid;
	}
	return low < c->fds && c->fd[low].fd == fd ? &c->fd[low] : NULL;
}

FileEntry *capture_file(struct capture *c, FdTypes type, uint32_t id)
{
	FileEntry *f = CAPTURE_NEW(c, file_entry);

	if (capture_push(c, &c->tree->files, &c->tree->n_files, f) < 0)
		return NULL;
	f->type = type;
	f->id = id;
	return f;
}

Drayage__FileExt *capture_file_ext(struct capture *c, uint32_t id)
{
	Drayage__TreeState *t = c->tree;
	Drayage__FileExt *x;

	if (t->n_files_ext && t->files_ext[t->n_files_ext - 1]->id == id)
		return t->files_ext[t->n_files_ext - 1];
	x = CAPTURE_NEW(c, drayage__file_ext);
	if (capture_push(c, &t->files_ext, &t->n_files_ext, x) < 0)
		return NULL;
	x->id = id;
	return x;
}

FownEntry *capture_fown(struct capture *c, const struct fd_desc *d, int local)
{
	FownEntry *f = CAPTURE_NEW(c, fown_entry);
	struct f_owner_ex owner = { 0 };
	uint32_t uids[2] = { 0 };
	int sig;

	if (!f || local < 0 || (d->flags & O_PATH))
		return f;
	sig = fcntl(local, F_GETSIG);
	f->signum = sig > 0 ? (uint32_t)sig : 0;
	if (fcntl(local, F_GETOWN_EX, &owner) < 0 || owner.pid == 0)
		return f;
	if (fcntl(local, 17 /* F_GETOWNER_UIDS */, uids) == 0)
		f->uid = uids[0], f->euid = uids[1];
	f->pid_type = (uint32_t)owner.type;
	if (owner.type == F_OWNER_PGRP) {
		capture_fd_obstacle(c, d, NULL, "signals process group %d (F_SETOWN)", owner.pid);
	} else {
		pid_t inside = capture_tid_inside(c, owner.pid);

		if (inside < 0)
			capture_fd_obstacle(c, d, NULL, "signals process %d (F_SETOWN)", owner.pid);
		f->pid = inside > 0 ? (uint32_t)inside : 0;
	}
	return f;
}
