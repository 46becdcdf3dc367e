/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/images/pages_file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/io.h"
#include "proto/image/image.h"

/* One splice; the pipe holds as much where the system allows it. */
enum { PIECE = 1 << 20 };

int pages_file_open(int dirfd, uint32_t pages_id, bool anew, struct err *e)
{
	char name[IMAGE_NAME_MAX];
	int fd;

	image_name(IMAGE_PAGES, pages_id, name);
	fd = openat(dirfd, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | (anew ? O_CREAT | O_TRUNC : 0), 0600);
	return fd < 0 ? err_sys(e, "create %s", name) : fd;
}

int pages_file_write(int fd, const void *data, uint64_t len, uint64_t offset)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (uint64_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

static int source_failed(int rc, struct err *e)
{
	if (rc == 0)
		return err_set(e, ERR_PEER, 0, "the sender ended within its pages");
	if (rc == -ETIMEDOUT)
		return err_set(e, ERR_TIMEOUT, 0, "the sender is silent within its pages");
	return err_set(e, ERR_PEER, -rc, "receive pages");
}

static int wait_for(int source, int timeout_ms)
{
	int rc = wait_readable(source, timeout_ms);

	return rc == 0 ? -ETIMEDOUT : rc;
}

/* Up to len bytes out of source, waiting for it. Bytes, 0 at its end, negative errno. */
static ssize_t splice_some(int source, int to, loff_t *offset, size_t len, int timeout_ms)
{
	for (;;) {
		ssize_t n = splice(source, NULL, to, offset, len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
		int rc;

		if (n >= 0)
			return n;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		rc = wait_for(source, timeout_ms);
		if (rc < 0)
			return rc;
	}
}

static size_t piece(uint64_t len)
{
	return len < PIECE ? (size_t)len : PIECE;
}

/* An error may be the file's or the pipe's: a pipe has none of its own but those of wrong use. */
static int receive_pipe(int fd, int source, uint64_t len, uint64_t offset, int timeout_ms, struct err *e)
{
	loff_t at = (loff_t)offset;

	while (len > 0) {
		ssize_t n = splice_some(source, fd, &at, piece(len), timeout_ms);

		if (n == 0 || n == -ETIMEDOUT)
			return source_failed((int)n, e);
		if (n < 0)
			return err_set(e, ERR_SYSTEM, (int)-n, "write a pages file");
		len -= (uint64_t)n;
	}
	return 0;
}

static int drain(const struct pages_receiver *r, int fd, size_t len, loff_t *at, struct err *e)
{
	while (len > 0) {
		ssize_t n = splice(r->pipe[0], NULL, fd, at, len, SPLICE_F_MOVE);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_set(e, ERR_SYSTEM, n < 0 ? errno : EIO, "write a pages file");
		len -= (size_t)n;
	}
	return 0;
}

static int receive_socket(const struct pages_receiver *r, int fd, int source, uint64_t len, uint64_t offset, int timeout_ms, struct err *e)
{
	loff_t at = (loff_t)offset;

	while (len > 0) {
		ssize_t n = splice_some(source, r->pipe[1], NULL, piece(len), timeout_ms);

		if (n <= 0)
			return source_failed((int)n, e);
		if (drain(r, fd, (size_t)n, &at, e) < 0)
			return -1;
		len -= (uint64_t)n;
	}
	return 0;
}

static int make_pipe(struct pages_receiver *r, struct err *e)
{
	if (r->has_pipe)
		return 0;
	if (pipe2(r->pipe, O_CLOEXEC) < 0)
		return err_sys(e, "make a pipe");
	r->has_pipe = true;
	fcntl(r->pipe[0], F_SETPIPE_SZ, PIECE); /* smaller is slower, no more */
	return 0;
}

int pages_receive(struct pages_receiver *r, int fd, int source, uint64_t len, uint64_t offset, int timeout_ms, struct err *e)
{
	struct stat st;

	if (fstat(source, &st) < 0)
		return err_sys(e, "stat the source of pages");
	if (S_ISFIFO(st.st_mode))
		return receive_pipe(fd, source, len, offset, timeout_ms, e);
	if (make_pipe(r, e) < 0)
		return -1;
	return receive_socket(r, fd, source, len, offset, timeout_ms, e);
}

void pages_receiver_finish(struct pages_receiver *r)
{
	if (r->has_pipe) {
		close(r->pipe[0]);
		close(r->pipe[1]);
	}
	*r = (struct pages_receiver){ 0 };
}
