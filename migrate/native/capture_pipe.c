/* SPDX-License-Identifier: Apache-2.0 */
/* Pipes and FIFOs. Both ends must be the process's own, or the other one gone; what is inside is copied with tee(2), which takes nothing out. */
#include "migrate/native/capture_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"

static bool reads(const struct fd_desc *d) { return (d->flags & O_ACCMODE) != O_WRONLY; }
static bool writes(const struct fd_desc *d) { return (d->flags & O_ACCMODE) != O_RDONLY; }

static const struct fd_desc *end_inside(const struct capture *c, const struct fd_desc *d, bool reader)
{
	for (size_t i = 0; i < c->fds; i++) {
		const struct fd_desc *o = &c->fd[i];

		if (S_ISFIFO(o->st.st_mode) && o->st.st_ino == d->st.st_ino && o->st.st_dev == d->st.st_dev && (reader ? reads(o) : writes(o)))
			return o;
	}
	return NULL;
}

/* A reader without writers hangs up, a writer without readers has an error. */
static int other_end_gone(struct capture *c, const struct fd_desc *d)
{
	cleanup_fd int local = capture_fd_open(c, d);
	struct pollfd p = { .fd = local, .events = 0 };

	if (local < 0)
		return -1;
	if (poll(&p, 1, 0) < 0)
		return err_sys(c->e, "task %d fd %d", c->pid, d->fd);
	return (p.revents & (reads(d) ? POLLHUP : POLLERR)) != 0;
}

static int check_ends(struct capture *c, struct fd_desc *d)
{
	bool reader = end_inside(c, d, true), writer = end_inside(c, d, false);
	int gone;

	if (reader && writer)
		return 0;
	gone = other_end_gone(c, d);
	if (gone == 0)
		capture_fd_obstacle(c, d, NULL, "%s whose %s end is outside of the process", d->link, reader ? "write" : "read");
	return gone < 0 ? -1 : 0;
}

int pipe_check(struct capture *c, struct fd_desc *d)
{
	if (d->flags & O_DIRECT)
		capture_fd_obstacle(c, d, NULL, "%s in packet mode (O_DIRECT)", d->link);
	return check_ends(c, d);
}

int fifo_check(struct capture *c, struct fd_desc *d)
{
	struct stat there;

	if (d->flags & O_PATH) {
		capture_fd_obstacle(c, d, NULL, "FIFO %s opened with O_PATH", d->link);
		return 0;
	}
	if (d->deleted || stat(d->link, &there) < 0 || there.st_ino != d->st.st_ino || there.st_dev != d->st.st_dev)
		capture_fd_obstacle(c, d, NULL, "FIFO %s whose path is gone", d->link);
	return check_ends(c, d);
}

/* ---- contents ---- */

static bool contents_done(const struct capture *c, uint32_t pipe_id)
{
	for (size_t i = 0; i < c->tree->n_pipes; i++) {
		if (c->tree->pipes[i]->pipe_id == pipe_id)
			return true;
	}
	return false;
}

static int read_copy(struct capture *c, const struct fd_desc *d, int from, size_t want, Drayage__PipeData *p)
{
	int copy[2];
	ssize_t got;
	int rc;

	if (pipe2(copy, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_sys(c->e, "pipe");
	/* The copy holds references to the same buffers, so it needs as many slots, not as many bytes. */
	fcntl(copy[1], F_SETPIPE_SZ, (int)p->capacity);
	got = tee(from, copy[1], want, SPLICE_F_NONBLOCK);
	p->data.data = malloc(want);
	if (!p->data.data)
		rc = err_set(c->e, ERR_SYSTEM, ENOMEM, "contents of a pipe");
	else if (got != (ssize_t)want)
		rc = err_set(c->e, ERR_UNSUPPORTED, 0, "task %d fd %d: %s holds %zu bytes of which %zd can be copied", c->pid, d->fd, d->link, want, got);
	else
		rc = (rc = read_full(copy[0], p->data.data, want)) < 0 ? err_set(c->e, ERR_SYSTEM, -rc, "contents of a pipe") : 0;
	p->data.len = rc == 0 ? want : 0;
	close(copy[0]);
	close(copy[1]);
	return rc;
}

static int save_contents(struct capture *c, const struct fd_desc *d, int local)
{
	const struct fd_desc *reader = end_inside(c, d, true);
	uint32_t id = (uint32_t)d->st.st_ino;
	Drayage__PipeData *p;
	int waiting = 0, capacity = fcntl(local, F_GETPIPE_SZ);

	if (contents_done(c, id))
		return 0;
	p = CAPTURE_NEW(c, drayage__pipe_data);
	if (capture_push(c, &c->tree->pipes, &c->tree->n_pipes, p) < 0)
		return -1;
	p->pipe_id = id;
	if (capacity < 0 || ioctl(local, FIONREAD, &waiting) < 0)
		return err_sys(c->e, "task %d fd %d", c->pid, d->fd);
	p->capacity = (uint32_t)capacity;
	if (waiting == 0 || !reader) /* what nobody can read any more needs no carrying */
		return 0;
	if (reader == d)
		return read_copy(c, d, local, (size_t)waiting, p);
	cleanup_fd int from = capture_fd_open(c, reader);
	return from < 0 ? -1 : read_copy(c, d, from, (size_t)waiting, p);
}

static int note_capacity(struct capture *c, uint32_t id, const struct fd_desc *d, int local)
{
	Drayage__FileExt *x = capture_file_ext(c, id);
	int capacity = fcntl(local, F_GETPIPE_SZ);

	if (!x)
		return -1;
	x->has_pipe_capacity = capacity > 0;
	x->pipe_capacity = capacity > 0 ? (uint32_t)capacity : 0;
	x->key = strdup(d->link);
	return x->key ? 0 : err_set(c->e, ERR_SYSTEM, ENOMEM, "description");
}

int pipe_save(struct capture *c, struct fd_desc *d, FileEntry *f)
{
	cleanup_fd int local = capture_fd_open(c, d);
	PipeEntry *p;

	if (local < 0)
		return -1;
	f->pipe = p = CAPTURE_NEW(c, pipe_entry);
	if (!p || !(p->fown = capture_fown(c, d, local)))
		return -1;
	p->id = f->id;
	p->pipe_id = (uint32_t)d->st.st_ino;
	p->flags = d->flags;
	return note_capacity(c, f->id, d, local) < 0 || save_contents(c, d, local) < 0 ? -1 : 0;
}

int fifo_save(struct capture *c, struct fd_desc *d, FileEntry *f)
{
	cleanup_fd int local = capture_fd_open(c, d);
	FifoEntry *p;
	uint32_t path_id;

	if (local < 0)
		return -1;
	f->fifo = p = CAPTURE_NEW(c, fifo_entry);
	if (!p)
		return -1;
	p->id = f->id;
	p->pipe_id = (uint32_t)d->st.st_ino;
	if (note_capacity(c, f->id, d, local) < 0 || save_contents(c, d, local) < 0 || reg_entry(c, d->link, d->flags, false, &path_id) < 0)
		return -1;
	p->has_regf_id = true;
	p->regf_id = path_id;
	return 0;
}
