/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/images/pages_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/image/image.h"
#include "proto/wire/runs.h"

enum {
	PIECE = 1 << 20,      /* one splice; the pipe holds as much where the system allows it */
	GATHER = 256 * 1024,  /* one write of small pieces */
	SMALL = GATHER / 4,   /* from here on a copy costs more than a system call */
};

int pages_writer_init(struct pages_writer *w, struct err *e)
{
	*w = (struct pages_writer){ .fd = -1, .gathered = malloc(GATHER), .pipe = { -1, -1 } };
	return w->gathered ? 0 : err_sys(e, "memory for pages");
}

int pages_writer_open(struct pages_writer *w, int dirfd, uint32_t pages_id, bool anew, uint64_t offset, struct err *e)
{
	char name[IMAGE_NAME_MAX];

	image_name(IMAGE_PAGES, pages_id, name);
	w->fd = openat(dirfd, name, O_RDWR /* huge pages need a mapping */ | O_NOFOLLOW | O_CLOEXEC | (anew ? O_CREAT | O_TRUNC : 0), 0600);
	w->offset = offset;
	w->used = 0;
	if (w->fd < 0)
		return err_sys(e, "create %s", name);
	huge_room_begin(&w->room, offset);
	return 0;
}

static size_t piece(uint64_t len)
{
	return len < PIECE ? (size_t)len : PIECE;
}

static int write_through(struct pages_writer *w, const uint8_t *data, uint64_t len)
{
	huge_room_expect(&w->room, w->offset, len);
	while (len > 0) {
		size_t part = piece(len);
		ssize_t n;

		huge_room_make(&w->room, w->fd, w->offset + part);
		n = pwrite(w->fd, data, part, (off_t)w->offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (uint64_t)n;
		w->offset += (uint64_t)n;
	}
	return 0;
}

static int flush(struct pages_writer *w)
{
	size_t len = w->used;

	w->used = 0;
	return write_through(w, w->gathered, len);
}

uint8_t *pages_writer_room(struct pages_writer *w, uint64_t *len)
{
	if (w->fd < 0 || w->used)
		return NULL;
	huge_room_expect(&w->room, w->offset, *len);
	huge_room_make(&w->room, w->fd, w->offset + DRAY_PAGE_SIZE);
	return huge_room_at(&w->room, w->offset, len);
}

static bool is_in_place(const struct pages_writer *w, const void *data)
{
	uint64_t len;

	return !w->used && huge_room_at(&w->room, w->offset, &len) == data;
}

int pages_writer_put(struct pages_writer *w, const void *data, uint64_t len)
{
	int rc = 0;

	if (is_in_place(w, data)) {
		w->offset += len;
		return 0;
	}
	if (len >= SMALL || len > GATHER - w->used)
		rc = flush(w);
	if (rc < 0)
		return rc;
	if (len >= SMALL)
		return write_through(w, data, len);
	memcpy(w->gathered + w->used, data, len);
	w->used += len;
	return 0;
}

/* Measured: faster than copy_file_range on tmpfs and for scattered pages by two to three times, and no slower elsewhere. */
int pages_writer_copy(struct pages_writer *w, int from, uint64_t offset, uint64_t len)
{
	while (len > 0) {
		size_t room = GATHER - w->used, part = len < room ? (size_t)len : room;
		ssize_t n = pread(from, w->gathered + w->used, part, (off_t)offset);
		int rc = 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EPIPE;
		w->used += (size_t)n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
		if (w->used == GATHER)
			rc = flush(w);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int pages_writer_close(struct pages_writer *w, bool durable)
{
	int rc = flush(w);

	if (rc == 0)
		rc = huge_room_end(&w->room, w->fd, w->offset);
	if (rc == 0 && durable && fsync(w->fd) < 0)
		rc = -errno;
	/* Network filesystems report here what they could not write. */
	if (close(steal_fd(&w->fd)) < 0 && rc == 0)
		rc = -errno;
	return rc;
}

void pages_writer_drop(struct pages_writer *w)
{
	if (w->fd < 0)
		return;
	huge_room_finish(&w->room);
	close(steal_fd(&w->fd));
}

void pages_writer_finish(struct pages_writer *w)
{
	if (!w->gathered)
		return;
	pages_writer_drop(w);
	for (int i = 0; i < 2; i++)
		if (w->pipe[i] >= 0)
			close(steal_fd(&w->pipe[i]));
	huge_room_finish(&w->room);
	free(w->gathered);
	w->gathered = NULL;
}

/* On a filesystem that can't be spliced to: through the buffer, which is empty. */
static int drain_by_copies(struct pages_writer *w, size_t len)
{
	while (len > 0) {
		ssize_t n = read(w->pipe[0], w->gathered, len < GATHER ? len : GATHER);
		int rc;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		rc = write_through(w, w->gathered, (uint64_t)n);
		if (rc < 0)
			return rc;
		len -= (size_t)n;
	}
	return 0;
}

/* The pipe, which holds so much, into the file. */
static int drain(struct pages_writer *w, size_t len)
{
	while (len > 0) {
		loff_t at = (loff_t)w->offset;
		ssize_t n = splice(w->pipe[0], NULL, w->fd, &at, len, SPLICE_F_MOVE);

		if (n < 0 && errno == EINVAL)
			return drain_by_copies(w, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		w->offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* Empty each time that a source moves something into it, and nobody waits for room in it. */
static int make_pipe(struct pages_writer *w)
{
	if (w->pipe[0] >= 0)
		return 0;
	if (pipe2(w->pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	fcntl(w->pipe[0], F_SETPIPE_SZ, PIECE); /* smaller is slower, no more */
	return 0;
}

int pages_writer_pull(struct pages_writer *w, struct page_source *from, uint64_t len, struct err *e)
{
	const uint64_t end = w->offset + w->used + len;
	int rc = flush(w);

	if (rc == 0)
		rc = make_pipe(w);
	while (rc == 0 && w->offset < end) {
		ssize_t n = from->move(from, w->pipe[1], piece(end - w->offset), e);

		if (n < 0)
			return 1;
		huge_room_make(&w->room, w->fd, w->offset + (uint64_t)n);
		rc = drain(w, (size_t)n);
	}
	return rc;
}
