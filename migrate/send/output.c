/* SPDX-License-Identifier: Apache-2.0 */
/* output.c - a stream's bytes into its socket, by io_uring or by plain calls (config, or where there is no ring to be had).
 * A socket that waits is woken by shutdown(2); a splice that waits for the twin's pipe by the sender's eventfd. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include "migrate/send/sender_priv.h"

enum { RING_ENTRIES = 8, TAG_SEND = 1, TAG_SPLICE, TAG_WAKE, TAG_CANCEL };
enum { SPLICE_FLAGS = SPLICE_F_MOVE | SPLICE_F_MORE };

static int peer_failed(struct worker *w, int num)
{
	return worker_fail(w, ERR_PEER, num, "the destination cut the connection");
}

static int twin_failed(struct worker *w)
{
	return worker_fail(w, ERR_GONE, 0, "the helper in the target's memory (task %d) ended", w->twin.pid);
}

int output_open(struct worker *w)
{
	unsigned one_each[2] = { 1, 1 }; /* a stream's bytes have one order: a second io-wq thread would only wait */
	struct io_uring_sqe *sqe;

	if (io_uring_queue_init(RING_ENTRIES, &w->ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) < 0 &&
	    io_uring_queue_init(RING_ENTRIES, &w->ring, 0) < 0)
		return 0;
	w->has_ring = true;
	io_uring_register_iowq_max_workers(&w->ring, one_each);
	sqe = io_uring_get_sqe(&w->ring);
	io_uring_prep_poll_add(sqe, w->s->wake_fd, POLLIN);
	io_uring_sqe_set_data64(sqe, TAG_WAKE);
	io_uring_submit(&w->ring);
	return 0;
}

void output_close(struct worker *w)
{
	if (w->has_ring)
		io_uring_queue_exit(&w->ring);
	w->has_ring = false;
}

void outgoing_table(struct outgoing *f)
{
	frame_runs_encode(f->run, (uint32_t)f->runs, f->head + FRAME_HEADER_SIZE);
	f->head_len = FRAME_HEADER_SIZE + f->runs * FRAME_RUN_SIZE;
}

void outgoing_header(struct worker *w, struct outgoing *f, enum frame_kind kind, uint16_t flags, size_t payload_len, uint64_t checksum)
{
	struct frame_header h = {
		.kind = (uint8_t)kind, .flags = flags, .round = w->s->round, .runs = (uint32_t)f->runs, .data_pages = f->data_pages,
		.payload_len = (uint32_t)payload_len, .checksum = checksum, .sequence = w->sequence++,
	};

	frame_header_encode(&h, f->head);
}

/* ---- plain calls ---- */

int output_bytes(struct worker *w, const void *buf, size_t len)
{
	const uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = send(w->sock, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return peer_failed(w, errno);
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* What is left of w->msg after n more bytes went. */
static void msg_advance(struct worker *w, size_t n)
{
	w->unsent -= n;
	for (int i = 0; i < 2; i++) {
		size_t part = n < w->iov[i].iov_len ? n : w->iov[i].iov_len;

		w->iov[i].iov_base = (uint8_t *)w->iov[i].iov_base + part;
		w->iov[i].iov_len -= part;
		n -= part;
	}
}

static int send_msg(struct worker *w)
{
	while (w->unsent > 0) {
		ssize_t n = sendmsg(w->sock, &w->msg, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return peer_failed(w, errno);
		msg_advance(w, (size_t)n);
	}
	return 0;
}

static int splice_calls(struct worker *w, const struct outgoing *f, size_t len)
{
	struct pollfd p[2] = { { .fd = w->twin.pipe_read, .events = POLLIN }, { .fd = w->s->wake_fd, .events = POLLIN } };
	size_t at = 0;

	while (at < f->head_len) {
		ssize_t n = send(w->sock, f->head + at, f->head_len - at, MSG_NOSIGNAL | MSG_MORE);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return peer_failed(w, errno);
		at += (size_t)n;
	}
	while (len > 0) {
		/* NONBLOCK is about the pipe: the socket blocks. */
		ssize_t n = splice(w->twin.pipe_read, NULL, w->sock, NULL, len, SPLICE_FLAGS | SPLICE_F_NONBLOCK);

		if (n > 0) {
			len -= (size_t)n;
		} else if (n == 0) {
			return twin_failed(w);
		} else if (errno == EAGAIN) {
			poll(p, 2, -1);
			if (p[1].revents)
				return worker_fail(w, ERR_CANCELLED, 0, "stopped");
		} else if (errno != EINTR) {
			return peer_failed(w, errno);
		}
	}
	return 0;
}

/* ---- io_uring ---- */

static int ring_failed(struct worker *w, int rc)
{
	return worker_fail(w, ERR_SYSTEM, -rc, "io_uring");
}

static void submit_send(struct worker *w)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);

	io_uring_prep_sendmsg(sqe, w->sock, &w->msg, MSG_NOSIGNAL | MSG_WAITALL);
	io_uring_sqe_set_data64(sqe, TAG_SEND);
	w->pending++;
}

static void submit_splice(struct worker *w, size_t len)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);

	io_uring_prep_splice(sqe, w->twin.pipe_read, -1, w->sock, -1, (unsigned)len, SPLICE_FLAGS);
	io_uring_sqe_set_data64(sqe, TAG_SPLICE);
	w->pending++;
}

