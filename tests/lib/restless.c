/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/restless.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/die_with.h"
#include "proto/base/io.h"

/* Slots lie side by side, each as large as a huge page, so that neighbours merge and split; what is moved comes to where others were. */
enum { SLOTS = 24, SLOT_PAGES = 512, PAGE = 4096, SLOT_SIZE = SLOT_PAGES * PAGE, FILE_PAGES = SLOT_PAGES + 64, THREADS = 3 };
static char *const arena = (char *)0x200000000000; /* outside of what sanitizers keep for themselves */

enum content { EMPTY, ANON, FILE_BACKED, MEMFD, SHARED_ANON };

struct slot {
	pthread_mutex_t lock;
	enum content content;
	unsigned pages;
	int memfd;
	bool no_access;
};
struct world {
	struct slot slot[SLOTS];
	pthread_mutex_t brk_lock;
	char *brk_start;
	unsigned brk_pages;
	int file;
	volatile uint64_t *ops;
	uint64_t seed;
};
struct actor {
	struct world *world;
	uint64_t rng;
};

static uint64_t next_random(uint64_t *s)
{
	uint64_t z = *s += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static unsigned below(struct actor *a, unsigned n)
{
	return (unsigned)(next_random(&a->rng) % n);
}

static char *home(const struct world *w, const struct slot *s)
{
	return arena + (size_t)(s - w->slot) * SLOT_SIZE;
}

/* Some part of the slot: page from, *count pages. */
static char *part(struct actor *a, struct slot *s, size_t *len)
{
	unsigned from = below(a, s->pages), count = 1 + below(a, below(a, 4) ? 8 : s->pages);

	if (count > s->pages - from)
		count = s->pages - from;
	*len = (size_t)count * PAGE;
	return home(a->world, s) + (size_t)from * PAGE;
}

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "restless: %s: %s\n", what, strerror(errno));
	_exit(3);
}

/* ---- what it does to a slot that holds something ---- */

static void do_write(struct actor *a, struct slot *s)
{
	size_t len;
	char *p = part(a, s, &len);

	for (size_t at = 0; at < len; at += PAGE)
		*(uint64_t *)(p + at + below(a, PAGE / 8) * 8) = next_random(&a->rng);
}

static void do_read(struct actor *a, struct slot *s)
{
	size_t len;
	char *p = part(a, s, &len);

	for (size_t at = 0; at < len; at += PAGE)
		*(volatile char *)(p + at);
}

static void do_dontneed(struct actor *a, struct slot *s)
{
	size_t len;
	char *p = part(a, s, &len);

	must(madvise(p, len, MADV_DONTNEED) == 0, "MADV_DONTNEED");
	if (below(a, 2)) /* void and there: the zero page, or the file's */
		*(volatile char *)p;
}

static void do_pageout(struct actor *a, struct slot *s)
{
	size_t len;
	char *p = part(a, s, &len);

	madvise(p, len, MADV_PAGEOUT);
}

static void do_mprotect(struct actor *a, struct slot *s)
{
	size_t len;
	char *p = part(a, s, &len);

	must(mprotect(p, len, below(a, 2) ? PROT_NONE : PROT_READ) == 0, "mprotect");
	if (below(a, 3)) {
		must(mprotect(p, len, PROT_READ | PROT_WRITE) == 0, "mprotect back");
		return;
	}
	s->no_access = true; /* for a while: see act_on */
}

