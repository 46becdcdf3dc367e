/* SPDX-License-Identifier: Apache-2.0 */
/* nomad - a process whose threads do at random all that may move, for ever, and check what comes of it: memory mapped, moved, discarded, protected and
 * written in every way, children, futexes, pipes, sockets, files, timers, signals, registers. It is moved to and fro meanwhile (tests/soak).
 *
 *   nomad --seed N --dir DIR --beat FILE --report FILE --ready FILE [--children]
 *
 * It knows what each piece of memory must hold and each number that must come next. Signals as in bench/workload.c: USR1 has all memory looked at and a verdict
 * written to --report; --beat gets a number each millisecond. Choices come from the seed, their interleaving from the scheduler.
 * Needs nothing of ours, so that it is the same in each build. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/futex.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, SLOTS = 20, SLOT_PAGES = 512, SLOT_SIZE = SLOT_PAGES * PAGE, CELLS = 4, CELL = PAGE / CELLS, WORDS = CELL / 8, FILE_PAGES = SLOT_PAGES + 64,
	BRK_PAGES = 400, ACTORS = 3 };
static char *const arena = (char *)0x210000000000; /* not where one bit flipped makes 0 of it: memory is staged like that */

static const char *dir = ".", *beat_path, *report_path, *ready_path;
static uint64_t seed = 1;
static bool children;

/* ---- what is wrong ---- */

static pthread_mutex_t wrong_lock = PTHREAD_MUTEX_INITIALIZER;
static char wrong[2048];

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

__attribute__((format(printf, 1, 2))) static void fail(const char *fmt, ...)
{
	int saved = errno;
	size_t at;
	va_list ap;

	pthread_mutex_lock(&wrong_lock);
	at = strlen(wrong);
	if (at < sizeof(wrong) - 300) {
		at += (size_t)snprintf(wrong + at, 64, "[%llu.%03llu tid %ld] ", (unsigned long long)now_ns() / 1000000000, (unsigned long long)now_ns() / 1000000 % 1000,
				       syscall(SYS_gettid));
		va_start(ap, fmt);
		vsnprintf(wrong + at, 200, fmt, ap);
		va_end(ap);
		at = strlen(wrong);
		snprintf(wrong + at, sizeof(wrong) - at, " (errno %d); ", saved);
	}
	pthread_mutex_unlock(&wrong_lock);
}
#define NEED(cond) ((cond) ? true : (fail("line %d: %s", __LINE__, #cond), false))

/* ---- chance ---- */

static uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static uint64_t next_random(uint64_t *s)
{
	return mix(*s += 0x9e3779b97f4a7c15);
}

static unsigned below(uint64_t *s, unsigned n)
{
	return (unsigned)(next_random(s) % n);
}

/* Mostly at once, sometimes after a while. */
static void dawdle(uint64_t *s, unsigned most_us)
{
	unsigned us = below(s, 3) ? 0 : below(s, most_us);

	if (us)
		nanosleep(&(struct timespec){ .tv_nsec = us * 1000l }, NULL);
}

/* ---- memory: a page is four cells, each of which is what its tag says; 0: zeros ---- */

enum kind { EMPTY, ANON, FILE_BACKED, MEMFD, SHARED_ANON, KINDS };
struct page { uint32_t tag[CELLS]; bool maybe; /* given up by MADV_FREE: as it was, or zeros */ };
struct slot {
	pthread_mutex_t lock;
	enum kind kind;
	unsigned pages, file_from;
	int memfd;
	bool no_access;
	struct page page[SLOT_PAGES];
};
static struct slot slots[SLOTS];
static int file;
static pthread_mutex_t brk_lock = PTHREAD_MUTEX_INITIALIZER;
static char *brk_start;
static unsigned brk_pages;
static uint32_t brk_tag[BRK_PAGES];

static uint64_t word_of(uint32_t tag, unsigned i)
{
	if (tag == 0)
		return 0;
	return tag & 1 ? mix(tag * 131ull + i) : tag * 0x100000001ull ^ (i & 7);
}

static void cell_fill(void *at, uint32_t tag)
{
	volatile uint64_t *p = at;

	for (unsigned i = 0; i < WORDS; i++)
		p[i] = word_of(tag, i);
}

static bool cell_is(const void *at, uint32_t tag)
{
	const volatile uint64_t *p = at;

	for (unsigned i = 0; i < WORDS; i++)
		if (p[i] != word_of(tag, i))
			return false;
	return true;
}

static uint32_t new_tag(uint64_t *s)
{
	return below(s, 12) == 0 ? 0 : (1u << 28 | (uint32_t)below(s, 1u << 28));
}
static uint32_t file_tag(unsigned page, unsigned cell) { return 0xf0000000u | (page * CELLS + cell); }
static char *home(const struct slot *s) { return arena + (size_t)(s - slots) * SLOT_SIZE; }
static char *cell_at(const struct slot *s, unsigned page, unsigned cell) { return home(s) + (size_t)page * PAGE + (size_t)cell * CELL; }

static bool page_is_void(const struct slot *s, unsigned page)
{
	for (unsigned c = 0; c < CELLS; c++)
		if (!cell_is(cell_at(s, page, c), 0))
			return false;
	return true;
}

static bool page_right(struct slot *s, unsigned page)
{
	for (unsigned c = 0; c < CELLS; c++)
		if (!cell_is(cell_at(s, page, c), s->page[page].tag[c]))
			return s->page[page].maybe && page_is_void(s, page);
	return true;
}

