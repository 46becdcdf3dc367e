/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/send/sender.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "migrate/send/sender_priv.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/wire/hello.h"

/* A splice that waits for a twin gets a byte to carry to its socket, which is shut down. */
static void poke_pipe(int pipe_read)
{
	char path[40];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", pipe_read);
	fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)!write(fd, "", 1);
	close(fd);
}

static void wake_all(struct sender *s)
{
	uint64_t one = 1;

	atomic_store(&s->stop, true);
	(void)!write(s->wake_fd, &one, sizeof(one));
	for (unsigned i = 0; i < s->workers; i++)
		shutdown(s->worker[i].sock, SHUT_RDWR);
	for (unsigned i = 0; i < s->workers; i++)
		if (s->worker[i].twin.pipe_read >= 0)
			poke_pipe(s->worker[i].twin.pipe_read);
}

int worker_fail(struct worker *w, enum err_kind kind, int num, const char *fmt, ...)
{
	struct sender *s = w->s;
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&s->lock);
	if (!err_is_set(&s->first)) {
		if (s->cancelled)
			err_set(&s->first, ERR_CANCELLED, 0, "sending was cancelled");
		else
			err_set(&s->first, kind, num, "stream %u: %s", (unsigned)(w - s->worker), text);
		wake_all(s);
	}
	pthread_mutex_unlock(&s->lock);
	return -1;
}

bool worker_next(struct worker *w, struct outgoing *f, uint32_t max_pages, size_t max_runs)
{
	struct sender *s = w->s;

	for (;;) {
		uint64_t share;
		uint32_t pages;
		size_t n;

		f->runs = cursor_take(&w->piece, max_pages, 1, f->run, max_runs, &f->data_pages);
		if (f->runs > 0)
			return true;
		pthread_mutex_lock(&s->lock);
		/* Towards the end the pieces get smaller, so that the streams end together. */
		share = atomic_load(&s->pages_left) / (2 * s->workers);
		pages = share >= PIECE_PAGES ? PIECE_PAGES : share <= HUGE_PAGES ? HUGE_PAGES : (uint32_t)share;
		n = cursor_take(&s->cursor, pages, HUGE_PAGES, w->piece_run, PIECE_RUNS, &pages);
		pthread_mutex_unlock(&s->lock);
		if (n == 0)
			return false;
		cursor_init(&w->piece, w->piece_run, n);
	}
}

int worker_throttle(struct worker *w, size_t bytes)
{
	struct sender *s = w->s;
	uint64_t wait_us;

	if (s->config.max_bandwidth == 0)
		return 0;
	pthread_mutex_lock(&s->lock);
	wait_us = bucket_take(&s->bucket, bytes, clock_us());
	pthread_mutex_unlock(&s->lock);
	if (wait_us > 0) {
		struct timespec ts = { .tv_sec = (time_t)(wait_us / 1000000), .tv_nsec = (long)(wait_us % 1000000) * 1000 };
		struct pollfd p = { .fd = s->wake_fd, .events = POLLIN };

		ppoll(&p, 1, &ts, NULL);
	}
	return atomic_load(&s->stop) ? worker_fail(w, ERR_CANCELLED, 0, "stopped") : 0;
}

int worker_account(struct worker *w, const struct outgoing *f, size_t payload, const struct page_run *taken, size_t taken_runs, uint32_t taken_pages)
{
	if (w->s->config.reconnect && sent_log_add(&w->log, &w->count, taken, taken_runs) < 0)
		return worker_fail(w, ERR_SYSTEM, ENOMEM, "the log of what was sent");
	for (size_t i = 0; i < f->runs; i++)
		manifest_add(&w->count.manifest, 0, w->s->round, &f->run[i]);
	w->count.stats.pages += f->data_pages;
	w->count.stats.raw_bytes += pages_to_bytes(f->data_pages);
	w->count.stats.wire_bytes += f->head_len + payload;
	atomic_fetch_sub_explicit(&w->s->pages_left, taken_pages, memory_order_relaxed);
	atomic_fetch_add_explicit(&w->s->bytes_sent, f->head_len + payload, memory_order_relaxed);
	return 0;
}

/* ---- lifetime ---- */

static bool twin_ends_open(const struct twin_ends *t)
{
	return t->command_write >= 0 && t->pipe_read >= 0;
}

