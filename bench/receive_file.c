/* SPDX-License-Identifier: Apache-2.0 */
/* receive_file.c - ways of getting what a fast sender sends into a file, beside each other in the same run.
 *
 * receive_file [--size 512M] [--dir DIR] [--repeats N] [--case PATTERN] [--warm no]: rows "receive_file" (GB/s), "receive_file_cpu" (the receiver's, s/GB), cases
 *   nobody           recv() into one buffer: what the sender can send to somebody who copies
 *   nobody trunc     recv() that drops: what it can send
 *   memory           recv() into fresh memory advised MADV_HUGEPAGE: somebody who keeps the bytes, without a file
 *   write            recv() and pwrite(), 512 KiB
 *   write ring       the same by io_uring: the next piece is received while one is written
 *   splice 64K, 256K, 1M    socket, pipe of that size, file
 *   splice ring      both splices by io_uring, at once
 *   huge write, huge splice 1M    the same into huge pages that are made ahead (pageserver/images/huge_room.h)
 *   huge recv        recv() right into those huge pages, with what has come; pieces of 1 MiB
 *   huge waitall     the same, whole pieces
 *   huge ring        the same by io_uring
 *   huge thread      huge waitall, the pages made by a second thread
 *   splice thread    splice 1M into small pages that a second thread makes (fallocate)
 *   write sum, splice sum 1M, huge recv sum    as "write", "splice 1M" and "huge recv", and the checksum of each range, as frames have it: of what
 *                    was spliced in a mapping of the file
 * Each repeat has every case once, in turns. --warm no: no memory is kept warm (bench_warm.h), for a machine that nobody takes memory from. The sender is a process that splices ranges of 1 MiB behind 24-byte headers as criu does; the receiver one too, which
 * reads every header by itself. Where the kernel gives no huge pages for a file (huge_room.h says when), the "huge" cases are left out. */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <liburing.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pageserver/images/huge_room.h"
#include "proto/base/io.h"
#include "proto/wire/frame.h"
#include "tests/lib/bench_dir.h"
#include "tests/lib/bench_env.h"
#include "tests/lib/bench_json.h"
#include "tests/lib/bench_warm.h"

enum { RANGE = 1 << 20, HEADER = 24, BUFFER = 512 * 1024, HUGE = 2 << 20, WARM = 320 << 20, LEAD = 16 << 20 };

struct maker; /* of huge pages, in a thread */
struct receiver {
	int sock, file, pipe[2];
	size_t size;
	uint64_t at; /* bytes in the file */
	uint8_t *buf[2];
	uint8_t *memory, *window; /* NULL: none */
	struct frame_sum sum;
	uint64_t sums;
	struct huge_room room;
	struct io_uring ring;
	struct maker *maker;
	size_t pipe_size; /* 0: none */
};

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* ---- by calls ---- */

static size_t got(ssize_t n)
{
	if (n <= 0)
		bench_die("receive");
	return (size_t)n;
}

static void drop(struct receiver *r, size_t len, int flags)
{
	while (len > 0)
		len -= got(recv(r->sock, r->buf[0], least(len, BUFFER), flags));
}

static void to_nobody(struct receiver *r, size_t len)
{
	drop(r, len, 0);
}

static void to_nobody_trunc(struct receiver *r, size_t len)
{
	drop(r, len, MSG_TRUNC);
}

static void to_memory(struct receiver *r, size_t len)
{
	got(recv(r->sock, r->memory + r->at, len, MSG_WAITALL));
}

static void make_room(struct receiver *r, size_t len)
{
	huge_room_make(&r->room, r->file, r->at + len);
}

static void by_write(struct receiver *r, size_t len)
{
	for (size_t n, done = 0; done < len; done += n) {
		n = got(recv(r->sock, r->buf[0], least(len - done, BUFFER), 0));
		if (pwrite(r->file, r->buf[0], n, (off_t)(r->at + done)) != (ssize_t)n)
			bench_die("pwrite");
	}
}

static void by_splice(struct receiver *r, size_t len)
{
	loff_t to = (loff_t)r->at;

	while (len > 0) {
		size_t n = got(splice(r->sock, NULL, r->pipe[1], NULL, len, SPLICE_F_MOVE));

		len -= n;
		while (n > 0)
			n -= got(splice(r->pipe[0], NULL, r->file, &to, n, SPLICE_F_MOVE));
	}
}