static void page_check(struct slot *s, unsigned page, const char *when)
{
	const uint64_t *w = (const uint64_t *)(void *)cell_at(s, page, 0);

	if (page_right(s, page))
		return;
	fail("%s: slot %d kind %d page %u at %p is wrong: tags %x %x %x %x maybe %d, holds %llx %llx %llx %llx", when, (int)(s - slots), s->kind, page,
	     (void *)cell_at(s, page, 0), s->page[page].tag[0], s->page[page].tag[1], s->page[page].tag[2], s->page[page].tag[3], s->page[page].maybe,
	     (unsigned long long)w[0], (unsigned long long)w[WORDS], (unsigned long long)w[2ul * WORDS], (unsigned long long)w[3ul * WORDS]);
	for (unsigned c = 0; c < CELLS; c++) /* told once */
		cell_fill(cell_at(s, page, c), s->page[page].tag[c]);
}

/* What a page is that nothing was written to since it was mapped or given up. */
static void page_virgin(struct slot *s, unsigned page)
{
	for (unsigned c = 0; c < CELLS; c++)
		s->page[page].tag[c] = s->kind == FILE_BACKED ? file_tag(s->file_from + page, c) : 0;
	s->page[page].maybe = false;
}

/* A page that was written to is given up no more; what it lost before is lost. */
static void page_settle(struct slot *s, unsigned page, unsigned written)
{
	struct page *p = &s->page[page];

	if (!p->maybe)
		return;
	p->maybe = false;
	for (unsigned c = 0; c < CELLS; c++)
		if (c != written && !cell_is(cell_at(s, page, c), p->tag[c])) {
			if (!cell_is(cell_at(s, page, c), 0))
				fail("slot %d page %u was given up and is neither", (int)(s - slots), page);
			p->tag[c] = 0;
		}
}

struct part { unsigned from, count; char *at; size_t len; };
static struct part part_of(uint64_t *r, const struct slot *s)
{
	struct part p = { .from = below(r, s->pages), .count = 1 + below(r, below(r, 5) ? 8 : s->pages) };

	if (p.count > s->pages - p.from)
		p.count = s->pages - p.from;
	p.at = home(s) + (size_t)p.from * PAGE;
	p.len = (size_t)p.count * PAGE;
	return p;
}

static void do_write(uint64_t *r, struct slot *s)
{
	struct part p = part_of(r, s);

	for (unsigned i = p.from; i < p.from + p.count; i++) {
		unsigned c = below(r, CELLS);

		s->page[i].tag[c] = new_tag(r);
		cell_fill(cell_at(s, i, c), s->page[i].tag[c]);
		page_settle(s, i, c);
	}
}

/* The kernel writes: from a pipe, a file, another address. */
static void do_write_by_kernel(uint64_t *r, struct slot *s)
{
	unsigned i = below(r, s->pages), c = below(r, CELLS), how = below(r, 3);
	uint32_t tag = new_tag(r);
	static _Thread_local uint64_t cell[WORDS];
	struct iovec from = { cell, CELL }, to = { cell_at(s, i, c), CELL };
	int pair[2];

	cell_fill(cell, tag);
	if (how == 0) {
		NEED(pipe2(pair, O_CLOEXEC) == 0 && write(pair[1], cell, CELL) == CELL && read(pair[0], to.iov_base, CELL) == CELL);
		close(pair[0]);
		close(pair[1]);
	} else if (how == 1) {
		unsigned f = below(r, FILE_PAGES);

		tag = file_tag(f, c);
		NEED(pread(file, to.iov_base, CELL, (off_t)f * PAGE + (off_t)c * CELL) == CELL);
	} else {
		NEED(process_vm_writev(getpid(), &from, 1, &to, 1, 0) == CELL);
	}
	s->page[i].tag[c] = tag;
	page_settle(s, i, c);
}

static void do_check(uint64_t *r, struct slot *s)
{
	struct part p = part_of(r, s);

	for (unsigned i = p.from; i < p.from + p.count; i++)
		page_check(s, i, "look");
}

static void do_dontneed(uint64_t *r, struct slot *s)
{
	struct part p = part_of(r, s);

	if (madvise(p.at, p.len, MADV_DONTNEED) != 0) /* it stops where something is locked */
		NEED(errno == EINVAL && munlock(home(s), (size_t)s->pages * PAGE) == 0 && madvise(p.at, p.len, MADV_DONTNEED) == 0);
	if (s->kind == ANON || s->kind == FILE_BACKED)
		for (unsigned i = p.from; i < p.from + p.count; i++)
			page_virgin(s, i);
	if (below(r, 2)) /* void, and there */
		do_check(r, s);
}

static void do_free(uint64_t *r, struct slot *s)
{
	struct part p = part_of(r, s);

	if (s->kind != ANON)
		return;
	madvise(p.at, p.len, MADV_FREE); /* it stops where something is locked */
	for (unsigned i = p.from; i < p.from + p.count; i++)
		s->page[i].maybe = true;
}

static void do_advise(uint64_t *r, struct slot *s)
{
	static const int advice[] = { MADV_PAGEOUT, MADV_COLD, MADV_HUGEPAGE, MADV_NOHUGEPAGE, 25 /* MADV_COLLAPSE */, MADV_WILLNEED, MADV_POPULATE_WRITE, MADV_POPULATE_READ };
	struct part p = part_of(r, s);
	int what = advice[below(r, sizeof(advice) / sizeof(advice[0]))];

	if (what == 25)
		madvise(home(s), (size_t)s->pages * PAGE, what);
	else
		madvise(p.at, p.len, what);
	if (what == MADV_POPULATE_WRITE)
		for (unsigned i = p.from; i < p.from + p.count; i++)
			if (s->page[i].maybe)
				page_check(s, i, "populated"); /* it may be kept or lost still */
}

