/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/input.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "pageserver/stock/stop.h"
#include "proto/base/io.h"
#include "proto/base/tls_control.h"
#include "proto/wire/runs.h"

/* Read along behind what is received into its place: the next header, and little of what follows it. */
enum { ALONG = 4096 };

int ps_input_begin(struct ps_input *in, int fd, bool ahead, uint64_t idle_ms, uint64_t deadline_us)
{
	*in = (struct ps_input){ .fd = fd, .ahead = ahead, .idle_ms = idle_ms, .deadline_us = deadline_us };
	in->buf = aligned_alloc(DRAY_PAGE_SIZE, PS_INPUT_BUFFER);
	return in->buf ? 0 : -ENOMEM;
}

void ps_input_finish(struct ps_input *in)
{
	free(in->buf);
	in->buf = NULL;
}

int ps_input_patience_ms(const struct ps_input *in)
{
	uint64_t now, left = in->idle_ms ? in->idle_ms : UINT64_MAX;

	if (in->deadline_us) {
		now = clock_us();
		if (now >= in->deadline_us)
			return 0;
		if ((in->deadline_us - now) / 1000 + 1 < left)
			left = (in->deadline_us - now) / 1000 + 1;
	}
	if (left == UINT64_MAX)
		return -1;
	return left < INT_MAX ? (int)left : INT_MAX;
}

bool ps_input_late(const struct ps_input *in)
{
	return in->deadline_us && clock_us() >= in->deadline_us;
}

/* Where bytes go: by recvmsg into memory, or where there is none by splice into a pipe. */
struct destination {
	struct msghdr memory;
	int pipe;
	size_t max;
};

/* A record of the kernel's TLS that is no data can't be spliced (EINVAL): who receives hears it. */
static ssize_t take_some(int fd, struct destination *d)
{
	ssize_t n;

	if (d->memory.msg_iov)
		return tls_recvmsg(fd, &d->memory, MSG_DONTWAIT);
	n = splice(fd, NULL, d->pipe, NULL, d->max, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	if (n < 0 && errno == EBADMSG)
		errno = EIO; /* as tls_recvmsg */
	return n;
}

/* Bytes, 0 at the end, -errno. The deadline is looked at every time: a sender that never stops, or trickles, is never waited for. */
static ssize_t take_or_wait(const struct ps_input *in, struct destination *d)
{
	for (;;) {
		int wait = ps_input_patience_ms(in), rc;
		ssize_t n;

		if (wait == 0)
			return -ETIMEDOUT;
		if (ps_stop_is_cut(in->stop))
			return -ECANCELED;
		n = take_some(in->fd, d);
		if (n >= 0)
			return n;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		rc = ps_stop_wait_readable(in->stop, in->fd, wait);
		if (rc <= 0)
			return rc < 0 ? rc : -ETIMEDOUT;
	}
}

static ssize_t read_pieces(const struct ps_input *in, struct iovec *iov, size_t count)
{
	struct destination d = { .memory = { .msg_iov = iov, .msg_iovlen = count } };

	return take_or_wait(in, &d);
}

static ssize_t read_some(const struct ps_input *in, void *buf, size_t len)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };

	return read_pieces(in, &iov, 1);
}

/* Makes [from, from + need) be there; room behind it is filled too, up to `most`, when reading ahead. */
static int fill(struct ps_input *in, size_t need, size_t most)
{
	if (in->to - in->from < need && in->from > 0) { /* less than a page: next to nothing to move, and all the room behind it */
		memmove(in->buf, in->buf + in->from, in->to - in->from);
		in->to -= in->from;
		in->from = 0;
	}
	while (in->to - in->from < need) {
		size_t room = PS_INPUT_BUFFER - in->to;
		ssize_t n;

		if ((!in->ahead || in->sparing) && room > most - (in->to - in->from))
			room = most - (in->to - in->from);
		n = read_some(in, in->buf + in->to, room);
		if (n < 0)
			return (int)n;
		if (n == 0)
			return in->from == in->to ? -ENODATA : -EPIPE;
		in->to += (size_t)n;
		in->received += (uint64_t)n;
	}
	return 0;
}

int ps_input_peek(struct ps_input *in, size_t len, const uint8_t **bytes)
{
	int rc = fill(in, len, len);

	*bytes = in->buf + in->from;
	return rc;
}

int ps_input_take(struct ps_input *in, size_t len, const uint8_t **bytes)
{
	int rc = ps_input_peek(in, len, bytes);

	in->from += rc == 0 ? len : 0;
	return rc;
}