static void huge_write(struct receiver *r, size_t len)
{
	make_room(r, len);
	by_write(r, len);
}

static void huge_splice(struct receiver *r, size_t len)
{
	make_room(r, len);
	by_splice(r, len);
}

/* Where the next bytes go, *len of them at most. */
static uint8_t *place(struct receiver *r, uint64_t at, size_t *len)
{
	uint64_t room;
	uint8_t *p;

	huge_room_make(&r->room, r->file, at + *len);
	p = huge_room_at(&r->room, at, &room);
	if (p && room < *len)
		*len = room;
	return p;
}

typedef size_t receive_fn(struct receiver *r, void *to, size_t len);

static void in_place(struct receiver *r, size_t len, receive_fn *receive)
{
	for (size_t done = 0, part; done < len; done += part) {
		uint8_t *to;

		part = len - done;
		to = place(r, r->at + done, &part);
		if (to) {
			part = receive(r, to, part);
			continue;
		}
		part = receive(r, r->buf[0], least(part, BUFFER)); /* the first 2 MiB of a file */
		if (pwrite(r->file, r->buf[0], part, (off_t)(r->at + done)) != (ssize_t)part)
			bench_die("pwrite");
	}
}

static size_t recv_some(struct receiver *r, void *to, size_t len)
{
	return got(recv(r->sock, to, len, 0));
}

static size_t recv_all(struct receiver *r, void *to, size_t len)
{
	return got(recv(r->sock, to, len, MSG_WAITALL));
}

static void huge_recv(struct receiver *r, size_t len)
{
	in_place(r, len, recv_some);
}

static void huge_waitall(struct receiver *r, size_t len)
{
	in_place(r, len, recv_all);
}

/* ---- with a checksum ---- */

static void begin_sum(struct receiver *r)
{
	frame_sum_begin(&r->sum, "", 0);
}

static void end_sum(struct receiver *r)
{
	r->sums ^= frame_sum_end(&r->sum);
}

static void write_sum(struct receiver *r, size_t len)
{
	begin_sum(r);
	for (size_t n, done = 0; done < len; done += n) {
		n = got(recv(r->sock, r->buf[0], least(len - done, BUFFER), 0));
		frame_sum_add(&r->sum, r->buf[0], n);
		if (pwrite(r->file, r->buf[0], n, (off_t)(r->at + done)) != (ssize_t)n)
			bench_die("pwrite");
	}
	end_sum(r);
}

/* Its pages mapped in one call. */
static void splice_sum(struct receiver *r, size_t len)
{
	uint8_t *p;

	by_splice(r, len);
	p = mmap(r->window, len, PROT_READ, MAP_SHARED | MAP_POPULATE | (r->window ? MAP_FIXED : 0), r->file, (off_t)r->at);
	if (p == MAP_FAILED)
		bench_die("mmap");
	r->window = p;
	begin_sum(r);
	frame_sum_add(&r->sum, p, len);
	end_sum(r);
}

static size_t recv_sum(struct receiver *r, void *to, size_t len)
{
	size_t n = recv_some(r, to, len);

	frame_sum_add(&r->sum, to, n);
	return n;
}

static void huge_recv_sum(struct receiver *r, size_t len)
{
	begin_sum(r);
	in_place(r, len, recv_sum);
	end_sum(r);
}

/* ---- by io_uring ---- */

static int ring_wait(struct receiver *r, unsigned count)
{
	int sum = 0;

	if (io_uring_submit_and_wait(&r->ring, count) < 0)
		bench_die("io_uring");
	for (unsigned i = 0; i < count; i++) {
		struct io_uring_cqe *cqe;

		if (io_uring_wait_cqe(&r->ring, &cqe) < 0 || cqe->res <= 0)
			bench_die("an operation of the ring");
		sum = cqe->res;
		io_uring_cqe_seen(&r->ring, cqe);
	}
	return sum; /* the last one's */
}

static void ring_recv(struct receiver *r, void *to, size_t len)
{
	io_uring_prep_recv(io_uring_get_sqe(&r->ring), r->sock, to, len, MSG_WAITALL);
}

static size_t recv_by_ring(struct receiver *r, void *to, size_t len)
{
	ring_recv(r, to, len);
	return (size_t)ring_wait(r, 1);
}