static void do_lock(uint64_t *r, struct slot *s)
{
	struct part p = part_of(r, s);

	if (below(r, 3) == 0)
		mlock(p.at, p.len < 64 * PAGE ? p.len : 64 * PAGE);
	else
		munlock(home(s), (size_t)s->pages * PAGE);
}

static void do_mprotect(uint64_t *r, struct slot *s)
{
	struct part p = part_of(r, s);

	NEED(mprotect(p.at, p.len, below(r, 2) ? PROT_NONE : PROT_READ) == 0);
	s->no_access = true; /* for a while: see act_on */
	if (below(r, 3)) {
		NEED(mprotect(p.at, p.len, PROT_READ | PROT_WRITE) == 0);
		s->no_access = false;
	}
}

static void do_past_the_mapping(uint64_t *r, struct slot *s)
{
	unsigned i = below(r, s->pages), c = below(r, CELLS);
	uint64_t cell[WORDS];

	if (s->kind == SHARED_ANON && below(r, 2) == 0 && madvise(home(s) + (size_t)i * PAGE, PAGE, MADV_REMOVE) == 0) {
		page_virgin(s, i);
	} else if (s->kind == MEMFD && below(r, 3)) {
		s->page[i].tag[c] = new_tag(r);
		cell_fill(cell, s->page[i].tag[c]);
		NEED(pwrite(s->memfd, cell, CELL, (off_t)i * PAGE + (off_t)c * CELL) == CELL);
	} else if (s->kind == MEMFD && fallocate(s->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)i * PAGE, PAGE) == 0) {
		page_virgin(s, i);
	}
}

/* A child that looks at the slot as it was, and writes to it, while the parent goes on. Past the C library: what others hold of its locks is held for ever there. */
static void do_fork(uint64_t *r, struct slot *s)
{
	struct part p = part_of(r, s);
	bool private = s->kind == ANON || s->kind == FILE_BACKED;
	int status = 0;
	long pid;

	if (!children)
		return;
	pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid == 0) {
		for (unsigned i = p.from; private && i < p.from + p.count; i++) {
			if (!page_right(s, i))
				syscall(SYS_exit_group, 1);
			cell_fill(cell_at(s, i, 0), 77); /* the parent must not see it */
		}
		syscall(SYS_exit_group, 0);
	}
	if (!NEED(pid > 0))
		return;
	do_write(r, s);
	while (waitpid((pid_t)pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status != 0)
		fail("a child of slot %d kind %d pages %u+%u ended with %x", (int)(s - slots), s->kind, p.from, p.count, status);
}

static void forget(struct slot *s)
{
	if (s->kind == MEMFD)
		close(s->memfd);
	s->kind = EMPTY;
	s->pages = 0;
	s->no_access = false;
}

static void unmap_behind(struct slot *s, unsigned keep)
{
	NEED(munmap(home(s) + (size_t)keep * PAGE, (size_t)(s->pages - keep) * PAGE) == 0);
	s->pages = keep;
	if (!keep)
		forget(s);
}

static void do_unmap(uint64_t *r, struct slot *s)
{
	unmap_behind(s, below(r, 2) ? 0 : below(r, s->pages));
}

/* Another mapping in the middle of it. */
static void do_replace(uint64_t *r, struct slot *s)
{
	struct part p = part_of(r, s);

	if (s->kind != ANON)
		return;
	if (below(r, 2))
		NEED(munmap(p.at, p.len) == 0);
	NEED(mmap(p.at, p.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | (below(r, 4) ? 0 : MAP_POPULATE), -1, 0) == p.at);
	for (unsigned i = p.from; i < p.from + p.count; i++)
		page_virgin(s, i);
}

static void do_grow(uint64_t *r, struct slot *s)
{
	unsigned more;

	if ((s->kind != ANON && s->kind != FILE_BACKED) || s->pages == SLOT_PAGES)
		return;
	more = s->pages + 1 + below(r, SLOT_PAGES - s->pages);
	if (mremap(home(s), (size_t)s->pages * PAGE, (size_t)more * PAGE, 0) == MAP_FAILED) /* several mappings with different protection can't grow */
		return;
	for (unsigned i = s->pages; i < more; i++)
		page_virgin(s, i);
	s->pages = more;
}

/* Since Linux 6.17 a range of several mappings can be moved, and stops where one is watched by a userfaultfd: some of it has moved then. Both are emptied. */
static void clean_after_half_a_move(struct slot *from, struct slot *to)
{
	if (msync(home(to), PAGE, MS_ASYNC) != 0) /* nothing is there: it failed as a whole */
		return;
	NEED(munmap(home(to), SLOT_SIZE) == 0 && munmap(home(from), SLOT_SIZE) == 0);
	forget(from);
}

static void do_move(uint64_t *r, struct slot *s)
{
	struct slot *to = &slots[below(r, SLOTS)];
	size_t len = (size_t)s->pages * PAGE;
	bool leave = s->kind == ANON && below(r, 3) == 0;

	if (to == s || pthread_mutex_trylock(&to->lock) != 0)
		return;
	if (to->kind != EMPTY && below(r, 2) == 0)
		unmap_behind(to, 0);
	if (to->kind != EMPTY) {
		pthread_mutex_unlock(&to->lock);
		return;
	}
	if (mremap(home(s), len, len, MREMAP_MAYMOVE | MREMAP_FIXED | (leave ? MREMAP_DONTUNMAP : 0), home(to)) == MAP_FAILED) {
		clean_after_half_a_move(s, to);
	} else {
		to->kind = s->kind;
		to->pages = s->pages;
		to->file_from = s->file_from;
		to->memfd = s->memfd;
		to->no_access = s->no_access;
		memcpy(to->page, s->page, sizeof(s->page));
		if (leave) {
			for (unsigned i = 0; i < s->pages; i++)
				page_virgin(s, i);
		} else {
			s->kind = EMPTY;
			s->pages = 0;
		}
	}
	pthread_mutex_unlock(&to->lock);
}

