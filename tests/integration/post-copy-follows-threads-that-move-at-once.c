/* SPDX-License-Identifier: Apache-2.0 */
/* Several threads move memory whose pages are on their way, at once and to places that others have just left, while others fork, unmap and discard: no
 * page is lost, and none is read where another one belongs.
 *
 *   holes   each thread has blocks of its own, and the kernel puts what grows to where another thread's block has just been
 *   onto    all threads move all blocks onto each other's places without waiting for each other: which move is the last one, nobody can know. A block
 *           holds one block's pages all the same, or the process is ended because it can't be told
 *
 * A child of this program is the process, this one gives it pages. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pageserver/late/late_memory.h"
#include "proto/base/io.h"
#include "tests/lib/late_rig.h"

enum { THREADS = 4, BLOCKS = 32, PIECE = 16, SPARE = 4, PAGES = BLOCKS * PIECE, STEPS = 60, ROUNDS = 24,
       DISCARD_FROM = 4, DISCARD_PAGES = 4 };
#define BYTES(pages) ((size_t)(pages) << DRAY_PAGE_SHIFT)

enum game { HOLES, ONTO };
static unsigned char *region;
static pthread_barrier_t begin;
static enum game game;
static uint64_t seed;

static uint64_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return *state >> 33;
}

static uint64_t read_at(const unsigned char *p)
{
	uint64_t v;

	memcpy(&v, p + 1024, sizeof(v));
	return v;
}

/* ---- the process: what the threads do to blocks of their own ---- */

struct block { unsigned char *at; uint64_t name, pages; bool discarded; };

static void check_page(const struct block *b, uint64_t i)
{
	uint64_t v = read_at(b->at + BYTES(i)), due = i < PIECE ? late_contents(b->name + i) : 0;

	if (b->discarded && i >= DISCARD_FROM && i < DISCARD_FROM + DISCARD_PAGES)
		due = 0;
	if (v == due)
		return;
	fprintf(stderr, "FAILED: page %d of the block of %d reads %#llx, should %#llx\n", (int)i, (int)b->name / PIECE, (unsigned long long)v,
		(unsigned long long)due);
	_exit(1);
}

static void check_block(const struct block *b, uint64_t from, uint64_t step)
{
	for (uint64_t i = from; b->at && i < b->pages; i += step)
		check_page(b, i);
}

