/* SPDX-License-Identifier: Apache-2.0 */
/* by_splice.c - a round on a stream with a twin.
 *
 *   worker   commands of batch n+1 | head, splice, head, splice ... of batch n | holes of n? | commands of n+2 | ...
 *   twin     vmsplice into the pipe, whenever it has room
 *
 * The next frames' commands are in the twin's hands before the current ones are spliced on, so the pipe fills again as soon as it is
 * empty. What the twin couldn't read it replaced by zeros and wrote down: those pages are sent once more, copied. */
#include "migrate/send/sender_priv.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "migrate/extract/twin_blob.h"

static int command(struct worker *w, const struct outgoing *f)
{
	struct iovec iov[TWIN_MAX_IOV];
	size_t n = 0;
	ssize_t wrote;

	for (size_t i = 0; i < f->runs; i++)
		if (f->run[i].kind == RUN_DATA)
			iov[n++] = (struct iovec){ .iov_base = (void *)(uintptr_t)f->run[i].addr,
						   .iov_len = pages_to_bytes(f->run[i].pages) };
	if (n == 0)
		return 0;
	/* At most PIPE_BUF bytes: whole or not at all. Two commands fit the pipe many times. */
	wrote = write(w->twin.command_write, iov, n * sizeof(iov[0]));
	if (wrote != (ssize_t)(n * sizeof(iov[0])))
		return worker_fail(w, ERR_GONE, 0, "the helper in the target's memory (task %d) ended", w->twin.pid);
	return 0;
}

/* Plans the next frames and has the twin start on them. How many, 0 there are none, -1. */
static int prepare(struct worker *w, struct outgoing *f)
{
	int most = w->s->config.max_bandwidth ? 1 : BATCH, n = 0;

	if (atomic_load_explicit(&w->s->stop, memory_order_relaxed))
		return worker_fail(w, ERR_CANCELLED, 0, "stopped");
	while (n < most && worker_next(w, &f[n], w->frame_pages, TWIN_MAX_IOV)) {
		if (command(w, &f[n]) < 0)
			return -1;
		n++;
	}
	return n;
}

static int read_twin(struct worker *w, uint64_t addr, void *buf, size_t len)
{
	struct iovec to = { buf, len }, from = { (void *)(uintptr_t)addr, len };

	if (process_vm_readv(w->twin.pid, &to, 1, &from, 1, 0) != (ssize_t)len)
		return worker_fail(w, ERR_GONE, 0, "the helper in the target's memory (task %d) ended", w->twin.pid);
	return 0;
}

static bool frame_has(const struct outgoing *f, uint64_t addr)
{
	for (size_t i = 0; i < f->runs; i++)
		if (f->run[i].kind == RUN_DATA && addr >= f->run[i].addr && addr < run_end(&f->run[i]))
			return true;
	return false;
}

/* The pages behind the ring's entries [from, to), merged into runs, up to the first that belongs to a frame that isn't out yet: what is
 * copied must arrive behind the zeros. Returns past the last entry taken. */
static uint64_t hole_runs(const struct twin_control *c, uint64_t from, uint64_t to, const struct outgoing *next, int next_count,
			  struct outgoing *f)
{
	f->runs = 0;
	f->data_pages = 0;
	for (; from < to && f->data_pages < COPY_FRAME_PAGES && f->runs < COPY_FRAME_RUNS; from++) {
		uint64_t addr = c->hole[from % TWIN_HOLES] & ~(DRAY_PAGE_SIZE - 1);
		struct page_run *last = f->runs ? &f->run[f->runs - 1] : NULL;

		for (int i = 0; i < next_count; i++)
			if (frame_has(&next[i], addr))
				return from;
		if (last && run_end(last) == addr)
			last->pages++;
		else
			f->run[f->runs++] = (struct page_run){ .addr = addr, .pages = 1, .kind = RUN_DATA };
		f->data_pages++;
	}
	return from;
}

/* After a batch is out and before the next one is: what of it was no more than zeros? */
static int send_holes(struct worker *w, struct outgoing *scratch, const struct outgoing *next, int next_count)
{
	struct twin_control c;
	uint64_t now;

	if (read_twin(w, w->twin.control, &now, sizeof(now)) < 0)
		return -1;
	if (now == w->holes_seen)
		return 0;
	if (read_twin(w, w->twin.control, &c, sizeof(c)) < 0)
		return -1;
	if (c.holes - w->holes_seen > TWIN_HOLES)
		return worker_fail(w, ERR_INTERNAL, 0, "the record of unreadable pages is not as it was left");
	while (w->holes_seen < c.holes) {
		uint64_t upto = hole_runs(&c, w->holes_seen, c.holes, next, next_count, scratch);

		if (upto == w->holes_seen)
			break;
		w->holes_seen = upto;
		if (worker_copy_frame(w, &w->twin_memory, scratch, 0, 0) < 0 || output_wait(w) < 0)
			return -1;
	}
	return 0;
}

