/* SPDX-License-Identifier: Apache-2.0 */
/* A process that forks while its pages are on their way: hundreds of children that live at once, and more that come and go than there are
 * descriptors. Each reads the right pages, and when every page came nobody misses any.
 *
 * The process is a child of this program, which gives it pages. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pageserver/late/late_memory.h"
#include "proto/base/io.h"
#include "tests/lib/late_rig.h"

enum { PAGES = 512, READS = 8 };
#define SIZE ((size_t)PAGES << DRAY_PAGE_SHIFT)

struct scene {
	const char *name;
	unsigned passing; /* children one after the other */
	unsigned staying; /* all at once */
	rlim_t soft, hard; /* descriptors of who gives the pages */
};

static unsigned char *region;

/* ---- the process ---- */

static int reads_right(unsigned from)
{
	for (unsigned i = 0; i < READS; i++) {
		uint64_t page = (from + i * 61) % PAGES, v;

		memcpy(&v, region + (page << DRAY_PAGE_SHIFT), sizeof(v));
		if (v != late_contents(page))
			return 1;
	}
	return 0;
}

static void await_child(pid_t pid)
{
	int status;

	NEED(pid > 0 && waitpid(pid, &status, 0) == pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fprintf(stderr, "FAILED: a child read what is wrong, or was killed: %x\n", (unsigned)status);
		_exit(1);
	}
}

static pid_t child(unsigned number, int until, int other)
{
	pid_t pid = fork();
	char c;

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (until >= 0)
		close(other);
	if (until >= 0)
		NEED(read(until, &c, 1) == 0); /* until all are born */
	_exit(reads_right(number * 7));
}

static void act(const struct scene *s)
{
	static pid_t pid[1024];
	int line[2];

	for (unsigned i = 0; i < s->passing; i++)
		await_child(child(i, -1, -1));
	NEED(pipe2(line, O_CLOEXEC) == 0);
	for (unsigned i = 0; i < s->staying; i++)
		pid[i] = child(i, line[0], line[1]);
	close(line[1]);
	for (unsigned i = 0; i < s->staying; i++)
		await_child(pid[i]);
	for (unsigned i = 0; i < PAGES; i++)
		if (reads_right(i))
			_exit(1);
}

static void process_main(int line, const void *scene)
{
	late_process_give(line);
	late_process_await_go(line);
	act(scene);
}

/* ---- who gives it its pages ---- */

static void give(struct late *l, uint64_t addr)
{
	unsigned char data[DRAY_PAGE_SIZE] = { 0 };
	uint64_t v = late_contents((addr - (uint64_t)(uintptr_t)region) >> DRAY_PAGE_SHIFT);
	struct err e = { 0 };

	memcpy(data, &v, sizeof(v));
	if (late_place(l, addr, 1, data, &e) < 0) {
		fprintf(stderr, "FAILED: %s\n", e.text);
		exit(1);
	}
}

/* What is asked for; the rest when the process is over, for whoever is left. */
static void serve(struct late *l, struct late_queue *q, int pidfd)
{
	struct pollfd p[2] = { { .fd = late_fd(l), .events = POLLIN }, { .fd = pidfd, .events = POLLIN } };
	struct err e = { 0 };

	while (poll(p, 2, -1) >= 0 && !p[1].revents) {
		if (late_events(l, &e) < 0) {
			fprintf(stderr, "FAILED: %s\n", e.text);
			exit(1);
		}
		while (q->count > 0)
			give(l, q->addr[--q->count]);
	}
	for (uint64_t i = 0; i < PAGES; i++)
		give(l, (uint64_t)(uintptr_t)region + (i << DRAY_PAGE_SHIFT));
	NEED(late_missing(l) == 0);
}

static int play(const struct scene *s)
{
	static struct late_queue q;
	const struct rlimit limit = { .rlim_cur = s->soft, .rlim_max = s->hard };
	struct page_run run = { .addr = (uint64_t)(uintptr_t)region, .pages = PAGES, .kind = RUN_DATA };
	struct late_process process = late_process_start(process_main, s);
	int status = 0, pidfd = pidfd_open_(process.pid, 0);
	struct err e = { 0 };
	struct late *l;

	NEED(pidfd >= 0);
	NEED(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	q.count = 0;
	l = late_create(process.uffd, late_queue_add, &q, &e);
	if (!l || late_register(l, run.addr, run.addr + SIZE, &run, 1, &e) < 0) {
		fprintf(stderr, "FAILED: %s\n", e.text);
		exit(1);
	}
	late_process_go(&process);
	serve(l, &q, pidfd);
	late_destroy(l);
	close(process.line);
	close(pidfd);
	NEED(waitpid(process.pid, &status, 0) == process.pid);
	printf("%s: %s\n", s->name, status == 0 ? "right" : "wrong");
	return status == 0 ? 0 : 1;
}

int main(void)
{
	/* The limit only sinks: the second goes last. */
	static const struct scene scenes[] = {
		{ .name = "hundreds at once", .staying = 300, .soft = 100, .hard = 1024 },
		{ .name = "more than there are descriptors, one after the other", .passing = 400, .soft = 100, .hard = 100 },
	};

	region = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	NEED(region != MAP_FAILED);
	for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++) {
		int rc = play(&scenes[i]);

		if (rc)
			return rc;
	}
	return 0;
}
