/* SPDX-License-Identifier: Apache-2.0 */
/* One thread forks while another moves memory whose pages are on their way, and the kernel tells of the two the other way round: the child reads the right
 * pages at the place where it has them, and so does its parent at its own.
 *
 * Which of the two is told of first is in our hands: each waits until we have heard of what it did to a second userfaultfd, `gate`. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pageserver/late/late_memory.h"

enum { PAGES = 64 };
#define SIZE ((size_t)PAGES << DRAY_PAGE_SHIFT)

/* Side by side: what the gate watches, where the memory is, where it moves to. */
struct scene {
	unsigned char *arena, *from, *to;
	int gate;
	struct late *late;
	pthread_t forker, mover;
	_Atomic pid_t child;
	_Atomic bool moved;
	bool over; /* the child is */
};

#define NEED(x) do { if (!(x)) { fprintf(stderr, "FAILED at line %d: %s: %s\n", __LINE__, #x, strerror(errno)); _exit(1); } } while (0)

static uint64_t contents(uint64_t page)
{
	return 0x9e3779b97f4a7c15ull * (page + 1);
}

static bool is_right(const unsigned char *base)
{
	for (uint64_t i = 0; i < PAGES; i++) {
		uint64_t v;

		memcpy(&v, base + (i << DRAY_PAGE_SHIFT), sizeof(v));
		if (v != contents(i))
			return false;
	}
	return true;
}

static bool is_mapped(const unsigned char *base)
{
	unsigned char vec[PAGES];

	return mincore((void *)(uintptr_t)base, SIZE, vec) == 0;
}

/* ---- the process: two threads, and a child that finds the memory where it has it ---- */

static void *forker_main(void *arg)
{
	struct scene *s = arg;
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL); /* fork() would keep the heap from who gives the pages */

	if (pid == 0) /* it ends when we do: nobody keeps it from its pages then */
		_exit(is_right(is_mapped(s->from) ? s->from : s->to) ? 0 : 1);
	NEED(pid > 0);
	s->child = pid;
	return NULL;
}

static void *mover_main(void *arg)
{
	struct scene *s = arg;

	NEED(mremap(s->from, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, s->to) == s->to);
	s->moved = true;
	return NULL;
}

/* ---- who gives the pages ---- */

struct queue { uint64_t addr[4 * PAGES]; size_t count; };
static struct queue asked;

static void want(void *arg, uint64_t addr)
{
	(void)arg;
	NEED(asked.count < sizeof(asked.addr) / sizeof(asked.addr[0]));
	asked.addr[asked.count++] = addr;
}

static void hear(struct scene *s)
{
	struct pollfd p = { .fd = late_fd(s->late), .events = POLLIN };
	struct err e = { 0 };

	poll(&p, 1, 1);
	if (late_events(s->late, &e) < 0) {
		fprintf(stderr, "FAILED: %s\n", e.text);
		_exit(1);
	}
}

static void give(struct scene *s, uint64_t addr)
{
	unsigned char data[DRAY_PAGE_SIZE] = { 0 };
	uint64_t v = contents((addr - (uint64_t)(uintptr_t)s->from) >> DRAY_PAGE_SHIFT);
	struct err e = { 0 };

	memcpy(data, &v, sizeof(v));
	if (late_place(s->late, addr, 1, data, &e) < 0) {
		fprintf(stderr, "FAILED: %s\n", e.text);
		_exit(1);
	}
}

static void make_gate(struct scene *s, uint64_t features, const unsigned char *watched)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	struct uffdio_register r = { .range = { .start = (uint64_t)(uintptr_t)watched, .len = SIZE }, .mode = UFFDIO_REGISTER_MODE_MISSING };

	s->gate = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	NEED(s->gate >= 0 && ioctl(s->gate, UFFDIO_API, &api) == 0 && ioctl(s->gate, UFFDIO_REGISTER, &r) == 0);
}

static void await_at_gate(const struct scene *s)
{
	struct pollfd p = { .fd = s->gate, .events = POLLIN };

	NEED(poll(&p, 1, -1) == 1);
}

