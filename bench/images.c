/* SPDX-License-Identifier: Apache-2.0 */
/* images.c - memory into an image directory and out of it, beside plain files in the same run.
 *
 * images [--size 1G] [--repeats N] [--case PATTERN] [--dir /dev/shm]: rows "images_write" and "images_read" (GB/s), "images_ranges" (millions a second):
 *   memcpy                 into warm memory: what a byte costs at least
 *   pwrite 1M, 4K          a plain file, in such pieces
 *   set 1M, 4K             pages() of one range, in such pieces
 *   set scattered          pages() of every second page: each a range of its own
 *   splice pipe, tcp       vmspliced memory, or a socket's sender, spliced into a plain file
 *   set tcp                the socket's sender into a set by its pull(), 1 MiB a range
 *   discard tcp            the sender alone
 *   fold                   image_set_flatten of a set whose every second page is in its parent
 *   pread 1M               a plain file
 *   map 1M, 4K             pagemap_read of a dense set in such pieces
 *   map scattered          pagemap_read of every second page
 *   open                   pagemap_open of a page map of size/8192 ranges
 * A file is removed between runs and memory is touched before each (bench_env.h says why). */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "pageserver/images/pagemap.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "tests/lib/bench_dir.h"
#include "tests/lib/bench_env.h"
#include "tests/lib/bench_json.h"
#include "tests/lib/socket_source.h"

enum { PAGE = 4096, PIECE = 1 << 20, SOURCE = 64 << 20 };
#define BASE 0x10000000ull

struct images {
	size_t size; /* a multiple of SOURCE */
	int dir;
	char *source; /* SOURCE bytes, warm */
	char *buffer; /* PIECE bytes, warm */
	uint64_t began;
};

static char *memory(size_t len)
{
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		bench_die("mmap");
	for (size_t i = 0; i < len; i += 8)
		*(uint64_t *)(void *)(p + i) = i * 0x9e3779b97f4a7c15ull;
	return p;
}

static const char *source_at(const struct images *b, size_t at)
{
	return b->source + at % SOURCE;
}

static void start_clock(struct images *b)
{
	b->began = clock_us();
}

static double per_us(const struct images *b, double what)
{
	return what / (double)(clock_us() - b->began);
}

/* ---- plain ---- */

static double plain_memcpy(struct images *b, size_t piece)
{
	char *to = memory(b->size);
	double v;

	start_clock(b);
	for (size_t at = 0; at < b->size; at += piece)
		memcpy(to + at, source_at(b, at), piece);
	v = per_us(b, (double)b->size / 1e3);
	munmap(to, b->size);
	return v;
}