static void do_map(uint64_t *r, struct slot *s)
{
	unsigned pages = below(r, 3) ? 1 + below(r, SLOT_PAGES) : SLOT_PAGES;
	size_t len = (size_t)pages * PAGE;
	int rw = PROT_READ | PROT_WRITE;
	void *at = home(s), *got = MAP_FAILED;

	if (s->pages > pages)
		NEED(munmap((char *)at + len, (size_t)(s->pages - pages) * PAGE) == 0);
	forget(s);
	s->kind = below(r, 2) ? ANON : ANON + (enum kind)below(r, KINDS - ANON);
	s->file_from = below(r, FILE_PAGES - SLOT_PAGES);
	if (s->kind == ANON) {
		got = mmap(at, len, rw, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	} else if (s->kind == FILE_BACKED) {
		got = mmap(at, len, rw, MAP_PRIVATE | MAP_FIXED, file, (off_t)s->file_from * PAGE);
	} else if (s->kind == SHARED_ANON) {
		got = mmap(at, len, rw, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	} else {
		s->memfd = memfd_create("nomad", MFD_CLOEXEC);
		NEED(s->memfd >= 0 && ftruncate(s->memfd, (off_t)len) == 0);
		got = mmap(at, len, rw, MAP_SHARED | MAP_FIXED, s->memfd, 0);
	}
	NEED(got == at);
	s->pages = pages;
	for (unsigned i = 0; i < pages; i++)
		page_virgin(s, i);
}

typedef void act_fn(uint64_t *, struct slot *);
static const struct { act_fn *act; unsigned weight; } acts[] = {
	{ do_write, 50 }, { do_write_by_kernel, 12 }, { do_check, 20 }, { do_dontneed, 10 }, { do_free, 3 }, { do_advise, 6 }, { do_mprotect, 4 }, { do_lock, 2 },
	{ do_past_the_mapping, 8 }, { do_fork, 1 }, { do_unmap, 4 }, { do_replace, 3 }, { do_grow, 4 }, { do_move, 5 }, { do_map, 2 },
};

static act_fn *choose(uint64_t *r)
{
	unsigned sum = 0, pick;

	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
		sum += acts[i].weight;
	pick = below(r, sum);
	for (size_t i = 0;; pick -= acts[i++].weight)
		if (pick < acts[i].weight)
			return acts[i].act;
}

static void give_access(struct slot *s)
{
	if (s->no_access)
		NEED(mprotect(home(s), (size_t)s->pages * PAGE, PROT_READ | PROT_WRITE) == 0);
	s->no_access = false;
}

static void act_on_brk(uint64_t *r)
{
	pthread_mutex_lock(&brk_lock);
	if (below(r, 4) == 0) {
		unsigned pages = below(r, BRK_PAGES);
		char *to = brk_start + (size_t)pages * PAGE;

		NEED(syscall(SYS_brk, to) == (long)to);
		for (unsigned i = brk_pages; i < pages; i++)
			brk_tag[i] = 0;
		brk_pages = pages;
	}
	for (unsigned n = 0; brk_pages && n < 8; n++) {
		unsigned i = below(r, brk_pages);

		if (!cell_is(brk_start + (size_t)i * PAGE, brk_tag[i]))
			fail("brk: page %u is wrong, tag %x, holds %llx", i, brk_tag[i], *(unsigned long long *)(void *)(brk_start + (size_t)i * PAGE));
		cell_fill(brk_start + (size_t)i * PAGE, brk_tag[i] = new_tag(r));
	}
	pthread_mutex_unlock(&brk_lock);
}

static void *actor(void *arg)
{
	uint64_t r = seed * 31 + (uint64_t)(intptr_t)arg;

	for (;;) {
		struct slot *s = &slots[below(&r, SLOTS)];

		if (below(&r, 25) == 0)
			act_on_brk(&r);
		pthread_mutex_lock(&s->lock);
		give_access(s);
		(s->kind == EMPTY ? do_map : choose(&r))(&r, s);
		pthread_mutex_unlock(&s->lock);
		dawdle(&r, 3000);
	}
	return NULL;
}

static void check_memory(void)
{
	for (int i = 0; i < SLOTS; i++) {
		struct slot *s = &slots[i];

		pthread_mutex_lock(&s->lock);
		give_access(s);
		for (unsigned p = 0; p < s->pages; p++)
			page_check(s, p, "all");
		pthread_mutex_unlock(&s->lock);
	}
}

/* ---- numbers that come in order: bytes through pipes and sockets, made anew all the time ---- */

enum channel_kind { PIPE, STREAM, SEQPACKET, DGRAM, CHANNELS };
struct channel { enum channel_kind kind; int r, w; uint32_t first, count; };
struct mailbox { pthread_mutex_t lock; pthread_cond_t changed; bool full; struct channel c; uint64_t rng[2]; };

static bool channel_open(struct channel *c, uint64_t *r)
{
	static const int types[] = { [STREAM] = SOCK_STREAM, [SEQPACKET] = SOCK_SEQPACKET, [DGRAM] = SOCK_DGRAM };
	int pair[2];

	c->kind = below(r, CHANNELS);
	if (c->kind == PIPE) {
		if (!NEED(pipe2(pair, O_CLOEXEC) == 0))
			return false;
	} else if (!NEED(socketpair(AF_UNIX, types[c->kind] | SOCK_CLOEXEC, 0, pair) == 0)) {
		return false;
	}
	c->r = pair[0];
	c->w = pair[1];
	c->first = (uint32_t)next_random(r);
	c->count = 1 + below(r, 20000);
	return true;
}

static void *pours(void *arg)
{
	struct mailbox *m = arg;
	uint64_t *r = &m->rng[0];
	static _Thread_local uint32_t buf[1024];

	for (;;) {
		struct channel c = { 0 };

		if (!channel_open(&c, r))
			return NULL;
		pthread_mutex_lock(&m->lock);
		while (m->full)
			pthread_cond_wait(&m->changed, &m->lock);
		m->c = c;
		m->full = true;
		pthread_cond_broadcast(&m->changed);
		pthread_mutex_unlock(&m->lock);
		for (uint32_t sent = 0; sent < c.count;) {
			uint32_t n = 1 + below(r, 1024);

			if (n > c.count - sent)
				n = c.count - sent;
			for (uint32_t i = 0; i < n; i++)
				buf[i] = c.first + sent + i;
			for (size_t at = 0; at < n * 4;) {
				ssize_t did = write(c.w, (char *)buf + at, n * 4 - at);

				if (did <= 0 && errno == EINTR)
					continue;
				if (!NEED(did > 0))
					return NULL;
				at += (size_t)did;
			}
			sent += n;
			dawdle(r, 5000);
		}
		/* A socket whose peer is gone does not move: the reader closes both, datagrams' after the last. */
		if (c.kind == PIPE)
			close(c.w);
		else if (c.kind != DGRAM)
			shutdown(c.w, SHUT_WR);
	}
	return NULL;
}

static void wait_for(int fd, uint64_t *r)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = 0xfeedface };
	unsigned how = below(r, 3);

	if (how == 0) {
		poll(&p, 1, 3600000);
	} else if (how == 1) {
		int ep = epoll_create1(EPOLL_CLOEXEC), rc;

		NEED(ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) == 0);
		e = (struct epoll_event){ 0 };
		rc = epoll_wait(ep, &e, 1, 3600000);
		NEED(rc == 1 ? e.data.u64 == 0xfeedface : rc < 0 && errno == EINTR);
		close(ep);
	}
}

