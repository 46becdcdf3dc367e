/* SPDX-License-Identifier: Apache-2.0 */
/* The table of open files that the builders of the inside half fill, and their words for what fails. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "migrate/native/rebuild_priv.h"

int rebuild_fail(struct rebuild *r, const struct built *b, enum err_kind kind, int num, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (b && b->first >= 0)
		return err_set(r->e, kind, num, "task %u fd %d: %s", r->task->ps->pid, b->first, text);
	return err_set(r->e, kind, num, "task %u: %s", r->task->ps->pid, text);
}

int rebuild_fail_sys(struct rebuild *r, const struct built *b, const char *what)
{
	return rebuild_fail(r, b, ERR_SYSTEM, errno, "%s", what);
}

static int by_id(const void *a, const void *b)
{
	uint32_t x = ((const struct built *)a)->f->id, y = ((const struct built *)b)->f->id;

	return x < y ? -1 : x > y;
}

void rebuild_sort(struct rebuild *r)
{
	qsort(r->file, r->files, sizeof(*r->file), by_id);
}

struct built *rebuild_find(const struct rebuild *r, uint32_t id)
{
	FileEntry key = FILE_ENTRY__INIT;
	struct built b = { .f = &key };

	key.id = id;
	return bsearch(&b, r->file, r->files, sizeof(b), by_id);
}

int rebuild_raise(struct rebuild *r, int fd, const char *what)
{
	int high;

	if (fd < 0)
		return err_sys(r->e, "task %u: %s", r->task->ps->pid, what);
	if (fd >= r->base)
		return fd;
	high = fcntl(fd, F_DUPFD_CLOEXEC, r->base);
	if (high < 0)
		err_sys(r->e, "task %u: %s: descriptor above %d", r->task->ps->pid, what, r->base);
	close(fd);
	return high;
}

int rebuild_take(struct rebuild *r, struct built *b, int fd, const char *what)
{
	if (fd < 0)
		return rebuild_fail_sys(r, b, what);
	b->fd = rebuild_raise(r, fd, what);
	return b->fd < 0 ? -1 : 0;
}

int rebuild_reopen(int fd, uint32_t flags)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, (int)(flags & (O_ACCMODE | O_NONBLOCK | O_APPEND | O_DIRECT)) | O_CLOEXEC | O_NOCTTY);
}

const FownEntry *rebuild_fown(const FileEntry *f)
{
	return f->reg ? f->reg->fown : f->pipe ? f->pipe->fown : f->isk ? f->isk->fown : f->usk ? f->usk->fown : f->efd ? f->efd->fown :
	       f->epfd ? f->epfd->fown : f->sgfd ? f->sgfd->fown : f->tfd ? f->tfd->fown : f->memfd ? f->memfd->fown : NULL;
}