/* The sender is to stop: what may wait for the twin is called off. Sends end by themselves, their socket is shut down. */
static void submit_cancel(struct worker *w)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);

	io_uring_prep_cancel64(sqe, TAG_SPLICE, IORING_ASYNC_CANCEL_ALL);
	io_uring_sqe_set_data64(sqe, TAG_CANCEL);
	w->pending++;
}

/* Submits what was prepared and takes one completion. */
static int ring_step(struct worker *w, uint64_t *tag, int *res)
{
	struct io_uring_cqe *cqe;
	int rc;

	do
		rc = io_uring_submit_and_wait(&w->ring, 1);
	while (rc == -EINTR);
	if (rc < 0 || (rc = io_uring_peek_cqe(&w->ring, &cqe)) < 0)
		return rc;
	*tag = io_uring_cqe_get_data64(cqe);
	*res = cqe->res;
	io_uring_cqe_seen(&w->ring, cqe);
	if (*tag == TAG_WAKE)
		submit_cancel(w);
	else
		w->pending--;
	return 0;
}

int output_wait(struct worker *w)
{
	bool failed = false;

	if (!w->has_ring || w->s->config.splice == SPLICE_BY_CALLS)
		return 0;
	while (w->pending > 0) {
		uint64_t tag;
		int res, rc = ring_step(w, &tag, &res);

		if (rc < 0)
			return ring_failed(w, rc);
		if (tag != TAG_SEND)
			continue;
		if (res < 0) {
			peer_failed(w, -res);
			failed = true;
			continue;
		}
		msg_advance(w, (size_t)res);
		if (w->unsent > 0)
			submit_send(w);
	}
	return failed ? -1 : 0;
}

int output_frame_start(struct worker *w, const struct outgoing *f, const void *payload, size_t len)
{
	int rc;

	w->iov[0] = (struct iovec){ (void *)(uintptr_t)f->head, f->head_len };
	w->iov[1] = (struct iovec){ (void *)(uintptr_t)payload, len };
	w->msg = (struct msghdr){ .msg_iov = w->iov, .msg_iovlen = 2 };
	w->unsent = f->head_len + len;
	if (!w->has_ring || w->s->config.splice == SPLICE_BY_CALLS)
		return send_msg(w);
	submit_send(w);
	rc = io_uring_submit(&w->ring);
	return rc < 0 ? ring_failed(w, rc) : 0;
}

static int splice_ring(struct worker *w, const struct outgoing *f, size_t len)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);
	size_t left = len;
	bool failed = false;

	io_uring_prep_send(sqe, w->sock, f->head, f->head_len, MSG_NOSIGNAL | MSG_MORE | MSG_WAITALL);
	io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK);
	io_uring_sqe_set_data64(sqe, TAG_SEND);
	w->pending++;
	submit_splice(w, left);
	while (w->pending > 0) {
		uint64_t tag;
		int res, rc = ring_step(w, &tag, &res);

		if (rc < 0)
			return ring_failed(w, rc);
		if (tag == TAG_SEND && res != (int)f->head_len) {
			peer_failed(w, res < 0 ? -res : EPIPE);
			failed = true;
		} else if (tag == TAG_SPLICE && res > 0) {
			left -= (size_t)res;
			if (left > 0 && !failed)
				submit_splice(w, left); /* the pipe was empty for a moment */
		} else if (tag == TAG_SPLICE && !failed) {
			failed = true;
			if (res == 0)
				twin_failed(w);
			else
				peer_failed(w, -res);
		}
	}
	return failed ? -1 : 0;
}

int output_spliced(struct worker *w, const struct outgoing *f, size_t len)
{
	if (len == 0)
		return output_bytes(w, f->head, f->head_len);
	if (!w->has_ring || w->s->config.splice == SPLICE_BY_CALLS)
		return splice_calls(w, f, len);
	return splice_ring(w, f, len);
}