static void open_gate(const struct scene *s)
{
	struct uffd_msg m;

	NEED(read(s->gate, &m, sizeof(m)) == sizeof(m));
	if (m.event == UFFD_EVENT_FORK)
		close((int)m.arg.fork.ufd);
}

static void set_up(struct scene *s)
{
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct page_run run = { .pages = PAGES, .kind = RUN_DATA };
	struct err e = { 0 };

	if (uffd < 0) {
		printf("userfaultfd: %s\n", strerror(errno));
		exit(77);
	}
	*s = (struct scene){ .arena = mmap(NULL, 6 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) };
	NEED(s->arena != MAP_FAILED);
	s->from = s->arena + 2 * SIZE;
	s->to = s->arena + 4 * SIZE;
	NEED(mprotect(s->arena, SIZE, PROT_READ | PROT_WRITE) == 0 && mprotect(s->from, SIZE, PROT_READ | PROT_WRITE) == 0);
	run.addr = (uint64_t)(uintptr_t)s->from;
	s->late = late_create(uffd, want, NULL, &e);
	NEED(s->late && late_register(s->late, run.addr, run.addr + SIZE, &run, 1, &e) == 0);
}

static bool ended_right(struct scene *s)
{
	int status;

	if (s->over || s->child == 0 || waitpid(s->child, &status, WNOHANG) != s->child)
		return s->over;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fprintf(stderr, "FAILED: the child read what is wrong\n");
		_exit(1);
	}
	s->over = true;
	return true;
}

static void end(struct scene *s)
{
	while (!ended_right(s) || !s->moved || asked.count > 0) {
		hear(s);
		while (asked.count > 0)
			give(s, asked.addr[--asked.count]);
	}
	pthread_join(s->forker, NULL);
	pthread_join(s->mover, NULL);
	for (uint64_t i = 0; i < PAGES; i++)
		give(s, (uint64_t)(uintptr_t)s->from + (i << DRAY_PAGE_SHIFT));
	NEED(is_right(s->to) && late_missing(s->late) == 0);
	late_destroy(s->late);
	close(s->gate);
	munmap(s->arena, 6 * SIZE);
}

static void forked_then_moved(void)
{
	struct scene s;

	set_up(&s);
	make_gate(&s, UFFD_FEATURE_EVENT_FORK, s.arena); /* below the memory: of it the kernel tells first */
	pthread_create(&s.forker, NULL, forker_main, &s);
	await_at_gate(&s);
	pthread_create(&s.mover, NULL, mover_main, &s);
	while (!s.moved)
		hear(&s);
	NEED(s.child == 0);
	open_gate(&s);
	end(&s);
	printf("forked, then moved, told the other way round: right\n");
}

static bool waits_for_a_page(pid_t pid)
{
	char path[32], text[64] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/wchan", (int)pid);
	f = fopen(path, "r");
	if (!f)
		return false;
	if (!fgets(text, sizeof(text), f))
		text[0] = '\0';
	fclose(f);
	return strcmp(text, "handle_userfault") == 0;
}

static void moved_then_forked(void)
{
	struct scene s;

	set_up(&s);
	NEED(mprotect(s.to, SIZE, PROT_READ | PROT_WRITE) == 0);
	make_gate(&s, UFFD_FEATURE_EVENT_UNMAP, s.to); /* that what was there is gone is told before the move */
	pthread_create(&s.mover, NULL, mover_main, &s);
	await_at_gate(&s);
	pthread_create(&s.forker, NULL, forker_main, &s);
	while (s.child == 0)
		hear(&s);
	NEED(!s.moved);
	while (!waits_for_a_page(s.child) && !ended_right(&s))
		hear(&s);
	for (unsigned i = 0; i < 10; i++)
		hear(&s);
	open_gate(&s);
	end(&s);
	printf("moved, then forked, told the other way round: right\n");
}

int main(void)
{
	forked_then_moved();
	moved_then_forked();
	return 0;
}