static void *drains(void *arg)
{
	struct mailbox *m = arg;
	uint64_t *r = &m->rng[1];
	static _Thread_local uint32_t buf[1024];

	for (;;) {
		struct channel c;
		uint32_t got = 0;
		size_t over = 0;

		pthread_mutex_lock(&m->lock);
		while (!m->full)
			pthread_cond_wait(&m->changed, &m->lock);
		c = m->c;
		m->full = false;
		pthread_cond_broadcast(&m->changed);
		pthread_mutex_unlock(&m->lock);
		while (got < c.count) {
			ssize_t n;

			dawdle(r, 8000);
			wait_for(c.r, r);
			n = read(c.r, (char *)buf + over, (c.kind <= STREAM ? 1 + below(r, sizeof(buf) - 8) : sizeof(buf)) - (over < 4 && c.kind > STREAM ? over : 0));
			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0) {
				fail("channel kind %d: read gave %zd after %u of %u", (int)c.kind, n, got, c.count);
				return NULL;
			}
			over += (size_t)n;
			for (size_t i = 0; i < over / 4; i++, got++)
				if (buf[i] != c.first + got) {
					fail("channel kind %d: number %u is %x and not %x", (int)c.kind, got, buf[i], c.first + got);
					return NULL;
				}
			memmove(buf, (char *)buf + over / 4 * 4, over % 4);
			over %= 4;
		}
		if (c.kind != DGRAM)
			NEED(read(c.r, buf, sizeof(buf)) == 0);
		close(c.r);
		if (c.kind != PIPE)
			close(c.w);
	}
	return NULL;
}

/* ---- waits for each other: futexes, mutexes of each kind, eventfds ---- */

static uint32_t turn;
static void *ping_pong(void *arg)
{
	uint32_t me = (uint32_t)(intptr_t)arg;
	uint64_t r = seed + 500 + me;
	struct timespec hour = { .tv_sec = 3600 };

	for (uint32_t n = me;; n += 2) {
		uint32_t v;

		while ((v = __atomic_load_n(&turn, __ATOMIC_ACQUIRE)) != n) {
			long rc = syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, v, below(&r, 2) ? &hour : NULL, NULL, 0);

			NEED(rc == 0 || errno == EAGAIN || errno == EINTR);
		}
		dawdle(&r, 2000);
		__atomic_store_n(&turn, n + 1, __ATOMIC_RELEASE);
		syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	}
	return NULL;
}

static pthread_mutex_t shared_lock[3];
static uint64_t guarded[3][2];
static void *contends(void *arg)
{
	uint64_t r = seed + 600 + (uint64_t)(intptr_t)arg;

	for (;;) {
		unsigned i = below(&r, 3);

		if (!NEED(pthread_mutex_lock(&shared_lock[i]) == 0))
			return NULL;
		NEED(guarded[i][0] == guarded[i][1]);
		guarded[i][0]++;
		dawdle(&r, 1500);
		guarded[i][1]++;
		NEED(pthread_mutex_unlock(&shared_lock[i]) == 0);
	}
	return NULL;
}

static int counter_fd;
static atomic_ullong counted;
static void *counts_up(void *arg)
{
	uint64_t r = seed + 700, sum = 0;

	(void)arg;
	for (;;) {
		uint64_t n = 1 + below(&r, 100);

		NEED(write(counter_fd, &n, 8) == 8);
		sum += n;
		if (below(&r, 50) == 0)
			for (uint64_t until = now_ns() + 100000000000ull; counted != sum;) {
				nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
				if (now_ns() > until) {
					fail("eventfd: %llu of %llu came", (unsigned long long)counted, (unsigned long long)sum);
					return NULL;
				}
			}
		dawdle(&r, 4000);
	}
	return NULL;
}
static void *counts_down(void *arg)
{
	uint64_t r = seed + 701, n;

	(void)arg;
	for (;;) {
		ssize_t rc = read(counter_fd, &n, 8);

		if (NEED(rc == 8 || (rc < 0 && errno == EINTR)) && rc == 8)
			counted += n;
		dawdle(&r, 4000);
	}
	return NULL;
}