static void huge_ring(struct receiver *r, size_t len)
{
	in_place(r, len, recv_by_ring);
}

static void write_ring(struct receiver *r, size_t len)
{
	const size_t half = len < BUFFER ? len : BUFFER;
	size_t done = 0;

	for (unsigned turn = 0; done < len; turn ^= 1, done += half) {
		if (done == 0) {
			ring_recv(r, r->buf[turn], half);
			ring_wait(r, 1);
		}
		io_uring_prep_write(io_uring_get_sqe(&r->ring), r->file, r->buf[turn], (unsigned)half, r->at + done);
		if (done + half < len)
			ring_recv(r, r->buf[turn ^ 1], half);
		ring_wait(r, done + half < len ? 2 : 1);
	}
}

/* Both at once: the pipe makes the second wait for the first. No link: a splice out of a socket gives what has come, and a short one would cut the chain. */
static size_t splice_both(struct receiver *r, uint64_t at, unsigned len, size_t *moved)
{
	struct io_uring_sqe *in = io_uring_get_sqe(&r->ring), *out = io_uring_get_sqe(&r->ring);
	size_t done[2] = { 0 };

	io_uring_prep_splice(in, r->sock, -1, r->pipe[1], -1, len, SPLICE_F_MOVE);
	io_uring_prep_splice(out, r->pipe[0], -1, r->file, (int64_t)at, len, SPLICE_F_MOVE);
	in->user_data = 0;
	out->user_data = 1;
	if (io_uring_submit_and_wait(&r->ring, 2) < 0)
		bench_die("io_uring");
	for (unsigned i = 0; i < 2; i++) {
		struct io_uring_cqe *cqe;

		if (io_uring_wait_cqe(&r->ring, &cqe) < 0 || cqe->res <= 0)
			bench_die("a splice of the ring");
		done[cqe->user_data] = (size_t)cqe->res;
		io_uring_cqe_seen(&r->ring, cqe);
	}
	*moved = done[1];
	return done[0];
}

static void splice_ring(struct receiver *r, size_t len)
{
	for (size_t at = 0, came, moved; at < len; at += came) {
		loff_t to;

		came = splice_both(r, r->at + at, (unsigned)least(len - at, RANGE / 2), &moved);
		for (to = (loff_t)(r->at + at + moved); moved < came;)
			moved += got(splice(r->pipe[0], NULL, r->file, &to, came - moved, SPLICE_F_MOVE));
	}
}

/* ---- pages made by a second thread ---- */

struct maker {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int file;
	uint8_t *map;
	size_t size;
	uint64_t made, taken;
	bool huge, failed;
};

static bool make_some(struct maker *m, uint64_t at)
{
	const uint64_t len = least(m->size - at, HUGE_ROOM_AHEAD);

	if (!m->huge)
		return fallocate(m->file, 0, (off_t)at, (off_t)len) == 0;
	for (uint64_t b = at; b < at + len; b += HUGE)
		if (fallocate(m->file, 0, (off_t)b, 4096) < 0)
			return false;
	return madvise(m->map + at, len, 25 /* MADV_COLLAPSE */) == 0;
}

static void *maker_main(void *arg)
{
	struct maker *m = arg;

	for (uint64_t at = 0; at < m->size; at += HUGE_ROOM_AHEAD) {
		bool ok;

		pthread_mutex_lock(&m->lock);
		while (at >= m->taken + LEAD)
			pthread_cond_wait(&m->changed, &m->lock);
		pthread_mutex_unlock(&m->lock);
		ok = make_some(m, at);
		pthread_mutex_lock(&m->lock);
		m->made = at + HUGE_ROOM_AHEAD;
		m->failed |= !ok;
		pthread_cond_signal(&m->changed);
		pthread_mutex_unlock(&m->lock);
	}
	return NULL;
}