ssize_t ps_input_pages(struct ps_input *in, uint64_t max, const uint8_t **pages)
{
	size_t most = max < PS_INPUT_BUFFER ? (size_t)max : PS_INPUT_BUFFER, have;
	int rc;

	in->sparing = false;
	rc = fill(in, DRAY_PAGE_SIZE, most);
	if (rc < 0)
		return rc == -ENODATA ? -EPIPE : rc;
	have = in->to - in->from < most ? in->to - in->from : most;
	have -= have % DRAY_PAGE_SIZE;
	*pages = in->buf + in->from;
	in->from += have;
	return (ssize_t)have;
}

/* The buffer is empty. *have: how much of it is there. */
static int read_into(struct ps_input *in, uint8_t *to, size_t len, size_t *have)
{
	while (*have < len) {
		struct iovec iov[2] = { { .iov_base = to + *have, .iov_len = len - *have }, { .iov_base = in->buf, .iov_len = ALONG } };
		ssize_t n = read_pieces(in, iov, in->ahead ? 2 : 1);
		size_t part;

		if (n <= 0)
			return n < 0 ? (int)n : -EPIPE;
		in->received += (uint64_t)n;
		part = (size_t)n < len - *have ? (size_t)n : len - *have;
		*have += part;
		in->to = (size_t)n - part;
	}
	return 0;
}

ssize_t ps_input_pages_into(struct ps_input *in, uint64_t max, uint8_t *into, const uint8_t **pages)
{
	size_t have = in->to - in->from < max ? in->to - in->from : (size_t)max;
	int rc = 0;

	if (!into)
		return ps_input_pages(in, max, pages);
	memcpy(into, in->buf + in->from, have);
	in->from += have;
	if (have < max) {
		in->from = in->to = 0;
		rc = read_into(in, into, max, &have);
	}
	*pages = into;
	have -= have % DRAY_PAGE_SIZE;
	return have == 0 || rc == -ETIMEDOUT || (rc < 0 && !errno_is_cut(-rc)) ? rc : (ssize_t)have;
}

/* What is in the buffer. A pipe of one page may have no room for all of it. */
static ssize_t write_buffered(struct ps_input *in, int pipe, size_t max)
{
	size_t have = in->to - in->from;
	ssize_t n;

	do
		n = write(pipe, in->buf + in->from, have < max ? have : max);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	in->from += (size_t)n;
	return n;
}

static ssize_t splice_some(struct ps_input *in, int pipe, size_t max)
{
	struct destination d = { .pipe = pipe, .max = max };
	ssize_t n = take_or_wait(in, &d);

	in->received += n > 0 ? (uint64_t)n : 0;
	in->splices = n != -EINVAL && n != -EPERM && n != -ENOSYS && n != -EOPNOTSUPP;
	return n == 0 ? -EPIPE : n;
}

void ps_input_allow_splice(struct ps_input *in)
{
	int flags = fcntl(in->fd, F_GETFL);

	in->splices = flags >= 0 && fcntl(in->fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

ssize_t ps_input_into_pipe(struct ps_input *in, int pipe, size_t max)
{
	ssize_t n;

	if (in->from == in->to && in->splices) {
		in->sparing = true;
		n = splice_some(in, pipe, max);
		if (in->splices)
			return n;
		in->sparing = false;
	}
	if (in->from == in->to) {
		n = fill(in, 1, max < PS_INPUT_BUFFER ? max : PS_INPUT_BUFFER);
		if (n < 0)
			return n == -ENODATA ? -EPIPE : n;
	}
	return write_buffered(in, pipe, max);
}

void ps_input_drop_rest(struct ps_input *in, size_t len)
{
	static const uint8_t nothing[ALONG];

	if (recv(in->fd, in->buf, len, MSG_PEEK | MSG_DONTWAIT) == (ssize_t)len && memcmp(in->buf, nothing, len) == 0 &&
	    recv(in->fd, in->buf, len, MSG_DONTWAIT) == (ssize_t)len)
		in->received += len;
}

int ps_input_drain(struct ps_input *in, unsigned timeout_ms)
{
	ssize_t n;

	in->idle_ms = 0;
	in->deadline_us = clock_us() + timeout_ms * 1000ull;
	do
		n = read_some(in, in->buf, PS_INPUT_BUFFER);
	while (n > 0);
	return (int)n;
}
