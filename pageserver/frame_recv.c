/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/frame_recv.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proto/base/io.h"

struct frame_buffers {
	struct frame_sum sum;
	uint8_t head[FRAME_HEADER_SIZE];
	uint8_t table[FRAME_MAX_RUNS * FRAME_RUN_SIZE];
	struct page_run run[FRAME_MAX_RUNS];
	struct iovec iov[FRAME_MAX_RUNS];
	uint8_t stored[FRAME_BLOCK_HEADER_SIZE + FRAME_BLOCK_SIZE + FRAME_BLOCK_HEADER_SIZE]; /* a block and the next one's header */
	uint8_t block[FRAME_BLOCK_SIZE];
};
static_assert(FRAME_MAX_RUNS <= IOV_MAX, "one recvmsg takes a frame's runs");

int frame_recv_init(struct frame_recv *f, int fd)
{
	size_t size = (sizeof(struct frame_buffers) + 63) & ~(size_t)63;

	*f = (struct frame_recv){ .fd = fd, .buffers = aligned_alloc(64, size) };
	return f->buffers ? 0 : -ENOMEM;
}

void frame_recv_finish(struct frame_recv *f)
{
	close(f->fd);
	free(f->buffers);
	*f = (struct frame_recv){ .fd = -1 };
}

void frame_recv_move(struct frame_recv *f, int fd)
{
	close(f->fd);
	f->fd = fd;
	f->cut = false;
}

/* 0, -EPIPE at the end, -errno. */
static int receive(struct frame_recv *f, void *buf, size_t len)
{
	int rc = read_full(f->fd, buf, len);

	f->wire_bytes += len;
	f->cut = errno_is_cut(-rc);
	return rc;
}

/* Fills the iovecs; uses them up. */
static int receive_iov(struct frame_recv *f, struct iovec *iov, size_t count, size_t len)
{
	f->wire_bytes += len;
	while (len > 0) {
		struct msghdr msg = { .msg_iov = iov, .msg_iovlen = count };
		ssize_t n = recvmsg(f->fd, &msg, MSG_WAITALL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			int rc = n == 0 ? -EPIPE : -errno;

			f->cut = errno_is_cut(-rc);
			return rc;
		}
		len -= (size_t)n;
		for (; count > 0 && (size_t)n >= iov->iov_len; iov++, count--)
			n -= (ssize_t)iov->iov_len;
		if (n > 0) {
			iov->iov_base = (uint8_t *)iov->iov_base + n;
			iov->iov_len -= (size_t)n;
		}
	}
	return 0;
}

static int broken(struct err *e, int rc, const char *what)
{
	switch (-rc) {
	case EPROTO:
		return err_set(e, ERR_PROTOCOL, 0, "%s: not as the protocol has it", what);
	case EPIPE:
	case ECONNRESET:
		return err_set(e, ERR_PEER, 0, "%s: the connection was cut", what);
	case EFAULT:
		return err_set(e, ERR_PROTOCOL, 0, "%s: for memory that no mapping of the round has", what);
	case EDQUOT:
		return err_set(e, ERR_LIMIT, 0, "%s: the destination's memory limit (--max-memory) is reached", what);
	case ETIMEDOUT:
		return err_set(e, ERR_TIMEOUT, 0, "%s: the other side is silent", what);
	default:
		return err_set(e, ERR_SYSTEM, -rc, "%s", what);
	}
}

int frame_recv_header(struct frame_recv *f, struct err *e)
{
	int rc = receive(f, f->buffers->head, FRAME_HEADER_SIZE);

	if (rc == 0)
		rc = frame_header_decode(f->buffers->head, &f->header);
	if (rc < 0)
		return broken(e, rc, "header");
	if (f->header.sequence != f->sequence)
		return err_set(e, ERR_PROTOCOL, 0, "header: numbered %llu", (unsigned long long)f->header.sequence);
	if (f->header.mm != 0)
		return err_set(e, ERR_PROTOCOL, 0, "header: address space %u was not announced", f->header.mm);
	if (f->header.kind != FRAME_PAGES)
		f->sequence++;
	return 0;
}

/* Drops what is dropped and finds the memory of the rest, neighbours as one entry. The count of entries, or -errno. */
static int lay_out(struct frame_recv *f, struct place *place)
{
	struct frame_buffers *b = f->buffers;
	int count = 0;

	for (uint32_t i = 0; i < f->header.runs; i++) {
		const struct page_run *run = &b->run[i];
		struct iovec *last = count > 0 ? &b->iov[count - 1] : NULL, here;
		int rc = run->kind == RUN_DROP ? place_drop(place, run) : place_iovec(place, run, &here);

		if (rc < 0)
			return rc;
		if (run->kind == RUN_DROP) {
			f->dropped += run->pages;
			continue;
		}
		if (last && (uint8_t *)last->iov_base + last->iov_len == here.iov_base)
			last->iov_len += here.iov_len;
		else
			b->iov[count++] = here;
	}
	return count;
}

