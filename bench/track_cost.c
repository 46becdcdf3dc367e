/* SPDX-License-Identifier: Apache-2.0 */
/* track_cost.c - what tracking costs: a collect, by how much of the memory is dirty, and the target that is tracked.
 *
 * track_cost [--mib N] [--tracker NAME] [--seconds N]: JSON lines (tests/lib/bench_json.h)
 *   track_collect    ms per GiB; "TRACKER first", "TRACKER 10%": re-arming; "TRACKER 10% last": as in the frozen round. Every tenth page is dirty.
 *   track_slowdown   percent of its stores that a process loses which writes to random pages as fast as it can, by the time between collects
 *   track_close      ms per GiB, piece by piece as a cancelled migration does it
 * 4 KiB pages: what a target with huge pages pays on top is that its first store of a round to each splits it. The target is a process of
 * its own that makes its userfaultfd itself. Memory is warm (bench_env.h says why). */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "migrate/track/track.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "tests/lib/bench_env.h"
#include "tests/lib/bench_json.h"

enum { MIB = 1 << 20, PAGE = 4096 };

/* What the two processes share. The target waits for `order` to change. */
struct board {
	volatile unsigned order, done;
	volatile unsigned percent; /* of the pages to dirty; above 100: write to random pages until told otherwise */
	volatile uint64_t stores;
};

struct target {
	pid_t pid;
	int uffd;
	size_t len;
	struct board *board;
};

static void dirty_evenly(char *mem, size_t len, unsigned percent)
{
	for (size_t page = 0; page < len / PAGE; page++)
		if (page * percent / 100 != (page + 1) * percent / 100)
			mem[page * PAGE]++;
}

static void write_until(struct board *b, char *mem, size_t len, unsigned order)
{
	uint64_t x = 88172645463325252ull;

	while (b->order == order) {
		for (int i = 0; i < 64; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			mem[x % len]++;
		}
		b->stores += 64;
	}
}

static void live(struct board *b, size_t len, int sock)
{
	char *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	unsigned order = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (mem == MAP_FAILED)
		_exit(1);
	madvise(mem, len, MADV_NOHUGEPAGE);
	dirty_evenly(mem, len, 100);
	send_fds(sock, "u", 1, &uffd, uffd >= 0);
	if (uffd >= 0)
		close(uffd);
	for (;;) {
		while (b->order == order)
			nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
		order = b->order;
		if (b->percent > 100)
			write_until(b, mem, len, order);
		else
			dirty_evenly(mem, len, b->percent);
		b->done = order;
	}
}