static int plain_file(const struct images *b)
{
	int fd = openat(b->dir, "plain", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		bench_die("create a file");
	unlinkat(b->dir, "plain", 0);
	return fd;
}

static double plain_pwrite(struct images *b, size_t piece)
{
	cleanup_fd int fd = plain_file(b);

	start_clock(b);
	for (size_t at = 0; at < b->size; at += piece)
		if (pwrite(fd, source_at(b, at), piece, (off_t)at) != (ssize_t)piece)
			bench_die("pwrite");
	return per_us(b, (double)b->size / 1e3);
}

static double plain_pread(struct images *b, size_t piece)
{
	cleanup_fd int fd = plain_file(b);

	for (size_t at = 0; at < b->size; at += SOURCE)
		if (pwrite(fd, b->source, SOURCE, (off_t)at) != SOURCE)
			bench_die("pwrite");
	start_clock(b);
	for (size_t at = 0; at < b->size; at += piece)
		if (pread(fd, b->buffer, piece, (off_t)at) != (ssize_t)piece)
			bench_die("pread");
	return per_us(b, (double)b->size / 1e3);
}

/* ---- a sender at the other end of a pipe or socket ---- */

struct feed {
	const struct images *b;
	int from, to;
	bool is_pipe;
	pthread_t thread;
};

static void *feed_main(void *arg)
{
	struct feed *f = arg;

	for (size_t at = 0; at < f->b->size;) {
		size_t part = SOURCE - at % SOURCE < PIECE ? SOURCE - at % SOURCE : PIECE;
		struct iovec iov = { f->b->source + at % SOURCE, part };
		ssize_t n = f->is_pipe ? vmsplice(f->to, &iov, 1, 0) : write(f->to, iov.iov_base, part);

		if (n <= 0)
			bench_die("feed");
		at += (size_t)n;
	}
	return NULL;
}

static void feed_begin(struct feed *f, const struct images *b, bool is_pipe)
{
	int fd[2];

	f->b = b;
	f->is_pipe = is_pipe;
	if ((is_pipe ? pipe2(fd, O_CLOEXEC) : bench_tcp_pair(fd)) < 0)
		bench_die("pipe or socket");
	if (is_pipe)
		fcntl(fd[1], F_SETPIPE_SZ, PIECE);
	f->from = fd[0];
	f->to = fd[1];
	if (pthread_create(&f->thread, NULL, feed_main, f) != 0)
		bench_die("pthread_create");
}

static void feed_end(struct feed *f)
{
	pthread_join(f->thread, NULL);
	close(f->from);
	close(f->to);
}

static double discard(struct images *b, size_t piece)
{
	struct feed f;
	double v;

	start_clock(b);
	feed_begin(&f, b, false);
	for (size_t at = 0; at < b->size;) {
		ssize_t n = recv(f.from, b->buffer, piece, 0);

		if (n <= 0)
			bench_die("recv");
		at += (size_t)n;
	}
	v = per_us(b, (double)b->size / 1e3);
	feed_end(&f);
	return v;
}

static size_t splice_some(int from, int to, loff_t *at)
{
	ssize_t n = splice(from, NULL, to, at, PIECE, SPLICE_F_MOVE);

	if (n <= 0)
		bench_die("splice");
	return (size_t)n;
}

static double plain_splice(struct images *b, bool is_pipe)
{
	cleanup_fd int fd = plain_file(b);
	struct feed f;
	loff_t at = 0;
	int via[2];
	double v;

	if (pipe2(via, O_CLOEXEC) < 0)
		bench_die("pipe");
	fcntl(via[1], F_SETPIPE_SZ, PIECE);
	start_clock(b);
	feed_begin(&f, b, is_pipe);
	while ((size_t)at < b->size) {
		size_t n = is_pipe ? 0 : splice_some(f.from, via[1], NULL);

		if (is_pipe)
			splice_some(f.from, fd, &at);
		while (n > 0)
			n -= splice_some(via[0], fd, &at);
	}
	v = per_us(b, (double)b->size / 1e3);
	feed_end(&f);
	close(via[0]);
	close(via[1]);
	return v;
}

static double splice_pipe(struct images *b, size_t piece)
{
	(void)piece;
	return plain_splice(b, true);
}

static double splice_tcp(struct images *b, size_t piece)
{
	(void)piece;
	return plain_splice(b, false);
}

/* ---- sets ---- */

static struct page_sink *set_begin(const struct images *b)
{
	struct image_set_options o = { .dirfd = b->dir, .first_pages_id = 1 };
	struct err e = { 0 };
	struct page_sink *s = image_set_create(&o, &e);
	bool parent;

	bench_check(s ? 0 : -1, &e);
	bench_check(s->ops->open(s, PAGEMAP_TASK, 41, &parent, &e), &e);
	return s;
}

static void set_end(struct page_sink *s)
{
	struct err e = { 0 };

	bench_check(s->ops->finish(s, &e), &e);
	s->ops->destroy(s);
}

static void set_remove(const struct images *b)
{
	unlinkat(b->dir, "pagemap-41.img", 0);
	unlinkat(b->dir, "pages-1.img", 0);
}

/* step: bytes from a range to the next; more than piece leaves holes. */
static void set_fill(const struct images *b, struct page_sink *s, size_t piece, size_t step)
{
	struct err e = { 0 };

	for (size_t at = 0; at < b->size; at += step)
		bench_check(s->ops->pages(s, BASE + at, piece / PAGE, PAGE_PRESENT, source_at(b, at), &e), &e);
}

static double set_dense(struct images *b, size_t piece)
{
	struct page_sink *s = set_begin(b);
	double v;

	start_clock(b);
	set_fill(b, s, piece, piece);
	set_end(s);
	v = per_us(b, (double)b->size / 1e3);
	set_remove(b);
	return v;
}

static double set_scattered(struct images *b, size_t piece)
{
	struct page_sink *s = set_begin(b);
	double v;

	start_clock(b);
	set_fill(b, s, piece, 2 * piece);
	set_end(s);
	v = per_us(b, (double)b->size / 2e3);
	set_remove(b);
	return v;
}

static double set_tcp(struct images *b, size_t piece)
{
	struct socket_source from = { .source.move = socket_source_move };
	struct page_sink *s = set_begin(b);
	struct err e = { 0 };
	struct feed f;
	double v;

	(void)piece;
	start_clock(b);
	feed_begin(&f, b, false);
	from.from = f.from;
	for (size_t at = 0; at < b->size; at += PIECE)
		bench_check(s->ops->pull(s, BASE + at, PIECE / PAGE, PAGE_PRESENT, &from.source, &e), &e);
	set_end(s);
	v = per_us(b, (double)b->size / 1e3);
	feed_end(&f);
	set_remove(b);
	return v;
}

static double map_read(struct images *b, size_t piece, size_t step)
{
	struct page_sink *s = set_begin(b);
	struct pagemap_reader *r;
	struct err e = { 0 };
	double v;

	set_fill(b, s, step == piece ? PIECE : piece, step == piece ? PIECE : step);
	set_end(s);
	r = pagemap_open(b->dir, PAGEMAP_TASK, 41, &e);
	bench_check(r ? 0 : -1, &e);
	start_clock(b);
	for (size_t at = 0; at < b->size; at += step)
		bench_check(pagemap_read(r, BASE + at, piece / PAGE, b->buffer, &e), &e);
	v = per_us(b, (double)b->size / (1e3 * (double)step / (double)piece));
	pagemap_close(r);
	set_remove(b);
	return v;
}

static double map_dense(struct images *b, size_t piece)
{
	return map_read(b, piece, piece);
}

static double map_scattered(struct images *b, size_t piece)
{
	return map_read(b, piece, 2 * piece);
}

static double map_open(struct images *b, size_t piece)
{
	struct page_sink *s = set_begin(b);
	struct pagemap_reader *r;
	struct err e = { 0 };
	double v;

	set_fill(b, s, piece, 2 * piece);
	set_end(s);
	start_clock(b);
	r = pagemap_open(b->dir, PAGEMAP_TASK, 41, &e);
	v = per_us(b, (double)b->size / (2.0 * (double)piece));
	bench_check(r ? 0 : -1, &e);
	pagemap_close(r);
	set_remove(b);
	return v;
}

/* A set where each second page is new, on one that has all. */
static void two_levels(const struct images *b, struct images *below)
{
	struct page_sink *s;
	struct err e = { 0 };

	*below = *b;
	if (mkdirat(b->dir, "parent", 0700) < 0)
		bench_die("make a directory");
	below->dir = openat(b->dir, "parent", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	s = set_begin(below);
	set_fill(below, s, PIECE, PIECE);
	set_end(s);
	s = set_begin(b);
	for (size_t at = 0; at < b->size; at += 2 * PAGE) {
		bench_check(s->ops->pages(s, BASE + at, 1, PAGE_PRESENT, source_at(b, at), &e), &e);
		bench_check(s->ops->hole(s, BASE + at + PAGE, 1, PAGE_IN_PARENT, &e), &e);
	}
	set_end(s);
}

static double fold(struct images *b, size_t piece)
{
	struct image_flatten_options o = { .dirfd = b->dir, .first_pages_id = 1 };
	struct images below;
	struct err e = { 0 };
	double v;

	(void)piece;
	two_levels(b, &below);
	start_clock(b);
	bench_check(image_set_flatten(&o, NULL, &e), &e);
	v = per_us(b, (double)b->size / 1e3);
	set_remove(&below);
	close(below.dir);
	unlinkat(b->dir, "parent", AT_REMOVEDIR);
	set_remove(b);
	unlinkat(b->dir, "pages-2.img", 0);
	return v;
}

/* ---- the table ---- */

static const struct {
	const char *bench, *name, *unit;
	double (*run)(struct images *b, size_t piece);
	size_t piece;
} cases[] = {
	{ "images_write", "memcpy", "GB/s", plain_memcpy, PIECE },
	{ "images_write", "pwrite 1M", "GB/s", plain_pwrite, PIECE },
	{ "images_write", "set 1M", "GB/s", set_dense, PIECE },
	{ "images_write", "pwrite 4K", "GB/s", plain_pwrite, PAGE },
	{ "images_write", "set 4K", "GB/s", set_dense, PAGE },
	{ "images_write", "set scattered", "GB/s", set_scattered, PAGE },
	{ "images_write", "splice pipe", "GB/s", splice_pipe, 0 },
	{ "images_write", "discard tcp", "GB/s", discard, PIECE },
	{ "images_write", "splice tcp", "GB/s", splice_tcp, 0 },
	{ "images_write", "set tcp", "GB/s", set_tcp, 0 },
	{ "images_write", "fold", "GB/s", fold, 0 },
	{ "images_read", "pread 1M", "GB/s", plain_pread, PIECE },
	{ "images_read", "map 1M", "GB/s", map_dense, PIECE },
	{ "images_read", "map 4K", "GB/s", map_dense, PAGE },
	{ "images_read", "map scattered", "GB/s", map_scattered, PAGE },
	{ "images_ranges", "open", "M/s", map_open, PAGE },
};

struct options {
	size_t size;
	unsigned repeats;
	const char *only, *dir;
};

static struct options parse(int argc, char **argv)
{
	struct options o = { .size = 1 << 30, .repeats = 1, .only = "*", .dir = "/dev/shm" };

	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--size") && bench_size(argv[i + 1], &o.size))
			continue;
		if (!strcmp(argv[i], "--repeats") && (o.repeats = (unsigned)atoi(argv[i + 1])) > 0)
			continue;
		if (!strcmp(argv[i], "--case") && (o.only = argv[i + 1]))
			continue;
		if (!strcmp(argv[i], "--dir") && (o.dir = argv[i + 1]))
			continue;
		fputs("usage: images [--size BYTES] [--repeats N] [--case PATTERN] [--dir DIRECTORY]\n", stderr);
		exit(2);
	}
	o.size = (o.size + SOURCE - 1) / SOURCE * SOURCE;
	return o;
}

int main(int argc, char **argv)
{
	struct options o = parse(argc, argv);
	struct images b = { .size = o.size, .source = memory(SOURCE), .buffer = memory(PIECE) };
	char path[256], size[24];

	snprintf(path, sizeof(path), "%s/drayage-bench-XXXXXX", o.dir);
	snprintf(size, sizeof(size), "%zu", o.size);
	bench_dir_make(path);
	b.dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (unsigned r = 0; r < o.repeats; r++)
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			if (fnmatch(o.only, cases[i].name, 0) != 0)
				continue;
			bench_prewarm(o.size * 5 / 2);
			bench_json(cases[i].bench, cases[i].name, cases[i].unit, cases[i].run(&b, cases[i].piece), "bytes", size, "dir", o.dir, NULL);
		}
	close(b.dir);
	bench_dir_remove(path);
	return 0;
}