static void take_worker(struct worker *w, struct sender *s, unsigned i)
{
	const struct sender_config *c = &s->config;

	w->s = s;
	w->sock = c->sockets[i];
	w->twin = c->extract == EXTRACT_SPLICE ? c->twins[i] : (struct twin_ends){ .command_write = -1, .pipe_read = -1 };
	w->twin_memory = COPY_SOURCE_NONE;
	compress_auto_init(&w->compress, c->max_bandwidth / c->streams);
}

/* What can fail for one stream; the threads come last. */
static int prepare_worker(struct worker *w, struct err *e)
{
	int flags = fcntl(w->sock, F_GETFL);

	for (int i = 0; i < 2; i++) {
		w->raw[i] = aligned_alloc(DRAY_PAGE_SIZE, COPY_FRAME_PAGES * DRAY_PAGE_SIZE);
		w->packed[i] = malloc(frame_lz4_bound(COPY_FRAME_PAGES * DRAY_PAGE_SIZE));
		if (!w->raw[i] || !w->packed[i])
			return err_set(e, ERR_SYSTEM, ENOMEM, "stream buffers");
	}
	/* A stream's thread waits in the kernel for its socket; who wants it to stop shuts the socket down. */
	if (flags < 0 || fcntl(w->sock, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return err_sys(e, "stream socket");
	if (w->s->config.extract == EXTRACT_SPLICE) {
		if (!twin_ends_open(&w->twin))
			return err_set(e, ERR_INTERNAL, 0, "splicing without a twin");
		return copy_source_open(&w->twin_memory, w->twin.pid, e);
	}
	return 0;
}

static int start_threads(struct sender *s, struct err *e)
{
	sigset_t all, old;
	int rc = 0;

	/* Signals are the main thread's; SIGPIPE of a cut connection nobody's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (unsigned i = 0; i < s->workers && rc == 0; i++) {
		rc = pthread_create(&s->worker[i].thread, NULL, worker_main, &s->worker[i]);
		s->worker[i].started = rc == 0;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc ? err_set(e, ERR_SYSTEM, rc, "cannot start a stream's thread") : 0;
}

struct sender *sender_create(const struct sender_config *c, struct err *e)
{
	struct sender *s;

	if (c->streams == 0 || c->streams > STREAMS_MAX || c->extract == EXTRACT_AUTO) {
		err_set(e, ERR_INTERNAL, 0, "a sender of %u streams", c->streams);
		return NULL;
	}
	s = calloc(1, sizeof(*s) + c->streams * sizeof(s->worker[0]));
	if (!s) {
		err_set(e, ERR_SYSTEM, ENOMEM, "sender");
		return NULL;
	}
	s->config = *c;
	s->source = COPY_SOURCE_NONE;
	s->workers = c->streams;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	for (unsigned i = 0; i < c->streams; i++)
		take_worker(&s->worker[i], s, i);
	bucket_init(&s->bucket, c->max_bandwidth, clock_us());
	s->frame_pages = SPLICE_FRAME_PAGES;
	if (c->max_bandwidth) { /* 20 ms of the limit a frame */
		uint64_t pages = bytes_to_pages(c->max_bandwidth / 50 / c->streams);

		s->frame_pages = pages < 8 ? 8 : pages > SPLICE_FRAME_PAGES ? SPLICE_FRAME_PAGES : (uint32_t)pages;
	}
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->wake_fd < 0) {
		err_sys(e, "eventfd");
		goto fail;
	}
	if (copy_source_open(&s->source, c->pid, e) < 0)
		goto fail;
	for (unsigned i = 0; i < c->streams; i++)
		if (prepare_worker(&s->worker[i], e) < 0)
			goto fail;
	if (start_threads(s, e) < 0)
		goto fail;
	return s;
fail:
	sender_destroy(s);
	return NULL;
}

/* ---- rounds ---- */