static bool start(struct target *t, size_t len)
{
	int pair[2], got = 0;
	char byte;

	*t = (struct target){ .uffd = -1, .len = len };
	t->board = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (t->board == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return false;
	bench_prewarm(len + 64ul * MIB);
	t->pid = fork();
	if (t->pid == 0)
		live(t->board, len, pair[1]);
	close(pair[1]);
	got = t->pid > 0 && recv_fds(pair[0], &byte, 1, &t->uffd, 1, &got) == 1;
	close(pair[0]);
	return got;
}

static void finish(struct target *t)
{
	kill(t->pid, SIGKILL);
	waitpid(t->pid, NULL, 0);
	cleanup_fd_(&t->uffd);
	munmap(t->board, PAGE);
}

static void order(struct target *t, unsigned percent, bool wait)
{
	t->board->percent = percent;
	t->board->order++;
	while (wait && t->board->done != t->board->order)
		nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
}

static bool halt(struct target *t)
{
	int status;

	return kill(t->pid, SIGSTOP) == 0 && waitpid(t->pid, &status, WUNTRACED) == t->pid;
}

/* One collect as a migration does it, mappings read anew; its time in us, or -1. */
static double collect_us(struct target *t, struct tracker *tracker, bool last)
{
	struct vma_list vmas = { 0 };
	struct collected got = { 0 };
	struct err e = { 0 };
	bool stop = last || tracker_needs_stop(tracker);
	uint64_t began, took;
	int rc;

	if (stop && !halt(t))
		return -1;
	began = clock_us();
	rc = vma_list_read(&vmas, t->pid, VMA_READ_MAPS, &e);
	if (rc == 0)
		rc = tracker_collect(tracker, &vmas, !last, last, &got, &e);
	took = clock_us() - began;
	if (stop)
		kill(t->pid, SIGCONT);
	vma_list_finish(&vmas);
	collected_finish(&got);
	if (rc < 0)
		fprintf(stderr, "track_cost: %s\n", e.text);
	return rc < 0 ? -1 : (double)took;
}

static void say(const char *bench, enum tracker_kind kind, const char *which, const char *unit, double value, size_t len)
{
	char name[64], mib[24];

	snprintf(name, sizeof(name), "%s %s", tracker_name(kind), which);
	snprintf(mib, sizeof(mib), "%zu", len / MIB);
	bench_json(bench, name, unit, value, "mib", mib, NULL);
}

static bool measure_collects(struct target *t, struct tracker *tracker, enum tracker_kind kind)
{
	static const unsigned percents[] = { 0, 1, 10, 50, 100 };
	double gib = (double)t->len / (1 << 30), us = collect_us(t, tracker, false);

	say("track_collect", kind, "first", "ms/GiB", us / 1000 / gib, t->len);
	for (size_t i = 0; us >= 0 && i < sizeof(percents) / sizeof(percents[0]); i++) {
		char which[32];

		order(t, percents[i], true);
		us = collect_us(t, tracker, true);
		snprintf(which, sizeof(which), "%u%% last", percents[i]);
		say("track_collect", kind, which, "ms/GiB", us / 1000 / gib, t->len);
		us = us < 0 ? us : collect_us(t, tracker, false);
		snprintf(which, sizeof(which), "%u%%", percents[i]);
		say("track_collect", kind, which, "ms/GiB", us / 1000 / gib, t->len);
	}
	return us >= 0;
}

/* Stores a second of a target at work, with a collect every interval_ms; 0: none. */
static double stores_per_second(struct target *t, struct tracker *tracker, unsigned interval_ms, double seconds)
{
	uint64_t began = clock_us(), until = began + (uint64_t)(seconds * 1e6), before = t->board->stores, now;

	for (;;) {
		uint64_t left;

		now = clock_us();
		if (now >= until)
			break;
		if (interval_ms && collect_us(t, tracker, false) < 0)
			return -1;
		left = until > clock_us() ? until - clock_us() : 0;
		if (interval_ms && left > interval_ms * 1000ull)
			left = interval_ms * 1000ull;
		nanosleep(&(struct timespec){ .tv_sec = (time_t)(left / 1000000), .tv_nsec = (long)(left % 1000000) * 1000 }, NULL);
	}
	return (double)(t->board->stores - before) * 1e6 / (double)(now - began);
}

static bool measure_slowdown(struct target *t, struct tracker *tracker, enum tracker_kind kind, double seconds)
{
	static const unsigned intervals[] = { 1000, 250, 100 };
	double alone, tracked = 0;

	order(t, 101, false);
	stores_per_second(t, tracker, 0, 0.5); /* past what the last collect protected */
	alone = stores_per_second(t, tracker, 0, seconds);
	for (size_t i = 0; tracked >= 0 && i < sizeof(intervals) / sizeof(intervals[0]); i++) {
		char which[32];

		tracked = stores_per_second(t, tracker, intervals[i], seconds);
		snprintf(which, sizeof(which), "every %u ms", intervals[i]);
		say("track_slowdown", kind, which, "%", 100 * (1 - tracked / alone), t->len);
	}
	order(t, 0, true);
	return tracked >= 0;
}

static bool measure(enum tracker_kind kind, size_t len, double seconds)
{
	struct err e = { 0 };
	struct tracker *tracker;
	struct target t;
	uint64_t began;
	bool ok = false;

	if (!tracker_probe(kind, &e)) {
		fprintf(stderr, "track_cost: %s: %s\n", tracker_name(kind), e.text);
		return true;
	}
	if (!start(&t, len))
		return false;
	tracker = tracker_open(kind, t.pid, kind == TRACKER_WP_ASYNC ? steal_fd(&t.uffd) : -1, &e);
	if (tracker)
		ok = measure_collects(&t, tracker, kind) && (kind == TRACKER_NONE || measure_slowdown(&t, tracker, kind, seconds));
	else
		fprintf(stderr, "track_cost: %s\n", e.text);
	began = clock_us();
	tracker_close(tracker);
	if (ok && kind == TRACKER_WP_ASYNC)
		say("track_close", kind, "cancelled", "ms/GiB", (double)(clock_us() - began) / 1000 / ((double)len / (1 << 30)), len);
	finish(&t);
	return ok;
}

int main(int argc, char **argv)
{
	static const enum tracker_kind all[] = { TRACKER_WP_ASYNC, TRACKER_SOFT_DIRTY, TRACKER_NONE };
	enum tracker_kind only = TRACKER_AUTO;
	size_t mib = 1024;
	double seconds = 3;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--mib") == 0)
			mib = strtoul(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--seconds") == 0)
			seconds = strtod(argv[i + 1], NULL);
		else if (strcmp(argv[i], "--tracker") != 0 || !tracker_parse(argv[i + 1], &only))
			mib = 0;
	}
	if (mib == 0 || argc % 2 == 0) {
		fputs("usage: track_cost [--mib N] [--tracker NAME] [--seconds N]\n", stderr);
		return 2;
	}
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if ((only == TRACKER_AUTO || only == all[i]) && !measure(all[i], mib * MIB, seconds))
			return 1;
	return 0;
}
