/* SPDX-License-Identifier: Apache-2.0 */
/* Files with a path, pipes, FIFOs. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migrate/native/rebuild_priv.h"
#include "proto/base/cleanup.h"

enum { AT_OPEN_ONLY = O_CREAT | O_EXCL | O_TRUNC };

static const char *kind_of(mode_t mode)
{
	return S_ISREG(mode) ? "a regular file" : S_ISDIR(mode) ? "a directory" : S_ISCHR(mode) ? "a character device" :
	       S_ISBLK(mode) ? "a block device" : S_ISFIFO(mode) ? "a FIFO" : S_ISSOCK(mode) ? "a socket" : "something else";
}

/* A file that a mapping or the executable depends on has the same size. One that is merely open may have grown (a log that others write
 * too), never shrunk: the target knows of bytes that would be missing. */
static int check_file(struct rebuild *r, const RegFileEntry *reg, const struct stat *st, bool same_size)
{
	uint64_t size = (uint64_t)st->st_size;

	if (reg->has_mode && (reg->mode & S_IFMT) && (st->st_mode & S_IFMT) != (reg->mode & S_IFMT))
		return err_set(r->e, ERR_MISMATCH, 0, "%s is %s here and %s at the source", reg->name, kind_of(st->st_mode), kind_of(reg->mode));
	if (!reg->has_size || !S_ISREG(st->st_mode) || size == reg->size || (size > reg->size && !same_size))
		return 0;
	return err_set(r->e, ERR_MISMATCH, 0, "%s has %llu bytes here and %llu at the source", reg->name, (unsigned long long)size,
		       (unsigned long long)reg->size);
}

int rebuild_open_path(struct rebuild *r, const RegFileEntry *reg, uint32_t flags, bool same_size)
{
	cleanup_fd int fd = -1;
	struct stat st;

	if (reg->name[0] != '/')
		return err_set(r->e, ERR_PROTOCOL, 0, "file name %s is not a whole path", reg->name);
	fd = open(reg->name, (int)(flags & ~(uint32_t)AT_OPEN_ONLY) | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(r->e, "open %s", reg->name);
	return check_file(r, reg, &st, same_size) < 0 ? -1 : steal_fd(&fd);
}

int rebuild_reg(struct rebuild *r, struct built *b)
{
	const RegFileEntry *reg = b->f->reg;
	int fd = rebuild_open_path(r, reg, reg->flags, false);

	if (fd < 0)
		return err_wrap(r->e, "task %u fd %d", r->task->ps->pid, b->first);
	if (rebuild_take(r, b, fd, reg->name) < 0)
		return -1;
	/* Devices that can't seek have no position worth keeping. */
	if (reg->pos && !(reg->flags & O_PATH) && lseek(b->fd, (off_t)reg->pos, SEEK_SET) < 0 && errno != ESPIPE && errno != EINVAL)
		return rebuild_fail_sys(r, b, reg->name);
	return 0;
}

static const Drayage__PipeData *pipe_data(const struct rebuild *r, uint32_t pipe_id)
{
	for (size_t i = 0; i < r->tree->n_pipes; i++)
		if (r->tree->pipes[i]->pipe_id == pipe_id)
			return r->tree->pipes[i];
	return NULL;
}

/* w: an end that writes, not blocking. */
static int fill_pipe(struct rebuild *r, const struct built *b, int w, uint32_t pipe_id)
{
	const Drayage__PipeData *d = pipe_data(r, pipe_id);

	if (!d)
		return 0;
	if (d->capacity && fcntl(w, F_GETPIPE_SZ) != (int)d->capacity && fcntl(w, F_SETPIPE_SZ, (int)d->capacity) < 0)
		return rebuild_fail(r, b, ERR_LIMIT, errno, "pipe of %u bytes (see fs.pipe-max-size)", d->capacity);
	for (size_t done = 0; done < d->data.len;) {
		ssize_t n = write(w, d->data.data + done, d->data.len - done);

		if (n <= 0)
			return rebuild_fail(r, b, ERR_SYSTEM, n < 0 ? errno : EIO, "%zu bytes in a pipe of %u", d->data.len, d->capacity);
		done += (size_t)n;
	}
	return 0;
}

/* All descriptions of the pipe: the first reader and the first writer have the ends as made, others open it once more. */
int rebuild_pipe(struct rebuild *r, struct built *b)
{
	cleanup_fd int spare0 = -1;
	cleanup_fd int spare1 = -1;
	int end[2], rc;

	if (pipe2(end, O_CLOEXEC | O_NONBLOCK) < 0)
		return rebuild_fail_sys(r, b, "pipe");
	/* Held until all descriptions are made: one of each stays to be opened again, and the contents stay. */
	spare0 = fcntl(end[0], F_DUPFD_CLOEXEC, r->base);
	spare1 = fcntl(end[1], F_DUPFD_CLOEXEC, r->base);
	rc = spare0 < 0 || spare1 < 0 ? rebuild_fail_sys(r, b, "pipe") : fill_pipe(r, b, end[1], b->f->pipe->pipe_id);
	for (size_t i = 0; rc == 0 && i < r->files; i++) {
		struct built *m = &r->file[i];
		uint32_t access;
		int fd;

		if (m->first < 0 || m->fd >= 0 || m->f->type != FD_TYPES__FD_PIPE || m->f->pipe->pipe_id != b->f->pipe->pipe_id)
			continue;
		access = m->f->pipe->flags & O_ACCMODE;
		fd = access < 2 && end[access] >= 0 ? steal_fd(&end[access]) : rebuild_reopen(spare0, m->f->pipe->flags | O_NONBLOCK);
		rc = rebuild_take(r, m, fd, "pipe");
	}
	cleanup_fd_(&end[0]);
	cleanup_fd_(&end[1]);
	return rc;
}

int rebuild_fifo(struct rebuild *r, struct built *b)
{
	const struct built *path = rebuild_find(r, b->f->fifo->has_regf_id ? b->f->fifo->regf_id : 0);
	cleanup_fd int both = -1;
	bool fresh = true;

	if (!path || !path->f->reg)
		return rebuild_fail(r, b, ERR_PROTOCOL, 0, "FIFO without a path");
	/* An end that reads and one that writes, so that no open waits for the other and the contents have a place. */
	both = rebuild_open_path(r, path->f->reg, O_RDWR | O_NONBLOCK, false);
	if (both < 0)
		return err_wrap(r->e, "task %u fd %d", r->task->ps->pid, b->first);
	for (size_t i = 0; i < r->files; i++)
		if (r->file[i].fd >= 0 && r->file[i].f->type == FD_TYPES__FD_FIFO && r->file[i].f->fifo->pipe_id == b->f->fifo->pipe_id)
			fresh = false;
	if (rebuild_take(r, b, rebuild_open_path(r, path->f->reg, path->f->reg->flags | O_NONBLOCK, false), path->f->reg->name) < 0)
		return -1;
	return fresh ? fill_pipe(r, b, both, b->f->fifo->pipe_id) : 0;
}
