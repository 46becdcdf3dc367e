/* SPDX-License-Identifier: Apache-2.0 */
/* output.c - a stream's bytes into its socket, by io_uring or by plain calls (config, or where there is no ring to be had).
 * Both wait in the kernel: a send is woken by shutdown(2) of its socket, a splice by that and a byte in its pipe (wake_all). */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "migrate/send/sender_priv.h"
#include "proto/base/io.h"

enum { RING_ENTRIES = 16, TAG_SEND = 0, TAG_SPLICE = 1 }; /* a completion's data: 2 * frame + tag */
_Static_assert(RING_ENTRIES >= 2 * BATCH, "a batch goes in one submission");
enum { SPLICE_FLAGS = SPLICE_F_MOVE | SPLICE_F_MORE };

int output_cut(struct worker *w, int num)
{
	if (w->s->config.reconnect && !atomic_load(&w->s->stop)) {
		w->cut = true;
		w->cut_errno = num;
		return -1;
	}
	return worker_fail(w, ERR_PEER, peer_errno(num), "the destination cut the connection");
}

static int twin_failed(struct worker *w)
{
	return worker_fail(w, ERR_GONE, 0, "the helper in the target's memory (task %d) ended", w->twin.pid);
}

int output_open(struct worker *w)
{
	enum output_how how = w->s->config.output;
	unsigned one_each[2] = { 1, 1 }; /* a stream's bytes have one order: a second io-wq thread would only wait */

	if (how == OUTPUT_CALLS || (how == OUTPUT_AUTO && w->s->config.extract == EXTRACT_SPLICE))
		return 0;
	/* Without DEFER_TASKRUN a chain's next link starts in the io-wq thread that ran the last one, not by waking this one. */
	if (io_uring_queue_init(RING_ENTRIES, &w->ring, IORING_SETUP_SINGLE_ISSUER) < 0 &&
	    io_uring_queue_init(RING_ENTRIES, &w->ring, 0) < 0)
		return 0;
	w->has_ring = true;
	io_uring_register_iowq_max_workers(&w->ring, one_each);
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
			return output_cut(w, errno);
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
			return output_cut(w, errno);
		msg_advance(w, (size_t)n);
	}
	return 0;
}

static int splice_call(struct worker *w, struct outgoing *f)
{
	size_t at = 0, left = pages_to_bytes(f->data_pages);

	while (at < f->head_len) {
		ssize_t n = send(w->sock, f->head + at, f->head_len - at, MSG_NOSIGNAL | (left ? MSG_MORE : 0));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return output_cut(w, errno);
		at += (size_t)n;
	}
	while (left > 0) {
		ssize_t n = splice(w->twin.pipe_read, NULL, w->sock, NULL, left, SPLICE_FLAGS);

		if (n == 0)
			return twin_failed(w);
		if (n > 0) {
			left -= (size_t)n;
			f->spliced += (size_t)n;
		} else if (errno != EINTR) {
			return output_cut(w, errno);
		}
	}
	return 0;
}

/* ---- io_uring ---- */

static int ring_failed(struct worker *w, int rc)
{
	return worker_fail(w, ERR_SYSTEM, -rc, "io_uring");
}

/* Has the ring send all of it, so that nobody is woken in between. */
static int send_flags(const struct worker *w)
{
	return MSG_NOSIGNAL | (w->sends_short ? 0 : MSG_WAITALL);
}

/* The kernel's TLS does not know MSG_WAITALL, and sends nothing with it. True: try again, without. */
static bool knows_no_waitall(struct worker *w, int res)
{
	bool first = res == -EOPNOTSUPP && !w->sends_short;

	w->sends_short = w->sends_short || first;
	return first;
}

static void submit_msg(struct worker *w)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);

	io_uring_prep_sendmsg(sqe, w->sock, &w->msg, (unsigned)send_flags(w));
	io_uring_sqe_set_data64(sqe, TAG_SEND);
	w->pending++;
}