/* ---- time: nothing early, nothing twice, and it goes on ---- */

static void *sleeps(void *arg)
{
	uint64_t r = seed + 800, last = now_ns();

	(void)arg;
	for (;;) {
		long ns = (long)below(&r, 20000000);
		uint64_t began = now_ns(), ended;
		struct timespec abs = { .tv_sec = (time_t)((began + (uint64_t)ns) / 1000000000), .tv_nsec = (long)((began + (uint64_t)ns) % 1000000000) };
		struct pollfd none = { .fd = -1 };
		int rc = 0, how = (int)below(&r, 3);

		NEED(began >= last);
		if (how == 0)
			rc = nanosleep(&(struct timespec){ .tv_nsec = ns }, NULL);
		else if (how == 1)
			rc = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &abs, NULL);
		else
			rc = poll(&none, 1, (int)(ns / 1000000));
		ended = now_ns();
		if (how == 2)
			ns = ns / 1000000 * 1000000;
		if (rc != 0)
			fail("sleep %d of %ld ns ended with %d", how, ns, rc);
		if (ended - began < (uint64_t)ns)
			fail("sleep %d of %ld ns took %llu", how, ns, (unsigned long long)(ended - began));
		last = ended;
	}
	return NULL;
}

static void *timerfds(void *arg)
{
	uint64_t r = seed + 900;

	(void)arg;
	for (;;) {
		uint64_t every = 500000 + below(&r, 20000000), began, sum = 0, n, want = 1 + below(&r, 100);
		struct itimerspec its = { .it_interval.tv_nsec = (long)every, .it_value.tv_nsec = (long)every };
		int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

		began = now_ns();
		NEED(fd >= 0 && timerfd_settime(fd, 0, &its, NULL) == 0);
		while (sum < want) {
			ssize_t rc = read(fd, &n, 8);

			if (rc < 0 && errno == EINTR)
				continue;
			if (!NEED(rc == 8))
				return NULL;
			sum += n;
			if (sum * every > now_ns() - began)
				fail("timerfd: %llu times %llu ns in %llu ns", (unsigned long long)sum, (unsigned long long)every, (unsigned long long)(now_ns() - began));
			dawdle(&r, 30000);
		}
		close(fd);
	}
	return NULL;
}

static void *timers(void *arg)
{
	uint64_t r = seed + 1000;
	sigset_t set;

	(void)arg;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	for (;;) {
		uint64_t every = 1000000 + below(&r, 20000000), began, sum = 0, want = 1 + below(&r, 60);
		struct itimerspec its = { .it_interval.tv_nsec = (long)every, .it_value.tv_nsec = (long)every };
		struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 1, .sigev_value.sival_int = (int)below(&r, 1u << 30) };
		struct timespec patience = { .tv_sec = 100 };
		timer_t t;

		ev._sigev_un._tid = (pid_t)syscall(SYS_gettid);
		began = now_ns();
		if (!NEED(timer_create(CLOCK_MONOTONIC, &ev, &t) == 0) || !NEED(timer_settime(t, 0, &its, NULL) == 0))
			return NULL;
		while (sum < want) {
			siginfo_t info;

			if (sigtimedwait(&set, &info, &patience) < 0) {
				if (errno == EINTR)
					continue;
				fail("timer of %llu ns: nothing comes any more after %llu", (unsigned long long)every, (unsigned long long)sum);
				break;
			}
			if (info.si_value.sival_int != ev.sigev_value.sival_int)
				fail("timer: value %x and not %x", (unsigned)info.si_value.sival_int, (unsigned)ev.sigev_value.sival_int);
			sum += 1 + (uint64_t)info.si_overrun;
			if (sum * every > now_ns() - began)
				fail("timer: %llu times %llu ns in %llu ns", (unsigned long long)sum, (unsigned long long)every, (unsigned long long)(now_ns() - began));
			dawdle(&r, 30000);
		}
		timer_delete(t);
		/* One that was under way is nobody's now. */
		while (sigtimedwait(&set, NULL, &(struct timespec){ 0 }) > 0)
			;
	}
	return NULL;
}

/* ---- signals: queued ones come each, in order, with their values ---- */

static pthread_t receiver;
static atomic_uint received;
static void *takes_signals(void *arg)
{
	uint64_t r = seed + 1100;
	sigset_t set;
	unsigned want = 0;

	(void)arg;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 3);
	for (;;) {
		siginfo_t info;

		dawdle(&r, 3000);
		if (sigwaitinfo(&set, &info) < 0) {
			NEED(errno == EINTR);
			continue;
		}
		if ((unsigned)info.si_value.sival_int != want)
			fail("signal %x came and not %x", (unsigned)info.si_value.sival_int, want);
		NEED(info.si_code == SI_QUEUE && info.si_pid == getpid());
		want = (unsigned)info.si_value.sival_int + 1;
		received = want;
	}
	return NULL;
}

static atomic_uint handled;
static atomic_bool off_stack;
static unsigned char alternate[64 * 1024];
static void on_signal(int sig, siginfo_t *info, void *ctx)
{
	char here;

	(void)sig, (void)info, (void)ctx;
	if ((unsigned char *)&here < alternate || (unsigned char *)&here >= alternate + sizeof(alternate))
		off_stack = true;
	handled++;
}