static int send_batch(struct worker *w, struct outgoing *f, unsigned n)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < n; i++) {
		outgoing_table(&f[i]);
		if (worker_account(w, &f[i], pages_to_bytes(f[i].data_pages), f[i].run, f[i].runs, f[i].data_pages) < 0)
			return -1;
		outgoing_header(w, &f[i], FRAME_PAGES, 0, pages_to_bytes(f[i].data_pages), 0);
		f[i].head_out = false;
		f[i].spliced = 0;
		bytes += f[i].head_len + pages_to_bytes(f[i].data_pages);
	}
	return worker_throttle(w, bytes) < 0 ? -1 : output_spliced(w, f, n);
}

/* Throws away what the twin was asked for and the cut connection didn't take, to the byte: what stayed in the pipe would be the next frame's. */
static int drain(struct worker *w, uint64_t bytes)
{
	int rest = 0;

	while (bytes > 0) {
		struct pollfd p[2] = { { .fd = w->twin.pipe_read, .events = POLLIN }, { .fd = w->s->wake_fd, .events = POLLIN } };
		size_t most = bytes < pages_to_bytes(COPY_FRAME_PAGES) ? bytes : pages_to_bytes(COPY_FRAME_PAGES);
		ssize_t n = -1;

		if (poll(p, 2, -1) > 0 && p[1].revents)
			return worker_fail(w, ERR_CANCELLED, 0, "stopped");
		if (p[0].revents)
			n = read(w->twin.pipe_read, w->raw[0], most);
		if (n == 0)
			return worker_fail(w, ERR_GONE, 0, "the helper in the target's memory (task %d) ended", w->twin.pid);
		if (n < 0 && errno != EINTR)
			return worker_fail(w, ERR_SYSTEM, errno, "the pipe of the helper (task %d)", w->twin.pid);
		bytes -= n > 0 ? (size_t)n : 0;
	}
	if (ioctl(w->twin.pipe_read, FIONREAD, &rest) < 0 || rest != 0)
		return worker_fail(w, ERR_INTERNAL, 0, "%d bytes too many in the pipe of the helper", rest);
	w->drained = true;
	return 0;
}

/* The connection was cut. n frames of `now` are on their way, `next` of `then` were asked for and stand in no log yet. -1. */
static int unwind(struct worker *w, const struct outgoing *now, int n, const struct outgoing *then, int next)
{
	uint64_t bytes = 0;

	for (int i = 0; i < n; i++)
		bytes += pages_to_bytes(now[i].data_pages) - now[i].spliced;
	for (int i = 0; i < next; i++) {
		bytes += pages_to_bytes(then[i].data_pages);
		for (size_t k = 0; k < then[i].runs; k++)
			if (run_list_add(&w->again, then[i].run[k].addr, then[i].run[k].pages, then[i].run[k].kind) < 0)
				return worker_fail(w, ERR_SYSTEM, ENOMEM, "pages to be sent again");
	}
	drain(w, bytes);
	return -1;
}

/* What was lost is copied; holes that were found in what was thrown away are among it, or come behind it. */
static int send_lost(struct worker *w)
{
	if (worker_copy_again(w, &w->twin_memory) < 0)
		return -1;
	if (w->drained && send_holes(w, w->frame, NULL, 0) < 0)
		return -1;
	w->drained = false;
	return 0;
}

int worker_round_splice(struct worker *w)
{
	struct outgoing *now = &w->frame[0], *then = &w->frame[BATCH];
	int n = send_lost(w) < 0 ? -1 : prepare(w, now);

	while (n > 0) {
		int next = prepare(w, then);
		struct outgoing *done = now;

		if (next < 0)
			return -1;
		if (send_batch(w, now, (unsigned)n) < 0)
			return w->cut ? unwind(w, now, n, then, next) : -1;
		if (send_holes(w, now, then, next) < 0) /* it has used up `now` */
			return w->cut ? unwind(w, now, 0, then, next) : -1;
		now = then;
		then = done;
		n = next;
	}
	return n;
}
