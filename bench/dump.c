/* SPDX-License-Identifier: Apache-2.0 */
/* dump.c - how long a process stands still for a dump into an image directory, beside what copying its pages takes.
 *
 * dump [--size 256M] [--repeats N] [--dir /dev/shm]: rows "dump_ms", all of a process with that much anonymous memory:
 *   plain copy             process_vm_readv of 1 MiB and a write of it, one thread: what the pages alone cost
 *   dump frozen            dumper_dump of the same memory: from stopped to running on
 *   pre-dump 1 stop        the first round: how long it stood still (wp-async: once, for the userfaultfd)
 *   pre-dump 2 stop        a later round, 1 % of it written since
 *   dump over it frozen    the dump with that round as its parent, 1 % written since
 *   dump compared frozen   the dump with a parent that no tracker knows of
 * and "dump_ratio": dump frozen over plain copy. Files are removed between runs, memory is touched before each (bench_env.h says why). */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/dump/dump.h"
#include "migrate/track/track.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "tests/lib/bench_dir.h"
#include "tests/lib/bench_env.h"
#include "tests/lib/bench_json.h"

enum { PAGE = 4096, PIECE = 1 << 20, WRITTEN_ONE_IN = 100 };

struct target {
	pid_t pid;
	int line;    /* a byte each way: it writes some of its pages */
	char *memory; /* where they are, here and there */
	size_t size;
};

/* ---- the target ---- */

_Noreturn static void be_target(const struct target *t, int line)
{
	int null = open("/dev/null", O_RDWR);
	uint32_t round = 0;
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	dup2(line, 3);
	close_range(4, ~0u, 0);
	memset(t->memory, 7, t->size);
	for (size_t i = 0; i < t->size; i += 8)
		*(uint64_t *)(void *)(t->memory + i) = i * 0x9e3779b97f4a7c15ull;
	/* A file, for a connection with somebody outside could not be dumped: it writes when the file has grown. */
	for (off_t seen = 0;; seen++) {
		while (pread(3, &c, 1, seen) != 1)
			usleep(200);
		round++;
		for (size_t i = 0; c == 'w' && i < t->size; i += (size_t)WRITTEN_ONE_IN * PAGE)
			*(uint32_t *)(void *)(t->memory + i) = round;
		if (pwrite(3, "d", 1, seen + 4096) != 1)
			_exit(1);
	}
}

static void ask(const struct target *t, char what, off_t turn)
{
	char c;

	if (pwrite(t->line, &what, 1, turn) != 1)
		bench_die("line");
	while (pread(t->line, &c, 1, turn + 4096) != 1 || c != 'd')
		usleep(100);
}

static struct target start_target(int dir, size_t size)
{
	struct target t = { .size = size };

	t.memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	t.line = openat(dir, "line", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (t.memory == MAP_FAILED || t.line < 0)
		bench_die("target");
	fflush(NULL);
	t.pid = fork();
	if (t.pid < 0)
		bench_die("fork");
	if (t.pid == 0)
		be_target(&t, t.line);
	ask(&t, 'n', 0);
	return t;
}

static void end_target(struct target *t)
{
	kill(t->pid, SIGKILL);
	waitpid(t->pid, NULL, 0);
	munmap(t->memory, t->size);
	close(t->line);
}

/* ---- what is measured ---- */

static void row(const char *which, double us)
{
	bench_json("dump_ms", which, "ms", us / 1e3, NULL);
}

static double plain_copy(const struct target *t, int dir)
{
	cleanup_fd int fd = openat(dir, "plain", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char *buffer = mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	uint64_t began = clock_us(), us;

	if (fd < 0 || buffer == MAP_FAILED)
		bench_die("plain copy");
	for (size_t at = 0; at < t->size; at += PIECE) {
		struct iovec to = { buffer, PIECE }, from = { t->memory + at, PIECE };

		if (process_vm_readv(t->pid, &to, 1, &from, 1, 0) != PIECE || write(fd, buffer, PIECE) != PIECE)
			bench_die("plain copy");
	}
	us = clock_us() - began;
	unlinkat(dir, "plain", 0);
	munmap(buffer, PIECE);
	return (double)us;
}

static void empty(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *f;

	while (d && (f = readdir(d)))
		if (f->d_name[0] != '.')
			unlinkat(dirfd(d), f->d_name, 0);
	unlinkat(dir, name, AT_REMOVEDIR);
}

static double take(struct dumper *d, const struct target *t, int dir, const char *name, const char *parent, bool final)
{
	struct dump_request q = { .pid = t->pid, .parent = parent, .track_mem = parent != NULL, .final_state = DUMP_RUN_ON, .requester_socket = -1 };
	struct dump_stats stats;
	struct err e = { 0 };

	empty(dir, name);
	if (mkdirat(dir, name, 0700) < 0)
		bench_die(name);
	q.images_dir = q.work_dir = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bench_prewarm(t->size);
	bench_check((final ? dumper_dump : dumper_pre_dump)(d, &q, &stats, &e), &e);
	close(q.images_dir);
	return (double)stats.frozen_us;
}

static struct dumper *new_dumper(void)
{
	struct err e = { 0 };
	struct dumper *d = dumper_create(&e);

	bench_check(d ? 0 : -1, &e);
	return d;
}

static void once(int dir, size_t size)
{
	static const char *const sets[] = { "whole", "0", "1", "2", "3" };
	struct target t;
	struct dumper *d = new_dumper();
	double plain, frozen;

	bench_prewarm(3 * size);
	t = start_target(dir, size);
	bench_prewarm(size);
	plain = plain_copy(&t, dir);
	row("plain copy", plain);
	frozen = take(d, &t, dir, "whole", NULL, true);
	row("dump frozen", frozen);
	empty(dir, "whole");
	bench_json("dump_ratio", "dump frozen over plain copy", "", frozen / plain, NULL);
	row("pre-dump 1 stop", take(d, &t, dir, "0", NULL, false));
	ask(&t, 'w', 1);
	row("pre-dump 2 stop", take(d, &t, dir, "1", "../0", false));
	ask(&t, 'w', 2);
	row("dump over it frozen", take(d, &t, dir, "2", "../1", true));
	ask(&t, 'w', 3);
	row("dump compared frozen", take(d, &t, dir, "3", "../1", true));
	dumper_destroy(d);
	end_target(&t);
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
		empty(dir, sets[i]);
	unlinkat(dir, "line", 0);
}

int main(int argc, char **argv)
{
	char dir[512];
	const char *place = "/dev/shm";
	size_t size = 256 << 20;
	unsigned repeats = 1;
	int fd;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--size") && bench_size(argv[i + 1], &size) && size % PIECE == 0)
			continue;
		if (!strcmp(argv[i], "--repeats") && (repeats = (unsigned)atoi(argv[i + 1])) > 0)
			continue;
		if (!strcmp(argv[i], "--dir") && (place = argv[i + 1]))
			continue;
		fputs("usage: dump [--size BYTES] [--repeats N] [--dir DIRECTORY]\n", stderr);
		return 2;
	}
	snprintf(dir, sizeof(dir), "%s/dump-XXXXXX", place);
	bench_dir_make(dir);
	if ((fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		bench_die(dir);
	setenv("DRAY_TRACKERS_DIR", dir, 1);
	for (unsigned i = 0; i < repeats; i++)
		once(fd, size);
	bench_dir_remove(dir);
	return 0;
}