static void do_huge(struct actor *a, struct slot *s)
{
	madvise(home(a->world, s), (size_t)s->pages * PAGE, below(a, 3) ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	if (s->pages == SLOT_PAGES && s->content == ANON && below(a, 2)) {
		must(madvise(home(a->world, s), SLOT_SIZE, MADV_DONTNEED) == 0, "MADV_DONTNEED");
		*home(a->world, s) = (char)below(a, 256);
	}
}

static void do_past_the_mapping(struct actor *a, struct slot *s)
{
	char buf[PAGE];
	off_t at = (off_t)below(a, s->pages) * PAGE;

	if (s->content != MEMFD)
		return;
	memset(buf, (int)below(a, 256), sizeof(buf));
	if (below(a, 3))
		must(pwrite(s->memfd, buf, sizeof(buf), at) == PAGE, "pwrite");
	else
		must(fallocate(s->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, PAGE) == 0, "punch");
}

static void do_fork(struct actor *a, struct slot *s)
{
	size_t len;
	char *p = part(a, s, &len);
	bool private = s->content == ANON || s->content == FILE_BACKED;
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	int status;

	/* Past the C library: what other threads hold of its locks, or of a sanitizer's, is held for ever in the child. */
	if (pid == 0) {
		for (size_t at = 0; private && at < len; at += PAGE)
			*(volatile uint64_t *)(p + at) = 0xee; /* the parent must not see it */
		syscall(SYS_exit_group, 0);
	}
	must(pid > 0, "fork");
	do_write(a, s);
	must(waitpid(pid, &status, 0) == pid && status == 0, "child");
}

static void unmap_behind(const struct actor *a, struct slot *s, unsigned keep)
{
	must(munmap(home(a->world, s) + (size_t)keep * PAGE, (size_t)(s->pages - keep) * PAGE) == 0, "munmap");
	s->pages = keep;
	if (keep)
		return;
	if (s->content == MEMFD)
		close(s->memfd);
	s->content = EMPTY;
}

static void do_unmap(struct actor *a, struct slot *s)
{
	unmap_behind(a, s, below(a, 2) ? 0 : below(a, s->pages));
}

static void do_grow(struct actor *a, struct slot *s)
{
	size_t now = (size_t)s->pages * PAGE, more = (size_t)(s->pages + 1 + below(a, SLOT_PAGES - s->pages)) * PAGE;

	if (s->content != ANON && s->content != FILE_BACKED)
		return;
	if (mremap(home(a->world, s), now, more, 0) != MAP_FAILED) /* several mappings with different protection can't grow */
		s->pages = (unsigned)(more / PAGE);
}

/* Since Linux 6.17 a range of several mappings can be moved, and stops where one is watched by a userfaultfd: some of it has moved then, and is no more
 * where it was. Nothing is known of either place, so both are emptied. */
static void clean_after_half_a_move(struct actor *a, struct slot *from, struct slot *to)
{
	if (msync(home(a->world, to), PAGE, MS_ASYNC) != 0) /* nothing is there: it failed as a whole */
		return;
	must(munmap(home(a->world, to), SLOT_SIZE) == 0 && munmap(home(a->world, from), SLOT_SIZE) == 0, "munmap");
	if (from->content == MEMFD)
		close(from->memfd);
	from->content = EMPTY;
	from->pages = 0;
}

/* To an empty slot, or one that is emptied for it: what was sent of that is still remembered. The place that is left may be filled by a copy (DONTUNMAP leaves the mapping without pages). */
static void do_move(struct actor *a, struct slot *s)
{
	struct slot *to = &a->world->slot[below(a, SLOTS)];
	size_t len = (size_t)s->pages * PAGE;
	bool leave = s->content == ANON && below(a, 3) == 0;

	if (to == s || pthread_mutex_trylock(&to->lock) != 0)
		return;
	if (to->content != EMPTY && below(a, 2) == 0) {
		unmap_behind(a, to, 0);
		to->no_access = false;
	}
	if (to->content == EMPTY) {
		if (mremap(home(a->world, s), len, len, MREMAP_MAYMOVE | MREMAP_FIXED | (leave ? MREMAP_DONTUNMAP : 0), home(a->world, to)) == MAP_FAILED) {
			clean_after_half_a_move(a, s, to);
		} else {
			to->content = s->content;
			to->pages = s->pages;
			to->memfd = s->memfd;
			if (!leave) {
				s->content = EMPTY;
				s->pages = 0;
			}
		}
	}
	pthread_mutex_unlock(&to->lock);
}

/* Maps something over the slot, whatever it holds. */
static void do_map(struct actor *a, struct slot *s)
{
	unsigned pages = below(a, 3) ? 1 + below(a, SLOT_PAGES) : SLOT_PAGES;
	size_t len = (size_t)pages * PAGE;
	int fixed = MAP_FIXED, rw = PROT_READ | PROT_WRITE;
	enum content content = ANON + (enum content)(below(a, 2) ? 0 : below(a, 4));
	void *at = home(a->world, s), *got = MAP_FAILED;

	if (s->content == MEMFD)
		close(s->memfd);
	if (s->pages > pages)
		must(munmap((char *)at + len, (size_t)(s->pages - pages) * PAGE) == 0, "munmap");
	if (content == ANON) {
		got = mmap(at, len, rw, MAP_PRIVATE | MAP_ANONYMOUS | fixed, -1, 0);
	} else if (content == FILE_BACKED) {
		got = mmap(at, len, rw, MAP_PRIVATE | fixed, a->world->file, (off_t)below(a, 32) * PAGE);
	} else if (content == SHARED_ANON) {
		got = mmap(at, len, rw, MAP_SHARED | MAP_ANONYMOUS | fixed, -1, 0);
	} else {
		s->memfd = memfd_create("restless", MFD_CLOEXEC);
		must(s->memfd >= 0 && ftruncate(s->memfd, (off_t)len) == 0, "memfd");
		got = mmap(at, len, rw, MAP_SHARED | fixed, s->memfd, 0);
	}
	must(got == at, "mmap");
	s->content = content;
	s->pages = pages;
	s->no_access = false;
}

typedef void act_fn(struct actor *, struct slot *);
static const struct { act_fn *act; unsigned weight; } acts[] = {
	{ do_write, 50 }, { do_read, 8 }, { do_dontneed, 10 }, { do_pageout, 2 }, { do_mprotect, 4 }, { do_huge, 3 },
	{ do_past_the_mapping, 8 }, { do_fork, 1 }, { do_unmap, 4 }, { do_grow, 4 }, { do_move, 5 }, { do_map, 2 },
};

static act_fn *choose(struct actor *a)
{
	unsigned sum = 0, pick;

	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
		sum += acts[i].weight;
	pick = below(a, sum);
	for (size_t i = 0;; pick -= acts[i++].weight)
		if (pick < acts[i].weight)
			return acts[i].act;
}

static void act_on(struct actor *a, struct slot *s)
{
	act_fn *act = s->content == EMPTY ? do_map : choose(a);

	if (s->no_access) {
		must(mprotect(home(a->world, s), (size_t)s->pages * PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect back");
		s->no_access = false;
	}
	if (act == do_grow && s->pages == SLOT_PAGES)
		act = do_write;
	act(a, s);
}

static void act_on_brk(struct actor *a)
{
	struct world *w = a->world;
	unsigned pages = below(a, 4) ? w->brk_pages : below(a, 600);

	pthread_mutex_lock(&w->brk_lock);
	if (pages != w->brk_pages)
		must(syscall(SYS_brk, w->brk_start + (size_t)pages * PAGE) == (long)(w->brk_start + (size_t)pages * PAGE), "brk");
	w->brk_pages = pages;
	for (unsigned i = 0; pages && i < 8; i++)
		*(uint64_t *)(w->brk_start + (size_t)below(a, pages) * PAGE) = next_random(&a->rng);
	pthread_mutex_unlock(&w->brk_lock);
}

static void *act_for_ever(void *arg)
{
	struct actor *a = arg;

	for (;;) {
		struct slot *s = &a->world->slot[below(a, SLOTS)];

		if (below(a, 20) == 0) {
			act_on_brk(a);
		} else {
			pthread_mutex_lock(&s->lock);
			act_on(a, s);
			pthread_mutex_unlock(&s->lock);
		}
		__atomic_add_fetch(a->world->ops, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* A file whose every page is different, already without a name. */
static int make_file(uint64_t seed)
{
	char name[] = "/tmp/restless-XXXXXX";
	int fd = mkstemp(name);
	uint64_t page[PAGE / 8];

	must(fd >= 0 && unlink(name) == 0, "file");
	for (unsigned i = 0; i < FILE_PAGES; i++) {
		for (unsigned j = 0; j < PAGE / 8; j++)
			page[j] = next_random(&seed);
		must(write_full(fd, page, sizeof(page)) == 0, "file");
	}
	return fd;
}

static void live(pid_t test, uint64_t seed, volatile uint64_t *ops, int sock, bool want_uffd)
{
	static struct world w;
	static struct actor actors[THREADS];

	must(die_with(test, SIGKILL), "parent");
	/* The process's own memory is tracked too, so nothing of its start is kept out of the arena's games. */
	w = (struct world){ .brk_lock = PTHREAD_MUTEX_INITIALIZER, .file = make_file(seed), .ops = ops, .seed = seed };
	for (int i = 0; i < SLOTS; i++)
		pthread_mutex_init(&w.slot[i].lock, NULL);
	w.brk_start = (char *)((syscall(SYS_brk, 0) + PAGE - 1) & -(long)PAGE);
	if (want_uffd) {
		int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

		must(uffd >= 0 && send_fds(sock, "u", 1, &uffd, 1) == 0, "userfaultfd");
		close(uffd);
	}
	close(sock);
	for (int i = 0; i < THREADS; i++) {
		pthread_t thread;

		actors[i] = (struct actor){ .world = &w, .rng = seed * 31 + (uint64_t)i };
		if (i + 1 == THREADS)
			act_for_ever(&actors[i]);
		must(pthread_create(&thread, NULL, act_for_ever, &actors[i]) == 0, "thread");
	}
}

/* ---- the other side ---- */

int restless_start(struct restless *r, uint64_t seed, bool want_uffd)
{
	cleanup_fd int mine = -1, its = -1;
	int pair[2], got = 0;
	pid_t test = getpid();
	char byte;

	*r = (struct restless){ .uffd = -1 };
	r->ops = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r->ops == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		perror("restless");
		return -1;
	}
	mine = pair[0];
	its = pair[1];
	r->pid = fork();
	if (r->pid == 0) {
		close(mine);
		live(test, seed, r->ops, its, want_uffd);
		_exit(4);
	}
	close(steal_fd(&its));
	if (r->pid < 0 || (want_uffd && (recv_fds(mine, &byte, 1, &r->uffd, 1, &got) != 1 || got != 1))) {
		fprintf(stderr, "restless: no start\n");
		restless_end(r);
		return -1;
	}
	return 0;
}

int restless_await(const struct restless *r, uint64_t n)
{
	uint64_t until = *r->ops + n;

	while (*r->ops < until) {
		if (waitpid(r->pid, NULL, WNOHANG) == r->pid) {
			fprintf(stderr, "restless: it died\n");
			return -1;
		}
		nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL); /* it has the processors to itself meanwhile */
	}
	return 0;
}

int restless_stop(const struct restless *r)
{
	int status;

	return kill(r->pid, SIGSTOP) == 0 && waitpid(r->pid, &status, WUNTRACED) == r->pid && WIFSTOPPED(status) ? 0 : -1;
}

int restless_continue(const struct restless *r)
{
	return kill(r->pid, SIGCONT);
}

void restless_end(struct restless *r)
{
	if (r->pid > 0) {
		kill(r->pid, SIGKILL);
		waitpid(r->pid, NULL, 0);
	}
	if (r->uffd >= 0)
		close(r->uffd);
	if (r->ops && r->ops != MAP_FAILED)
		munmap((void *)(uintptr_t)r->ops, PAGE);
	*r = (struct restless){ .uffd = -1 };
}
