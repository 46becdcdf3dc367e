/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that touch the same absent pages at once, in memory for huge pages too, while others move, discard, unmap and fork theirs and pages that
 * nobody asked for arrive all the time: each reads what the source had.
 *
 * A child of this program is the process, this one gives it pages. */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pageserver/late/late_memory.h"
#include "proto/base/io.h"
#include "tests/lib/late_rig.h"

enum { READERS = 8, MOVERS = 3, HUGE_PAGES = 512, SHARED_PAGES = 2 * HUGE_PAGES, OWN_PAGES = 512, PIECE = 32,
       PAGES = SHARED_PAGES + MOVERS * OWN_PAGES, ROUNDS = 16 /* what the kernel does between two looks of ours is met once in some forty */ };
#define BYTES(pages) ((size_t)(pages) << DRAY_PAGE_SHIFT)

/* The first SHARED_PAGES are for huge pages, and read by all; then each mover has its own. */
static unsigned char *region;
static unsigned char *away_of[MOVERS]; /* mapped before anything moves: nobody maps what fills a hole meanwhile */
static pthread_barrier_t begin;

static uint64_t read_at(const unsigned char *p)
{
	uint64_t v;

	memcpy(&v, p + 1024, sizeof(v));
	return v;
}

/* ---- the process ---- */

static void *reader_main(void *arg)
{
	/* odd: comes to all */
	uint64_t step = 2 * (uint64_t)(uintptr_t)arg + 37;

	pthread_barrier_wait(&begin);
	for (uint64_t i = 0, page = 0; i < SHARED_PAGES; i++, page = (page + step) % SHARED_PAGES)
		NEED(read_at(region + BYTES(page)) == late_contents(page));
	return NULL;
}

static void forked_reads(const unsigned char *piece, uint64_t first)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		for (uint64_t i = 0; i < PIECE; i += 5)
			NEED(read_at(piece + BYTES(i)) == late_contents(first + i));
		_exit(0);
	}
	NEED(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

/* A piece is moved to and fro, then read, discarded or unmapped. */
static void *mover_main(void *arg)
{
	uint64_t first = SHARED_PAGES + (uint64_t)(uintptr_t)arg * OWN_PAGES;
	unsigned char *away = away_of[(uintptr_t)arg];

	pthread_barrier_wait(&begin);
	for (uint64_t p = first; p < first + OWN_PAGES; p += PIECE) {
		unsigned char *home = region + BYTES(p);

		for (unsigned i = 0; i < 4; i++) {
			NEED(mremap(home, BYTES(PIECE), BYTES(PIECE), MREMAP_MAYMOVE | MREMAP_FIXED, away) == away);
			NEED(read_at(away + BYTES(i)) == late_contents(p + i));
			NEED(mremap(away, BYTES(PIECE), BYTES(PIECE), MREMAP_MAYMOVE | MREMAP_FIXED, home) == home);
		}
		if (p / PIECE % 4 == 0)
			forked_reads(home, p);
		NEED(madvise(home + BYTES(8), BYTES(8), MADV_DONTNEED) == 0);
		NEED(munmap(home + BYTES(16), BYTES(8)) == 0);
		for (uint64_t i = 0; i < PIECE; i++)
			if (i < 16 || i >= 24)
				NEED(read_at(home + BYTES(i)) == (i >= 8 && i < 16 ? 0 : late_contents(p + i)));
	}
	return NULL;
}

static void process_main(int line, const void *arg)
{
	pthread_t thread[READERS + MOVERS];

	(void)arg;
	madvise(region, BYTES(SHARED_PAGES), MADV_HUGEPAGE);
	late_process_give(line);
	late_process_await_go(line);
	for (size_t i = 0; i < MOVERS; i++)
		NEED((away_of[i] = mmap(NULL, BYTES(PIECE), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) != MAP_FAILED);
	pthread_barrier_init(&begin, NULL, READERS + MOVERS);
	for (uintptr_t i = 0; i < READERS + MOVERS; i++)
		NEED(pthread_create(&thread[i], NULL, i < READERS ? reader_main : mover_main, (void *)(i < READERS ? i : i - READERS)) == 0);
	for (size_t i = 0; i < READERS + MOVERS; i++)
		pthread_join(thread[i], NULL);
}

/* ---- who gives it its pages ---- */

static void give(struct late *l, uint64_t page)
{
	unsigned char data[DRAY_PAGE_SIZE] = { 0 };
	uint64_t v = late_contents(page);
	struct err e = { 0 };

	memcpy(data + 1024, &v, sizeof(v));
	if (late_place(l, (uint64_t)(uintptr_t)region + BYTES(page), 1, data, &e) < 0) {
		fprintf(stderr, "FAILED: %s\n", e.text);
		exit(1);
	}
}

/* What is asked for, and in between one that nobody asked for, from the end on. */
static void serve(struct late *l, struct late_queue *q, int pidfd)
{
	struct pollfd p[2] = { { .fd = late_fd(l), .events = POLLIN }, { .fd = pidfd, .events = POLLIN } };
	uint64_t unasked = PAGES;
	struct err e = { 0 };

	while (poll(p, 2, unasked > 0 ? 0 : -1) >= 0 && !p[1].revents) {
		if (late_events(l, &e) < 0) {
			fprintf(stderr, "FAILED: %s\n", e.text);
			exit(1);
		}
		while (q->count > 0)
			give(l, (q->addr[--q->count] - (uint64_t)(uintptr_t)region) >> DRAY_PAGE_SHIFT);
		if (unasked > 0)
			give(l, --unasked);
	}
	while (unasked > 0)
		give(l, --unasked);
	NEED(late_missing(l) == 0);
}

static void once(void)
{
	static struct late_queue q;
	struct page_run run = { .pages = PAGES, .kind = RUN_DATA };
	struct late_process process;
	struct err e = { 0 };
	int status = 0, pidfd;
	struct late *l;

	void *room = mmap(NULL, BYTES(PAGES + HUGE_PAGES), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	q.count = 0;
	NEED(room != MAP_FAILED);
	region = (unsigned char *)(((uintptr_t)room + BYTES(HUGE_PAGES) - 1) & ~(BYTES(HUGE_PAGES) - 1));
	run.addr = (uint64_t)(uintptr_t)region;
	process = late_process_start(process_main, NULL);
	NEED((pidfd = pidfd_open_(process.pid, 0)) >= 0);
	l = late_create(process.uffd, late_queue_add, &q, &e);
	if (!l || late_register(l, run.addr, run.addr + BYTES(PAGES), &run, 1, &e) < 0) {
		fprintf(stderr, "FAILED: %s\n", e.text);
		exit(1);
	}
	late_process_go(&process);
	serve(l, &q, pidfd);
	late_destroy(l);
	NEED(waitpid(process.pid, &status, 0) == process.pid && status == 0);
	close(pidfd);
	munmap(room, BYTES(PAGES + HUGE_PAGES));
}

int main(void)
{
	for (unsigned i = 0; i < ROUNDS; i++)
		once();
	return 0;
}