static void sum_iov(struct frame_sum *sum, const struct iovec *iov, size_t count)
{
	for (size_t i = 0; i < count; i++)
		frame_sum_add(sum, iov[i].iov_base, iov[i].iov_len);
}

static int receive_raw(struct frame_recv *f, size_t count)
{
	struct frame_buffers *b = f->buffers;
	/* Receiving uses the entries up and the checksum needs them again; a raw frame leaves the block buffer free. */
	static_assert(sizeof(b->iov) <= sizeof(b->stored), "a copy of the entries fits");
	int rc;

	if (!(f->header.flags & FRAME_CHECKSUM))
		return receive_iov(f, b->iov, count, f->header.payload_len);
	memcpy(b->stored, b->iov, count * sizeof(b->iov[0]));
	rc = receive_iov(f, b->iov, count, f->header.payload_len);
	memcpy(b->iov, b->stored, count * sizeof(b->iov[0]));
	if (rc == 0)
		sum_iov(&b->sum, b->iov, count);
	return rc;
}

/* A place in the iovecs of a frame, advanced as blocks come out. */
struct cursor {
	struct iovec *iov;
	size_t count;
};

static void scatter(struct cursor *c, const uint8_t *from, size_t len)
{
	while (len > 0) {
		size_t part = c->iov->iov_len < len ? c->iov->iov_len : len;

		if (from) {
			memcpy(c->iov->iov_base, from, part);
			from += part;
		}
		c->iov->iov_base = (uint8_t *)c->iov->iov_base + part;
		c->iov->iov_len -= part;
		len -= part;
		if (c->iov->iov_len == 0) {
			c->iov++;
			c->count--;
		}
	}
}

/* Right into place where a block lies in one piece. */
static int decode_block(struct frame_buffers *b, size_t stored, size_t raw_len, struct cursor *c)
{
	bool whole = c->iov->iov_len >= raw_len;
	int rc = frame_lz4_decode(b->stored, FRAME_BLOCK_HEADER_SIZE + stored, whole ? c->iov->iov_base : b->block, raw_len);

	if (rc == 0)
		scatter(c, whole ? NULL : b->block, raw_len);
	return rc;
}

static int receive_lz4(struct frame_recv *f, size_t count)
{
	struct frame_buffers *b = f->buffers;
	struct cursor c = { b->iov, count };
	size_t raw_left = pages_to_bytes(f->header.data_pages), left = f->header.payload_len, want;
	int rc = raw_left ? receive(f, b->stored, FRAME_BLOCK_HEADER_SIZE) : 0;

	left -= raw_left ? FRAME_BLOCK_HEADER_SIZE : 0;
	while (rc == 0 && raw_left > 0) {
		size_t raw_len = raw_left < FRAME_BLOCK_SIZE ? raw_left : FRAME_BLOCK_SIZE;
		int stored = frame_block_stored(b->stored, raw_len);

		raw_left -= raw_len;
		if (stored < 0)
			return stored;
		want = (size_t)stored + (raw_left ? FRAME_BLOCK_HEADER_SIZE : 0);
		if (want > left)
			return -EPROTO;
		left -= want;
		rc = receive(f, b->stored + FRAME_BLOCK_HEADER_SIZE, want);
		if (rc < 0)
			return rc;
		if (f->header.flags & FRAME_CHECKSUM)
			frame_sum_add(&b->sum, b->stored, FRAME_BLOCK_HEADER_SIZE + (size_t)stored);
		rc = decode_block(b, (size_t)stored, raw_len, &c);
		memcpy(b->stored, b->stored + FRAME_BLOCK_HEADER_SIZE + stored, FRAME_BLOCK_HEADER_SIZE);
	}
	return rc < 0 ? rc : left == 0 ? 0 : -EPROTO;
}

int frame_recv_pages(struct frame_recv *f, struct place *place, struct err *e)
{
	struct frame_buffers *b = f->buffers;
	size_t table_len = (size_t)f->header.runs * FRAME_RUN_SIZE;
	int count, rc = receive(f, b->table, table_len);

	if (rc == 0)
		rc = frame_runs_decode(&f->header, b->table, b->run);
	if (rc < 0)
		return broken(e, rc, "run table");
	count = lay_out(f, place);
	if (count < 0)
		return broken(e, count, "pages");
	if (f->header.flags & FRAME_CHECKSUM)
		frame_sum_begin(&b->sum, b->table, table_len);
	rc = f->header.flags & FRAME_LZ4 ? receive_lz4(f, (size_t)count) : receive_raw(f, (size_t)count);
	if (rc < 0)
		return broken(e, rc, "payload");
	if (f->header.flags & FRAME_CHECKSUM && frame_sum_end(&b->sum) != f->header.checksum)
		return err_set(e, ERR_MISMATCH, 0, "payload: its checksum is another");
	for (uint32_t i = 0; i < f->header.runs; i++)
		manifest_add(&f->manifest, f->header.mm, f->header.round, &b->run[i]);
	f->pages += f->header.data_pages;
	f->sequence++;
	return 0;
}