/* Gives all workers one order and waits until each has done it. */
static void run_order(struct sender *s, enum sender_order order)
{
	pthread_mutex_lock(&s->lock);
	s->order = order;
	s->order_number++;
	s->working = 0;
	for (unsigned i = 0; i < s->workers; i++)
		s->working += s->worker[i].started;
	if (order == ORDER_ROUND)
		s->unsettled = s->working;
	pthread_cond_broadcast(&s->changed);
	while (s->working > 0)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

/* Of this process (its io_uring threads have no clock of their own) and of the twins. */
static uint64_t cpu_us(const struct sender *s)
{
	struct rusage ru;
	uint64_t sum;

	getrusage(RUSAGE_SELF, &ru);
	sum = (uint64_t)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000000 + (uint64_t)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
	for (unsigned i = 0; i < s->workers; i++) {
		struct timespec ts;
		clockid_t clock;

		if (s->worker[i].twin.command_write >= 0 && clock_getcpuclockid(s->worker[i].twin.pid, &clock) == 0 &&
		    clock_gettime(clock, &ts) == 0)
			sum += (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
	}
	return sum;
}

static int take_error(struct sender *s, struct err *e)
{
	int rc = 0;

	pthread_mutex_lock(&s->lock);
	if (!err_is_set(&s->first) && s->cancelled)
		err_set(&s->first, ERR_CANCELLED, 0, "sending was cancelled");
	if (err_is_set(&s->first)) {
		*e = s->first;
		rc = -1;
	}
	pthread_mutex_unlock(&s->lock);
	return rc;
}

/* With the lock held. */
static void sum_up(struct sender *s, struct sender_stats *stats)
{
	*stats = (struct sender_stats){ 0 };
	s->manifest = (struct manifest){ 0 };
	for (unsigned i = 0; i < s->workers; i++) {
		const struct sender_stats *w = &s->worker[i].told.stats;

		stats->pages += w->pages;
		stats->zero_pages += w->zero_pages;
		stats->wire_bytes += w->wire_bytes;
		stats->raw_bytes += w->raw_bytes;
		stats->vanished_pages += w->vanished_pages;
		manifest_merge(&s->manifest, &s->worker[i].told.manifest);
	}
}

int sender_round(struct sender *s, uint32_t round, bool frozen, const struct run_list *runs, const struct run_list *zero_ok,
		 struct sender_stats *stats, struct err *e)
{
	uint64_t cpu = cpu_us(s);

	if (take_error(s, e) < 0)
		return -1;
	s->round = round;
	s->frozen = frozen;
	s->zero_ok = zero_ok;
	cursor_init(&s->cursor, runs->run, runs->count);
	atomic_store(&s->pages_left, runs->data_pages);
	run_order(s, ORDER_ROUND);
	pthread_mutex_lock(&s->lock);
	sum_up(s, stats);
	pthread_mutex_unlock(&s->lock);
	stats->cpu_us = cpu_us(s);
	stats->cpu_us = stats->cpu_us > cpu ? stats->cpu_us - cpu : 0; /* a twin that ended took its clock along */
	return take_error(s, e);
}

int sender_settle(struct sender *s, struct err *e)
{
	struct sender_stats stats;

	pthread_mutex_lock(&s->lock);
	while (s->unsettled > 0)
		pthread_cond_wait(&s->changed, &s->lock);
	sum_up(s, &stats);
	pthread_mutex_unlock(&s->lock);
	return take_error(s, e);
}

int sender_event_fd(const struct sender *s)
{
	return s->wake_fd;
}

unsigned sender_reconnections(const struct sender *s)
{
	return atomic_load_explicit(&s->reconnections, memory_order_relaxed);
}

int sender_finish(struct sender *s, struct err *e)
{
	if (take_error(s, e) < 0)
		return -1;
	run_order(s, ORDER_FINISH);
	return take_error(s, e);
}

const struct manifest *sender_manifest(const struct sender *s)
{
	return &s->manifest;
}

uint64_t sender_pages_left(const struct sender *s)
{
	return atomic_load_explicit(&s->pages_left, memory_order_relaxed);
}

uint64_t sender_bytes_sent(const struct sender *s)
{
	return atomic_load_explicit(&s->bytes_sent, memory_order_relaxed);
}

void sender_cancel(struct sender *s)
{
	pthread_mutex_lock(&s->lock);
	s->cancelled = true;
	wake_all(s);
	pthread_mutex_unlock(&s->lock);
}

void sender_destroy(struct sender *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	if (s->unsettled > 0) { /* they wait for somebody else */
		s->cancelled = true;
		wake_all(s);
	}
	pthread_mutex_unlock(&s->lock);
	run_order(s, ORDER_QUIT);
	for (unsigned i = 0; i < s->workers; i++) {
		struct worker *w = &s->worker[i];

		if (w->started)
			pthread_join(w->thread, NULL);
		cleanup_fd_(&w->sock);
		cleanup_fd_(&w->twin.command_write);
		cleanup_fd_(&w->twin.pipe_read);
		copy_source_close(&w->twin_memory);
		sent_log_finish(&w->log);
		run_list_finish(&w->again);
		for (int k = 0; k < 2; k++) {
			free(w->raw[k]);
			free(w->packed[k]);
		}
	}
	copy_source_close(&s->source);
	cleanup_fd_(&s->wake_fd);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
