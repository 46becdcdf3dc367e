/* SPDX-License-Identifier: Apache-2.0 */
/* While its pages are on their way a process maps, moves, discards and forks as ever: each page that it reads is the right one.
 *
 * One thread is the process, the main thread gives pages: what is asked for, and in between one that nobody asked for. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pageserver/late/late_memory.h"

enum { PAGES = 512, ABSENT_FROM = 448 /* pages that the source never had */ };
#define SIZE ((size_t)PAGES << DRAY_PAGE_SHIFT)

static unsigned char *region;
static uint64_t name; /* the region's address, as the source calls it */
static _Atomic bool done, failed;

#define CHECK(x) do { if (!(x)) { fprintf(stderr, "FAILED at line %d: %s\n", __LINE__, #x); failed = true; } } while (0)

static uint64_t contents(uint64_t page)
{
	return page < ABSENT_FROM ? 0x9e3779b97f4a7c15ull * (page + 1) : 0;
}

static uint64_t at(const unsigned char *base, uint64_t page)
{
	uint64_t v;

	memcpy(&v, base + (page << DRAY_PAGE_SHIFT) + 64, sizeof(v));
	return v;
}

static int child_reads(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		for (uint64_t p = 300; p < 330; p++)
			if (at(region, p) != contents(p))
				_exit(1);
		_exit(0);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void *process_main(void *arg)
{
	unsigned char *moved = arg, *back;
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC), pair[2];

	CHECK(at(region, 5) == contents(5));
	CHECK(at(region, 500) == 0);
	CHECK(child_reads() == 0);
	CHECK(at(region, 310) == contents(310)); /* given to both, or to the child alone: still right here */
	/* The kernel reads a page for us. */
	CHECK(pipe(pair) == 0 && write(pair[1], region + (200 << DRAY_PAGE_SHIFT) + 64, 8) == 8);
	{
		uint64_t v = 0;

		CHECK(read(pair[0], &v, sizeof(v)) == sizeof(v) && v == contents(200));
	}
	back = mremap(region + (100 << DRAY_PAGE_SHIFT), (size_t)50 << DRAY_PAGE_SHIFT, (size_t)50 << DRAY_PAGE_SHIFT, MREMAP_MAYMOVE | MREMAP_FIXED,
		      moved);
	CHECK(back == moved);
	for (uint64_t p = 100; p < 150; p += 7)
		CHECK(at(moved, p - 100) == contents(p));
	CHECK(madvise(region + (160 << DRAY_PAGE_SHIFT), (size_t)10 << DRAY_PAGE_SHIFT, MADV_DONTNEED) == 0);
	for (uint64_t p = 160; p < 170; p++)
		CHECK(at(region, p) == 0);
	CHECK(munmap(region + (180 << DRAY_PAGE_SHIFT), (size_t)10 << DRAY_PAGE_SHIFT) == 0);
	region[(400ull << DRAY_PAGE_SHIFT) + 64] ^= 1; /* a write to an absent page keeps the rest of it */
	CHECK(at(region, 400) == (contents(400) ^ 1));
	close(null);
	close(pair[0]);
	close(pair[1]);
	done = true;
	return NULL;
}

struct queue { uint64_t addr[4096]; size_t count; };

static void want(void *arg, uint64_t addr)
{
	struct queue *q = arg;

	CHECK(q->count < sizeof(q->addr) / sizeof(q->addr[0]));
	q->addr[q->count++] = addr;
}

static void give(struct late *l, uint64_t page)
{
	unsigned char data[DRAY_PAGE_SIZE] = { 0 };
	uint64_t v = contents(page);
	struct err e = { 0 };

	memcpy(data + 64, &v, sizeof(v));
	CHECK(late_place(l, name + (page << DRAY_PAGE_SHIFT), 1, data, &e) == 0);
}

/* Many pages at once, over a place where a mapping was split: of that no event tells. */
static void give_over_a_split(struct late *l)
{
	static unsigned char data[20 << DRAY_PAGE_SHIFT];
	struct err e = { 0 };

	CHECK(mprotect(region + (367 << DRAY_PAGE_SHIFT), DRAY_PAGE_SIZE, PROT_READ) == 0);
	for (uint64_t i = 0; i < 20; i++) {
		uint64_t v = contents(360 + i);

		memcpy(data + (i << DRAY_PAGE_SHIFT) + 64, &v, sizeof(v));
	}
	CHECK(late_place(l, name + (360 << DRAY_PAGE_SHIFT), 20, data, &e) == 0);
}

int main(void)
{
	static struct queue q;
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	unsigned char *moved;
	struct page_run run;
	struct err e = { 0 };
	struct late *l;
	pthread_t thread;

	if (uffd < 0) {
		printf("userfaultfd: %s\n", strerror(errno));
		return 77;
	}
	region = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	moved = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (region == MAP_FAILED || moved == MAP_FAILED)
		return 1;
	name = (uint64_t)(uintptr_t)region;
	run = (struct page_run){ .addr = name, .pages = ABSENT_FROM, .kind = RUN_DATA };
	l = late_create(uffd, want, &q, &e);
	if (!l || late_register(l, name, name + SIZE, &run, 1, &e) < 0) {
		fprintf(stderr, "%s\n", e.text);
		return 1;
	}
	give_over_a_split(l);
	pthread_create(&thread, NULL, process_main, moved);
	for (uint64_t unasked = ABSENT_FROM; !failed && (!done || late_missing(l) > 0);) {
		struct pollfd p = { .fd = late_fd(l), .events = POLLIN };

		poll(&p, 1, 1);
		CHECK(late_events(l, &e) == 0);
		while (q.count > 0)
			give(l, (q.addr[--q.count] - name) >> DRAY_PAGE_SHIFT);
		if (done && unasked > 0)
			give(l, --unasked);
	}
	if (failed)
		_exit(1); /* the other thread may wait for ever */
	pthread_join(thread, NULL);
	late_destroy(l);
	for (uint64_t p = 0; p < PAGES; p++)
		if ((p < 100 || p >= 150) && (p < 160 || p >= 190) && p != 400)
			CHECK(at(region, p) == contents(p));
	return failed ? 1 : 0;
}