static bool comes_to(atomic_uint *what, unsigned to)
{
	for (uint64_t until = now_ns() + 100000000000ull; *what != to;) {
		if (now_ns() > until)
			return false;
		nanosleep(&(struct timespec){ .tv_nsec = 300000 }, NULL);
	}
	return true;
}

static void *sends_signals(void *arg)
{
	uint64_t r = seed + 1101;
	unsigned sent = 0, to_main = 0;

	(void)arg;
	for (;;) {
		for (unsigned n = below(&r, 30); n > 0; n--) {
			NEED(pthread_sigqueue(receiver, SIGRTMIN + 3, (union sigval){ .sival_int = (int)sent++ }) == 0);
			dawdle(&r, 1000);
		}
		for (unsigned n = below(&r, 10); n > 0; n--, to_main++)
			NEED(sigqueue(getpid(), SIGRTMIN + 5, (union sigval){ .sival_int = 1 }) == 0);
		if (!comes_to(&received, sent) || !comes_to(&handled, to_main)) {
			fail("signals: %u of %u received, %u of %u handled", received, sent, handled, to_main);
			return NULL;
		}
		NEED(!off_stack);
	}
	return NULL;
}

/* ---- registers ---- */

static void *registers(void *arg)
{
	uint64_t r = seed + 1200;

	(void)arg;
	for (;;) {
		uint64_t a = next_random(&r), sum = 0, n = 1 + below(&r, 3000000);

		__asm__ volatile("movq %[a], %%xmm0\n pshufd $0x44, %%xmm0, %%xmm0\n movdqa %%xmm0, %%xmm1\n movdqa %%xmm0, %%xmm7\n movdqa %%xmm0, %%xmm15\n"
				 "movq %[a], %%r12\n movq %[a], %%r13\n movq %[a], %%r14\n movq %[a], %%r15\n fldpi\n stc\n"
				 "1: decq %[n]\n jnz 1b\n"
				 "sbbq %[sum], %[sum]\n"
				 "pxor %%xmm1, %%xmm7\n pxor %%xmm0, %%xmm15\n por %%xmm7, %%xmm15\n movq %%xmm15, %%r10\n orq %%r10, %[sum]\n psrldq $8, %%xmm15\n movq %%xmm15, %%r10\n orq %%r10, %[sum]\n"
				 "xorq %%r12, %%r13\n xorq %%r14, %%r15\n orq %%r13, %[sum]\n orq %%r15, %[sum]\n xorq %%r12, %%r14\n orq %%r14, %[sum]\n xorq %[a], %%r12\n orq %%r12, %[sum]\n"
				 "fldpi\n fucomip %%st(1), %%st\n je 2f\n xorq %[sum], %[sum]\n 2: fstp %%st(0)\n"
				 : [sum] "+&r"(sum), [n] "+&r"(n) : [a] "r"(a)
				 : "r10", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm7", "xmm15", "cc", "memory");
		if (sum != UINT64_MAX)
			fail("registers: %llx", (unsigned long long)sum);
		dawdle(&r, 2000);
	}
	return NULL;
}

/* ---- threads that come and go ---- */

struct guest { uint64_t r; uint64_t value; };
static _Thread_local uint64_t own;
static void *guest(void *arg)
{
	struct guest *g = arg;
	struct sched_param none = { 0 };
	char name[16];

	own = g->value;
	snprintf(name, sizeof(name), "g%x", (unsigned)g->value & 0xffffff);
	prctl(PR_SET_NAME, name);
	if (below(&g->r, 3) == 0)
		pthread_setschedparam(pthread_self(), SCHED_BATCH, &none);
	for (unsigned i = below(&g->r, 10); i > 0; i--) {
		char got[16] = "";

		dawdle(&g->r, 4000);
		prctl(PR_GET_NAME, got);
		NEED(own == g->value && strcmp(got, name) == 0);
	}
	return (void *)(uintptr_t)g->value;
}

static void *hosts_guests(void *arg)
{
	uint64_t r = seed + 1300;

	(void)arg;
	for (;;) {
		struct guest g[4];
		pthread_t t[4];
		unsigned n = 1 + below(&r, 4);

		for (unsigned i = 0; i < n; i++) {
			g[i] = (struct guest){ next_random(&r), next_random(&r) >> 1 };
			if (!NEED(pthread_create(&t[i], NULL, guest, &g[i]) == 0))
				return NULL;
		}
		for (unsigned i = 0; i < n; i++) {
			void *got = NULL;

			NEED(pthread_join(t[i], &got) == 0 && (uintptr_t)got == g[i].value);
		}
		dawdle(&r, 40000);
	}
	return NULL;
}

/* ---- files: offsets, flags, contents ---- */

static void *writes_files(void *arg)
{
	uint64_t r = seed + 1400;
	unsigned round = 0;

	(void)arg;
	for (;; round++) {
		char path[400], buf[256], back[256];
		off_t at = 0;
		int fd, other, append = below(&r, 2) ? O_APPEND : 0;

		snprintf(path, sizeof(path), "%s/file-%u", dir, round % 4);
		fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | append, 0600);
		other = dup(fd);
		if (!NEED(fd >= 0 && other >= 0))
			return NULL;
		for (unsigned n = below(&r, 60); n > 0; n--) {
			unsigned len = 1 + below(&r, sizeof(buf));

			memset(buf, (int)(n + round), len);
			NEED(write(below(&r, 2) ? fd : other, buf, len) == (ssize_t)len);
			dawdle(&r, 2000);
			NEED(pread(fd, back, len, at) == (ssize_t)len && memcmp(buf, back, len) == 0);
			at += len;
			if (lseek(other, 0, SEEK_CUR) != at)
				fail("file: at %lld and not %lld", (long long)lseek(other, 0, SEEK_CUR), (long long)at);
			NEED((fcntl(fd, F_GETFL) & O_APPEND) == append && (fcntl(fd, F_GETFD) & FD_CLOEXEC) && !(fcntl(other, F_GETFD) & FD_CLOEXEC));
		}
		close(fd);
		close(other);
	}
	return NULL;
}

