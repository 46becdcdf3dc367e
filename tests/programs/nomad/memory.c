/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/programs/nomad/nomad.h"

enum { PAGE = 4096, SLOTS = 20, SLOT_PAGES = 512, SLOT_SIZE = SLOT_PAGES * PAGE, CELLS = 4, CELL = PAGE / CELLS, WORDS = CELL / 8, FILE_PAGES = SLOT_PAGES + 64,
	BRK_PAGES = 400, ACTORS = 3 };
static char *const arena = (char *)0x210000000000; /* not where one bit flipped makes 0 of it: memory is staged like that */

/* A page is four cells, each of which is what its tag says; 0: zeros. */

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

void check_memory(void)
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

void begin_memory(void)
{
	make_file();
	for (int i = 0; i < SLOTS; i++)
		pthread_mutex_init(&slots[i].lock, NULL);
	brk_start = (char *)((syscall(SYS_brk, 0) + PAGE - 1) & -(long)PAGE);
	for (int i = 0; i < ACTORS; i++)
		begin(actor, (void *)(intptr_t)i);
}