static void maker_begin(struct receiver *r, bool huge)
{
	struct maker *m = r->maker = calloc(1, sizeof(*m));
	uint8_t *p = mmap(NULL, r->size + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (!m || p == MAP_FAILED || ftruncate(r->file, (off_t)r->size) < 0)
		bench_die("a maker of pages");
	p = (uint8_t *)(((uintptr_t)p + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
	m->file = r->file;
	m->size = r->size;
	m->huge = huge;
	m->map = mmap(p, r->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, r->file, 0);
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->changed, NULL);
	if (m->map == MAP_FAILED || pthread_create(&m->thread, NULL, maker_main, m) != 0)
		bench_die("a maker of pages");
}

static void wait_for_pages(struct receiver *r, size_t len, bool huge)
{
	struct maker *m;

	if (!r->maker)
		maker_begin(r, huge);
	m = r->maker;
	pthread_mutex_lock(&m->lock);
	m->taken = r->at;
	pthread_cond_signal(&m->changed);
	while (m->made < r->at + len)
		pthread_cond_wait(&m->changed, &m->lock);
	pthread_mutex_unlock(&m->lock);
}

static void huge_thread(struct receiver *r, size_t len)
{
	wait_for_pages(r, len, true);
	recv_all(r, r->maker->map + r->at, len);
}

static void splice_thread(struct receiver *r, size_t len)
{
	wait_for_pages(r, len, false);
	by_splice(r, len);
}

/* ---- a case ---- */

struct receive_case { const char *name; void (*range)(struct receiver *r, size_t len); bool huge, memory; size_t pipe; };
static const struct receive_case cases[] = {
	{ "nobody", to_nobody, false, false, 0 },
	{ "nobody trunc", to_nobody_trunc, false, false, 0 },
	{ "memory", to_memory, false, true, 0 },
	{ "write", by_write, false, false, 0 },
	{ "write ring", write_ring, false, false, 0 },
	{ "splice 64K", by_splice, false, false, 64 * 1024 },
	{ "splice 256K", by_splice, false, false, 256 * 1024 },
	{ "splice 1M", by_splice, false, false, 1024 * 1024 },
	{ "splice ring", splice_ring, false, false, 1024 * 1024 },
	{ "splice thread", splice_thread, false, false, 1024 * 1024 },
	{ "huge write", huge_write, true, false, 0 },
	{ "huge splice 1M", huge_splice, true, false, 1024 * 1024 },
	{ "huge recv", huge_recv, true, false, 0 },
	{ "huge waitall", huge_waitall, true, false, 0 },
	{ "huge ring", huge_ring, true, false, 0 },
	{ "huge thread", huge_thread, true, false, 0 },
	{ "write sum", write_sum, false, false, 0 },
	{ "splice sum 1M", splice_sum, false, false, 1024 * 1024 },
	{ "huge recv sum", huge_recv_sum, true, false, 0 },
};

static uint8_t *map_fresh(size_t len)
{
	uint8_t *p = mmap(NULL, len + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		bench_die("mmap");
	p = (uint8_t *)(((uintptr_t)p + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
	madvise(p, len, MADV_HUGEPAGE);
	return p;
}

static void prepare(struct receiver *r, const struct receive_case *c, const char *dir)
{
	r->file = openat(AT_FDCWD, dir, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	r->buf[0] = map_fresh(2 * BUFFER);
	r->buf[1] = r->buf[0] + BUFFER;
	memset(r->buf[0], 1, 2 * BUFFER);
	if (r->file < 0)
		bench_die("create a file");
	if (c->memory)
		r->memory = map_fresh(r->size);
	if (c->huge)
		huge_room_begin(&r->room, 0);
	if (io_uring_queue_init(8, &r->ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) < 0)
		bench_die("io_uring"); /* Linux 6.1 has these */
	if (c->pipe && (pipe2(r->pipe, O_CLOEXEC) < 0 || fcntl(r->pipe[1], F_SETPIPE_SZ, (int)c->pipe) < 0))
		bench_die("a pipe");
}

static void receive(const struct receive_case *c, int sock, size_t size, const char *dir, int tell)
{
	struct receiver r = { .sock = sock, .size = size };
	uint8_t header[HEADER];
	uint64_t cpu;

	prctl(PR_SET_NAME, "receiver"); /* in a profile */
	prepare(&r, c, dir);
	if (write_full(tell, "r", 1) < 0)
		_exit(1);
	cpu = bench_cpu_us();
	for (; r.at < size; r.at += RANGE) {
		if (read_full(sock, header, HEADER) < 0)
			bench_die("a header");
		c->range(&r, RANGE);
	}
	if (c->huge && !r.maker)
		huge_room_end(&r.room, r.file, size);
	cpu = bench_cpu_us() - cpu;
	if (r.maker && r.maker->failed)
		fprintf(stderr, "receive_file: %s: not all pages were made\n", c->name);
	_exit(write_full(tell, &cpu, sizeof(cpu)) < 0);
}

static void send_all(int sock, const uint8_t *memory, size_t size)
{
	static const uint8_t header[HEADER];
	int via[2];

	if (pipe2(via, O_CLOEXEC) < 0 || fcntl(via[1], F_SETPIPE_SZ, BENCH_PIPE) < 0)
		bench_die("a pipe");
	for (size_t at = 0; at < size; at += RANGE)
		if (send(sock, header, HEADER, MSG_NOSIGNAL | MSG_MORE) != HEADER || bench_splice(via, sock, memory + at, RANGE, true) < 0)
			bench_die("send");
	close(via[0]);
	close(via[1]);
}

static void measure(const struct receive_case *c, size_t size, const char *dir, bool warmed, const uint8_t *memory)
{
	pid_t warm = warmed ? bench_warm_start(size + WARM) : 0, pid;
	uint64_t start, cpu, took;
	int pair[2], tell[2];
	char byte, bytes[24];

	if (pipe2(tell, O_CLOEXEC) < 0 || bench_tcp_pair(pair) < 0 || (pid = fork()) < 0)
		bench_die("start the receiver");
	if (pid == 0) {
		close(pair[0]);
		receive(c, pair[1], size, dir, tell[1]);
	}
	close(pair[1]);
	close(tell[1]);
	if (read_full(tell[0], &byte, 1) < 0)
		bench_die("the receiver ended");
	start = clock_us();
	send_all(pair[0], memory, size);
	if (read_full(tell[0], &cpu, sizeof(cpu)) < 0)
		bench_die("the receiver ended");
	took = clock_us() - start;
	close(pair[0]);
	close(tell[0]);
	waitpid(pid, NULL, 0);
	bench_warm_stop(warm);
	snprintf(bytes, sizeof(bytes), "%zu", size);
	bench_json("receive_file", c->name, "GB/s", (double)size / 1e3 / (double)took, "bytes", bytes, "dir", dir, NULL);
	bench_json("receive_file_cpu", c->name, "s/GB", (double)cpu / 1e6 / ((double)size / 1e9), "bytes", bytes, "dir", dir, NULL);
}

/* Whether a file in there gets huge pages. */
static bool has_huge(const char *dir)
{
	int fd = open(dir, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	struct huge_room room = { 0 };
	uint64_t len;
	bool has;

	huge_room_begin(&room, HUGE);
	huge_room_make(&room, fd, HUGE + RANGE);
	has = huge_room_at(&room, HUGE, &len) != NULL;
	huge_room_finish(&room);
	close(fd);
	return has;
}

int main(int argc, char **argv)
{
	size_t size = 512 << 20;
	unsigned long repeats = 1;
	char own[] = "/dev/shm/receive-file-XXXXXX";
	const char *dir = NULL, *only = "*";
	uint8_t *memory;
	bool huge, warm = true;

	for (int i = 1; i < argc; i += 2) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (strcmp(argv[i], "--size") == 0 && bench_size(value, &size) && size >= RANGE)
			continue;
		if (strcmp(argv[i], "--dir") == 0)
			dir = value;
		else if (strcmp(argv[i], "--repeats") == 0)
			repeats = strtoul(value, NULL, 10);
		else if (strcmp(argv[i], "--case") == 0)
			only = value;
		else if (strcmp(argv[i], "--warm") == 0)
			warm = strcmp(value, "no") != 0;
		else {
			fprintf(stderr, "usage: receive_file [--size 512M] [--dir DIR] [--repeats N] [--case PATTERN] [--warm no]\n");
			return 2;
		}
	}
	size -= size % RANGE;
	if (!dir) {
		bench_dir_make(own);
		dir = own;
	}
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		bench_die("mmap");
	for (size_t i = 0; i < size; i += 8)
		memcpy(memory + i, &(uint64_t){ i * 0x9e3779b97f4a7c15u + 1 }, 8);
	huge = has_huge(dir);
	for (unsigned long n = 0; n < repeats; n++)
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
			if (fnmatch(only, cases[i].name, 0) == 0 && (huge || !cases[i].huge))
				measure(&cases[i], size, dir, warm, memory);
	if (dir == own)
		bench_dir_remove(own);
	return 0;
}