/* ---- the whole ---- */

static void publish(const char *path, const char *text)
{
	char temporary[500];
	int fd;

	snprintf(temporary, sizeof(temporary), "%s.new", path);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, text, strlen(text)) < 0 || rename(temporary, path) < 0)
		abort();
	close(fd);
}

static void make_file(void)
{
	char path[400], page[PAGE];

	snprintf(path, sizeof(path), "%s/mapped", dir);
	file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	for (unsigned i = 0; i < FILE_PAGES; i++) {
		for (unsigned c = 0; c < CELLS; c++)
			cell_fill(page + (size_t)c * CELL, file_tag(i, c));
		if (write(file, page, PAGE) != PAGE)
			abort();
	}
}

static pthread_t begin(void *(*body)(void *), void *arg)
{
	pthread_t t;

	if (pthread_create(&t, NULL, body, arg) != 0)
		abort();
	return t;
}

static void begin_all(void)
{
	static struct mailbox boxes[3];
	static const int protocols[3] = { PTHREAD_PRIO_NONE, PTHREAD_PRIO_INHERIT, PTHREAD_PRIO_NONE };

	for (int i = 0; i < 3; i++) {
		pthread_mutexattr_t a;

		pthread_mutexattr_init(&a);
		pthread_mutexattr_setprotocol(&a, protocols[i]);
		if (i == 2)
			pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
		pthread_mutex_init(&shared_lock[i], &a);
	}
	for (int i = 0; i < 3; i++) {
		begin(contends, (void *)(intptr_t)i);
		boxes[i] = (struct mailbox){ .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .rng = { seed + 2000 + (unsigned)i, seed + 3000 + (unsigned)i } };
		begin(pours, &boxes[i]);
		begin(drains, &boxes[i]);
	}
	counter_fd = eventfd(0, EFD_CLOEXEC);
	begin(counts_up, NULL);
	begin(counts_down, NULL);
	begin(ping_pong, (void *)0);
	begin(ping_pong, (void *)1);
	begin(sleeps, NULL);
	begin(timerfds, NULL);
	begin(timers, NULL);
	receiver = begin(takes_signals, NULL);
	begin(sends_signals, NULL);
	begin(registers, NULL);
	begin(hosts_guests, NULL);
	begin(writes_files, NULL);
	for (int i = 0; i < ACTORS; i++)
		begin(actor, (void *)(intptr_t)i);
}

static volatile sig_atomic_t asked;
static void on_usr1(int sig)
{
	(void)sig;
	asked = 1;
}

static void handle_signals(void)
{
	stack_t ss = { .ss_sp = alternate, .ss_size = sizeof(alternate) };
	struct sigaction usr1 = { .sa_handler = on_usr1, .sa_flags = SA_RESTART }, queued = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL); /* each thread that begins inherits it */
	sigaltstack(&ss, NULL);
	sigaction(SIGUSR1, &usr1, NULL);
	sigaction(SIGRTMIN + 5, &queued, NULL);
}

static void report(void)
{
	static char text[4096];

	asked = 0;
	check_memory();
	pthread_mutex_lock(&wrong_lock);
	snprintf(text, sizeof(text), "{\"verdict\":\"%s\",\"why\":\"%s\"}\n", wrong[0] ? "wrong" : "right", wrong);
	pthread_mutex_unlock(&wrong_lock);
	publish(report_path, text);
}

static bool parse(int argc, char **argv)
{
	static const struct option options[] = { { "seed", 1, NULL, 's' }, { "dir", 1, NULL, 'd' }, { "beat", 1, NULL, 'b' }, { "report", 1, NULL, 'r' },
						 { "ready", 1, NULL, 'y' }, { "children", 0, NULL, 'c' }, { 0 } };

	for (int opt; (opt = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (opt) {
		case 's': seed = strtoull(optarg, NULL, 10); break;
		case 'd': dir = optarg; break;
		case 'b': beat_path = optarg; break;
		case 'r': report_path = optarg; break;
		case 'y': ready_path = optarg; break;
		case 'c': children = true; break;
		default: return false;
		}
	}
	return optind == argc && beat_path && report_path && ready_path;
}

int main(int argc, char **argv)
{
	sigset_t blocked;
	int beat;

	if (!parse(argc, argv))
		return 2;
	/* What the C library will want of the heap it has before the heap's end is played with. */
	mallopt(M_TOP_PAD, 4 << 20);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	mallopt(M_ARENA_MAX, 1);
	free(malloc(100000));
	make_file();
	beat = open(beat_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
	if (beat < 0)
		return 1;
	for (int i = 0; i < SLOTS; i++)
		pthread_mutex_init(&slots[i].lock, NULL);
	brk_start = (char *)((syscall(SYS_brk, 0) + PAGE - 1) & -(long)PAGE);
	handle_signals();
	begin_all();
	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	sigdelset(&blocked, SIGUSR1);
	sigdelset(&blocked, SIGRTMIN + 5);
	sigdelset(&blocked, SIGTERM);
	pthread_sigmask(SIG_SETMASK, &blocked, NULL);
	publish(ready_path, "");
	for (unsigned long long n = 1;; n++) {
		char line[32];
		int len = snprintf(line, sizeof(line), "%llu\n", n);

		if (write(beat, line, (size_t)len) != len)
			return 1;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		if (asked)
			report();
	}
}