/* Submits what was prepared and takes one completion. */
static int ring_step(struct worker *w, uint64_t *data, int *res)
{
	struct io_uring_cqe *cqe;
	int rc;

	while ((rc = io_uring_peek_cqe(&w->ring, &cqe)) == -EAGAIN) {
		rc = io_uring_submit_and_wait(&w->ring, w->pending);
		if (rc < 0 && rc != -EINTR)
			return rc;
	}
	if (rc < 0)
		return rc;
	*data = io_uring_cqe_get_data64(cqe);
	*res = cqe->res;
	io_uring_cqe_seen(&w->ring, cqe);
	w->pending--;
	return 0;
}

int output_wait(struct worker *w)
{
	while (w->pending > 0) {
		uint64_t data;
		int res, rc = ring_step(w, &data, &res);

		if (rc < 0)
			return ring_failed(w, rc);
		if (knows_no_waitall(w, res))
			res = 0;
		if (res < 0)
			return output_cut(w, -res);
		msg_advance(w, (size_t)res);
		if (w->unsent > 0)
			submit_msg(w);
	}
	return 0;
}

int output_frame_start(struct worker *w, const struct outgoing *f, const void *payload, size_t len)
{
	int rc;

	w->iov[0] = (struct iovec){ (void *)(uintptr_t)f->head, f->head_len };
	w->iov[1] = (struct iovec){ (void *)(uintptr_t)payload, len };
	w->msg = (struct msghdr){ .msg_iov = w->iov, .msg_iovlen = 2 };
	w->unsent = f->head_len + len;
	if (!w->has_ring)
		return send_msg(w);
	submit_msg(w);
	rc = io_uring_submit(&w->ring);
	return rc < 0 ? ring_failed(w, rc) : 0;
}

/* One chain of what is left of a batch: head, pages, head, pages. A short link ends it; what it cut off is chained again. */
static void submit_chain(struct worker *w, struct outgoing *f, unsigned n)
{
	struct io_uring_sqe *sqe = NULL;

	for (unsigned i = 0; i < n; i++) {
		size_t left = pages_to_bytes(f[i].data_pages) - f[i].spliced;

		if (!f[i].head_out) {
			sqe = io_uring_get_sqe(&w->ring);
			io_uring_prep_send(sqe, w->sock, f[i].head, f[i].head_len, send_flags(w) | (left ? MSG_MORE : 0));
			io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK);
			io_uring_sqe_set_data64(sqe, 2 * i + TAG_SEND);
			w->pending++;
		}
		if (left) {
			sqe = io_uring_get_sqe(&w->ring);
			io_uring_prep_splice(sqe, w->twin.pipe_read, -1, w->sock, -1, (unsigned)left, SPLICE_FLAGS);
			io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK);
			io_uring_sqe_set_data64(sqe, 2 * i + TAG_SPLICE);
			w->pending++;
		}
	}
	if (sqe)
		sqe->flags &= (uint8_t)~IOSQE_IO_LINK;
}

/* The completions of a chain. 0, or -1 when a link failed. */
static int collect_chain(struct worker *w, struct outgoing *f)
{
	int failed = 0;

	while (w->pending > 0) {
		uint64_t data;
		int res, rc = ring_step(w, &data, &res);
		struct outgoing *frame = &f[data / 2];

		if (rc < 0)
			return ring_failed(w, rc);
		if (res == -ECANCELED || knows_no_waitall(w, res))
			continue;
		if (res < 0)
			failed = output_cut(w, -res);
		else if (data % 2 == TAG_SPLICE && res == 0)
			failed = twin_failed(w);
		else if (data % 2 == TAG_SPLICE)
			frame->spliced += (size_t)res;
		else if ((size_t)res == frame->head_len)
			frame->head_out = true;
		else
			failed = output_cut(w, EPIPE);
	}
	return failed;
}

static bool frame_is_out(const struct outgoing *f)
{
	return f->head_out && f->spliced == pages_to_bytes(f->data_pages);
}

static int splice_chain(struct worker *w, struct outgoing *f, unsigned n)
{
	while (!frame_is_out(&f[n - 1])) {
		submit_chain(w, f, n);
		if (collect_chain(w, f) < 0)
			return -1;
	}
	return 0;
}

int output_spliced(struct worker *w, struct outgoing *f, unsigned n)
{
	if (w->has_ring)
		return splice_chain(w, f, n);
	for (unsigned i = 0; i < n; i++)
		if (splice_call(w, &f[i]) < 0)
			return -1;
	return 0;
}
