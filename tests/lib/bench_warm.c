/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/bench_warm.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/die_with.h"

#define AHEAD (256ul << 20) /* free and warm: what a run may take before we look again, at 100 GB/s */
#define STEP (64ul << 20)
enum { LOOK_MS = 2 };

static uint64_t free_bytes(void)
{
	struct sysinfo s;

	return sysinfo(&s) == 0 ? (uint64_t)s.freeram * s.mem_unit : UINT64_MAX;
}

int bench_warm_run(size_t bytes, void (*ready)(void *arg), void *arg)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t given = 0;
	uint64_t want;

	if (p == MAP_FAILED)
		return -1;
	madvise(p, bytes, MADV_HUGEPAGE);
	for (size_t i = 0; i < bytes; i += 4096)
		((volatile char *)p)[i] = 1;
	want = free_bytes() + AHEAD;
	for (;; nanosleep(&(struct timespec){ .tv_nsec = LOOK_MS * 1000000 }, NULL)) {
		while (given + STEP <= bytes && free_bytes() + STEP / 2 < want) {
			munmap(p + given, STEP);
			given += STEP;
		}
		if (ready)
			ready(arg);
		ready = NULL;
	}
}

static void tell(void *arg)
{
	if (write(*(int *)arg, "r", 1) != 1)
		_exit(1);
}

pid_t bench_warm_start(size_t bytes)
{
	int line[2];
	char byte;
	pid_t parent = getpid(), pid;
	ssize_t n;

	if (pipe(line) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		if (!die_with(parent, SIGKILL))
			_exit(1);
		close(line[0]);
		bench_warm_run(bytes, tell, &line[1]);
		_exit(1);
	}
	close(line[1]);
	n = pid > 0 ? read(line[0], &byte, 1) : -1;
	close(line[0]);
	if (pid > 0 && n != 1) {
		bench_warm_stop(pid);
		return -ENOMEM;
	}
	return pid > 0 ? pid : -EAGAIN;
}

void bench_warm_stop(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