static void fork_reads(const struct block *b, size_t count)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		for (size_t i = 0; i < count; i++)
			check_block(&b[i], i % 3, 5);
		_exit(0);
	}
	NEED(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

/* Grows until it has to move, which is to where there is room; shrinks; ends; is thrown away in part; is read. */
static void play_with(struct block *b, uint64_t r)
{
	uint64_t pages = b->pages > PIECE ? PIECE : PIECE + 1 + r / 16 % SPARE;
	void *to;

	switch (r % 16) {
	default:
		to = mremap(b->at, BYTES(b->pages), BYTES(pages), MREMAP_MAYMOVE);
		NEED(to != MAP_FAILED);
		b->at = to;
		b->pages = pages;
		return;
	case 0:
		NEED(munmap(b->at, BYTES(b->pages)) == 0);
		b->at = NULL;
		return;
	case 1:
		b->discarded = true;
		NEED(madvise(b->at + BYTES(DISCARD_FROM), BYTES(DISCARD_PAGES), MADV_DONTNEED) == 0);
		return;
	case 2:
	case 3:
		check_page(b, r / 16 % b->pages);
	}
}

static void *holes_main(void *arg)
{
	enum { OWN = BLOCKS / THREADS };
	uint64_t random = seed + (uintptr_t)arg;
	struct block own[OWN];

	for (uint64_t i = 0; i < OWN; i++) /* side by side with those of others */
		own[i] = (struct block){ .name = (i * THREADS + (uintptr_t)arg) * PIECE, .pages = PIECE };
	for (uint64_t i = 0; i < OWN; i++)
		own[i].at = region + BYTES(own[i].name);
	pthread_barrier_wait(&begin);
	for (unsigned i = 0; i < STEPS; i++) {
		struct block *b = &own[next_random(&random) % OWN];

		if (b->at)
			play_with(b, next_random(&random));
		if (i % 20 == 10)
			fork_reads(own, OWN);
	}
	for (uint64_t i = 0; i < OWN; i++)
		check_block(&own[i], 0, 1);
	return NULL;
}

/* ---- what they do to each other's ---- */

static bool is_mapped(const unsigned char *base)
{
	unsigned char vec[PIECE];

	return mincore((void *)(uintptr_t)base, BYTES(PIECE), vec) == 0;
}

/* Some block's pages, all of them; of what may have been discarded, some. Returns which block's; -1: wrong. */
static int whose(const unsigned char *at)
{
	uint64_t v = read_at(at);

	for (int i = 0; i < BLOCKS; i++) {
		if (v != late_contents((uint64_t)i * PIECE))
			continue;
		for (uint64_t p = 0; p < PIECE; p++) {
			uint64_t got = read_at(at + BYTES(p));
			bool may_be_gone = p >= DISCARD_FROM && p < DISCARD_FROM + DISCARD_PAGES;

			if (got != late_contents((uint64_t)i * PIECE + p) && !(may_be_gone && got == 0)) {
				fprintf(stderr, "FAILED: page %d beside pages of block %d reads %#llx\n", (int)p, i, (unsigned long long)got);
				return -1;
			}
		}
		return i;
	}
	fprintf(stderr, "FAILED: the first page of a block reads %#llx\n", (unsigned long long)v);
	return -1;
}

static void check_places(void)
{
	bool seen[BLOCKS] = { false };

	for (unsigned i = 0; i < BLOCKS; i++) {
		const unsigned char *at = region + BYTES(i * PIECE);
		int block = is_mapped(at) ? whose(at) : BLOCKS;

		if (block < 0 || (block < BLOCKS && seen[block]))
			_exit(1);
		if (block < BLOCKS)
			seen[block] = true;
	}
}

static void fork_checks(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		check_places();
		_exit(0);
	}
	NEED(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

static void *onto_main(void *arg)
{
	uint64_t random = seed + (uintptr_t)arg;

	pthread_barrier_wait(&begin);
	for (unsigned i = 0; i < STEPS / 4; i++) {
		unsigned char *from = region + BYTES(next_random(&random) % BLOCKS * PIECE), *to = region + BYTES(next_random(&random) % BLOCKS * PIECE);

		switch (next_random(&random) % 16) {
		default:
			if (from != to)
				mremap(from, BYTES(PIECE), BYTES(PIECE), MREMAP_MAYMOVE | MREMAP_FIXED, to);
			break;
		case 0:
			munmap(from, BYTES(PIECE));
			break;
		case 1:
			madvise(from + BYTES(DISCARD_FROM), BYTES(DISCARD_PAGES), MADV_DONTNEED);
			break;
		case 2:
			fork_checks();
		}
	}
	return NULL;
}

static void process_main(int line, const void *arg)
{
	pthread_t thread[THREADS];

	(void)arg;
	NEED(setpgid(0, 0) == 0);
	late_process_give(line);
	late_process_await_go(line);
	pthread_barrier_init(&begin, NULL, THREADS);
	for (uintptr_t i = 0; i < THREADS; i++)
		NEED(pthread_create(&thread[i], NULL, game == HOLES ? holes_main : onto_main, (void *)i) == 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	if (game == ONTO)
		check_places();
}

/* ---- who gives it its pages ---- */

static int give(struct late *l, uint64_t page, struct err *e)
{
	unsigned char data[DRAY_PAGE_SIZE] = { 0 };
	uint64_t v = late_contents(page);

	memcpy(data + 1024, &v, sizeof(v));
	return late_place(l, (uint64_t)(uintptr_t)region + BYTES(page), 1, data, e);
}

/* What is asked for, and now and then one that nobody asked for. */
static int serve(struct late *l, struct late_queue *q, int pidfd, struct err *e)
{
	struct pollfd p[2] = { { .fd = late_fd(l), .events = POLLIN }, { .fd = pidfd, .events = POLLIN } };
	uint64_t random = seed;

	while (poll(p, 2, -1) >= 0 && !p[1].revents) {
		if (late_events(l, e) < 0)
			return -1;
		while (q->count > 0)
			if (give(l, (q->addr[--q->count] - (uint64_t)(uintptr_t)region) >> DRAY_PAGE_SHIFT, e) < 0)
				return -1;
		if (next_random(&random) % 8 == 0 && give(l, next_random(&random) % PAGES, e) < 0)
			return -1;
	}
	return 0;
}

/* Was it served to its end? */
static bool once(void)
{
	static struct late_queue q;
	struct page_run run = { .pages = PAGES, .kind = RUN_DATA };
	struct err e = { 0 };
	struct late_process process;
	int status = 0, pidfd, rc;
	struct late *l;

	q.count = 0;
	region = mmap(NULL, BYTES(PAGES), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	NEED(region != MAP_FAILED);
	run.addr = (uint64_t)(uintptr_t)region;
	process = late_process_start(process_main, NULL);
	NEED((pidfd = pidfd_open_(process.pid, 0)) >= 0);
	l = late_create(process.uffd, late_queue_add, &q, &e);
	if (!l || late_register(l, run.addr, run.addr + BYTES(PAGES), &run, 1, &e) < 0) {
		fprintf(stderr, "FAILED: %s\n", e.text);
		exit(1);
	}
	late_of(l, process.pid);
	late_process_go(&process);
	rc = serve(l, &q, pidfd, &e);
	if (rc < 0)
		kill(-process.pid, SIGKILL); /* and its children: or they would read zeros */
	late_destroy(l);
	NEED(waitpid(process.pid, &status, 0) == process.pid && (rc < 0 || status == 0));
	if (rc < 0 && e.kind != ERR_UNSUPPORTED) {
		fprintf(stderr, "FAILED: %s\n", e.text);
		exit(1);
	}
	close(pidfd);
	close(process.line);
	munmap(region, BYTES(PAGES));
	return rc == 0;
}

static unsigned play(enum game g, const char *name)
{
	unsigned ended = 0;

	game = g;
	for (unsigned i = 0; i < ROUNDS; i++) {
		seed = i * 1000;
		ended += !once();
	}
	printf("%s: %u of %d ended, the others right\n", name, ended, ROUNDS);
	fflush(stdout); /* or children would write it again */
	return ended;
}

int main(void)
{
	NEED(play(HOLES, "holes") < ROUNDS / 2);
	play(ONTO, "onto");
	return 0;
}
