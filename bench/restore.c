/* SPDX-License-Identifier: Apache-2.0 */
/* restore.c - a process out of an image directory, beside plain reads of the same bytes in the same run.
 *
 * restore [--size 1G] [--repeats N] [--dir /dev/shm]: rows "restore_read" (GB/s) and "restore_time" (ms), size of the process's memory:
 *   pread huge x2          a plain file into fresh huge pages, two threads: what the machine can do
 *   pread huge x1          the same with one
 *   pread small x1         one thread into fresh 4 KiB pages
 *   process                restore_run, from its call until the process runs; pages of its memory in whole
 *   process of 1 MiB       restore_run where there is nearly no memory: what all of it costs beside the pages (restore_time alone)
 * Memory is touched before each (bench_env.h says why). */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/dump/dump.h"
#include "migrate/restore/restore.h"
#include "proto/base/io.h"
#include "tests/lib/bench_dir.h"
#include "tests/lib/bench_env.h"
#include "tests/lib/bench_json.h"
#include "tests/lib/image_rig.h"

enum { PIECE = 4 << 20, THREADS = 2 };
#define HUGE_SIZE (2ul << 20)

static void say(const char *which, size_t size, uint64_t us)
{
	char bytes[24];

	snprintf(bytes, sizeof(bytes), "%zu", size);
	if (size > PIECE)
		bench_json("restore_read", which, "GB/s", (double)size / (double)us / 1000, "bytes", bytes, NULL);
	bench_json("restore_time", which, "ms", (double)us / 1000, "bytes", bytes, NULL);
}

/* ---- plain reads ---- */

struct reader { pthread_t thread; int fd; char *to; size_t from, until; };

static void *read_part(void *arg)
{
	struct reader *r = arg;

	for (size_t at = r->from; at < r->until; at += PIECE)
		if (pread(r->fd, r->to + at, PIECE, (off_t)at) != PIECE)
			bench_die("pread");
	return NULL;
}

static void read_plain(int fd, size_t size, const char *which, unsigned threads, int advice)
{
	struct reader r[THREADS];
	uint64_t begin;
	char *room;

	bench_prewarm(size);
	begin = clock_us();
	room = mmap(NULL, size + HUGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (room == MAP_FAILED || madvise(room, size + HUGE_SIZE, advice) < 0)
		bench_die("memory");
	for (unsigned i = 0; i < threads; i++) {
		r[i] = (struct reader){ .fd = fd, .to = (char *)(((uintptr_t)room + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1)), .from = size / threads * i,
					.until = size / threads * (i + 1) };
		if (pthread_create(&r[i].thread, NULL, read_part, &r[i]) != 0)
			bench_die("thread");
	}
	for (unsigned i = 0; i < threads; i++)
		pthread_join(r[i].thread, NULL);
	say(which, size, clock_us() - begin);
	munmap(room, size + HUGE_SIZE);
}

/* ---- a process ---- */

static _Noreturn void be_subject(size_t size, int line)
{
	uint64_t *room;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setsid();
	room = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (room == MAP_FAILED)
		_exit(1);
	for (size_t i = 0; i < size / 8; i++)
		room[i] = i * 0x9e3779b97f4a7c15ull;
	if (write(line, "", 1) != 1)
		_exit(1);
	close_range(0, ~0u, 0);
	for (;;)
		pause();
}

static pid_t start_subject(size_t size)
{
	int line[2];
	pid_t pid;
	char c;

	if (pipe(line) < 0)
		bench_die("pipe");
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		be_subject(size, line[1]);
	close(line[1]);
	if (pid < 0 || read(line[0], &c, 1) != 1 || read(line[0], &c, 1) != 0)
		bench_die("subject");
	close(line[0]);
	return pid;
}

static void restore(const struct image_rig *g, size_t size, const char *which)
{
	struct restore_request q = image_rig_request(g);
	struct restore_stats stats;
	struct err e;
	uint64_t begin;
	pid_t pid;

	bench_prewarm(size);
	begin = clock_us();
	if (restore_run(&q, &pid, &stats, &e) < 0) {
		fprintf(stderr, "restore: %s\n", e.text);
		exit(1);
	}
	say(which, size, clock_us() - begin);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void measure(const char *dir, size_t size, int repeats)
{
	struct image_rig large, small;
	pid_t pid = start_subject(size);
	int fd;

	image_rig_make_in(&large, dir);
	image_rig_make_in(&small, dir);
	image_rig_dump(&large, pid);
	pid = start_subject(1 << 20);
	image_rig_dump(&small, pid);
	fd = openat(large.fd, "pages-1.img", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		bench_die("pages-1.img");
	for (int i = 0; i < repeats; i++) {
		read_plain(fd, size, "pread huge x2", 2, MADV_HUGEPAGE);
		read_plain(fd, size, "pread huge x1", 1, MADV_HUGEPAGE);
		read_plain(fd, size, "pread small x1", 1, MADV_NOHUGEPAGE);
		restore(&large, size, "process");
		restore(&small, 1 << 20, "process of 1 MiB");
	}
	close(fd);
	image_rig_remove(&large);
	image_rig_remove(&small);
}

int main(int argc, char **argv)
{
	const char *dir = "/dev/shm";
	char own[64];
	size_t size = 1ul << 30;
	int repeats = 1;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--size") == 0 && bench_size(argv[i + 1], &size))
			continue;
		if (strcmp(argv[i], "--repeats") == 0)
			repeats = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--dir") == 0)
			dir = argv[i + 1];
		else
			return 2;
	}
	snprintf(own, sizeof(own), "%s/restore-XXXXXX", dir);
	bench_dir_make(own);
	measure(own, size / PIECE / THREADS * PIECE * THREADS, repeats);
	bench_dir_remove(own);
	return 0;
}
