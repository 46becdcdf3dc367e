/* SPDX-License-Identifier: Apache-2.0 */
/* first_round.c - how fast a first round of a process goes, by the real sender and real twins, without the rest of a migration.
 *
 * first_round [--size 1G] [--repeats 3] [--streams N] [--extract splice|copy] [--by ring|calls] [--into discard|place]:
 * all combinations of what is not given (1 and 2 streams), a JSON object a line each (bench_json.h): GB/s and s/GB of the sender's side
 * (its threads and the twins). discard: a receiver that throws away what it recv()s; place: the page server's receiver into
 * fresh memory. The receiver is a process of its own, the memory that it takes is kept warm (bench_warm.h), the congestion control is cubic. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "migrate/extract/twin.h"
#include "migrate/send/sender.h"
#include "pageserver/place.h"
#include "pageserver/stream_recv.h"
#include "proto/base/io.h"
#include "tests/lib/bench_env.h"
#include "tests/lib/bench_json.h"
#include "tests/lib/bench_warm.h"

enum { STREAMS = 16, REPEATS = 15, ANON = 0x201 /* VMA_AREA_REGULAR | VMA_ANON_PRIVATE */ };
#define BASE 0x300000000000ull

struct setup { size_t size; unsigned streams; enum extract_kind extract; enum output_how by; bool place; };

static void fail(const char *what, const struct err *e)
{
	fprintf(stderr, "first_round: %s: %s\n", what, e ? e->text : strerror(errno));
	exit(1);
}

/* ---- the process whose memory goes ---- */

static pid_t start_target(size_t size)
{
	int ready[2];
	char byte;
	pid_t pid;

	if (pipe(ready) < 0)
		fail("pipe", NULL);
	pid = fork();
	if (pid == 0) {
		uint64_t *m = mmap((void *)BASE, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (m == MAP_FAILED)
			_exit(1);
		madvise(m, size, MADV_NOHUGEPAGE);
		for (size_t i = 0; i < size / 8; i++)
			m[i] = i * 0x9e3779b97f4a7c15u + 1;
		if (write(ready[1], "r", 1) != 1)
			_exit(1);
		while (pause() < 0)
			;
	}
	if (pid < 0 || read(ready[0], &byte, 1) != 1)
		fail("the target did not start", NULL);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

/* ---- the receiver, a process of its own ---- */

static void *discard(void *arg)
{
	int fd = *(int *)arg;
	char *buf = malloc(1 << 18);
	ssize_t n;

	while (buf && (n = recv(fd, buf, 1 << 18, 0)) > 0)
		;
	free(buf);
	return NULL;
}

static void receive_discard(const int *sock, unsigned streams, int report)
{
	pthread_t thread[STREAMS];

	if (write(report, "r", 1) != 1)
		_exit(1);
	for (unsigned i = 0; i < streams; i++)
		pthread_create(&thread[i], NULL, discard, (void *)(uintptr_t)&sock[i]);
	for (unsigned i = 0; i < streams; i++)
		pthread_join(thread[i], NULL);
}

static void receive_place(const int *sock, unsigned streams, size_t size, int report)
{
	Drayage__RoundBegin msg = DRAYAGE__ROUND_BEGIN__INIT;
	VmaEntry vma = VMA_ENTRY__INIT, *vmas[] = { &vma };
	Drayage__Range whole = DRAYAGE__RANGE__INIT, *ranges[] = { &whole };
	struct stream_recv_stats stats;
	struct err e = { 0 };
	struct place *place = place_create(0, &e);
	struct stream_recv *recv = place ? stream_recv_create(place, streams, &e) : NULL;

	vma.start = whole.start = BASE;
	vma.end = whole.end = BASE + size;
	vma.status = ANON;
	vma.prot = PROT_READ | PROT_WRITE;
	vma.flags = MAP_PRIVATE;
	msg.round = 1;
	msg.vmas = vmas;
	msg.populate = ranges;
	msg.n_vmas = msg.n_populate = 1;
	if (!recv || place_apply(place, &msg, &e) < 0)
		fail("receiver", &e);
	for (unsigned i = 0; i < streams; i++)
		if (stream_recv_add(recv, i, sock[i], &e) < 0)
			fail("receiver", &e);
	stream_recv_open_round(recv, 1);
	if (write(report, "r", 1) != 1 || stream_recv_barrier(recv, 1, -1, -1, &stats, &e) < 0)
		fail("receiver", &e);
}

static pid_t start_receiver(const struct setup *s, int *sock, int *report)
{
	int far[STREAMS], pipefd[2];
	char byte;
	pid_t pid;

	for (unsigned i = 0; i < s->streams; i++) {
		int pair[2], rc = bench_tcp_pair(pair);

		if (rc < 0)
			fail("sockets", NULL);
		sock[i] = pair[0];
		far[i] = pair[1];
		bench_congestion(sock[i]);
	}
	if (pipe(pipefd) < 0)
		fail("pipe", NULL);
	pid = fork();
	if (pid == 0) {
		uint64_t cpu;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (unsigned i = 0; i < s->streams; i++)
			close(sock[i]);
		if (s->place) {
			receive_place(far, s->streams, s->size, pipefd[1]);
		} else {
			receive_discard(far, s->streams, pipefd[1]);
		}
		cpu = bench_cpu_us();
		_exit(write(pipefd[1], &cpu, sizeof(cpu)) != sizeof(cpu));
	}
	for (unsigned i = 0; i < s->streams; i++)
		close(far[i]);
	close(pipefd[1]);
	*report = pipefd[0];
	if (pid < 0 || read(*report, &byte, 1) != 1)
		fail("the receiver did not start", NULL);
	return pid;
}

/* ---- one round ---- */

static uint64_t twins_cpu_us(const struct twins *t)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < t->count; i++) {
		struct timespec ts;
		clockid_t clock;

		if (t->pid[i] > 0 && clock_getcpuclockid(t->pid[i], &clock) == 0 && clock_gettime(clock, &ts) == 0)
			sum += (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
	}
	return sum;
}

struct sample { double gbps, cpu, stopped_us; };

static struct sample run_once(const struct setup *s, pid_t target)
{
	struct err e = { 0 };
	struct remote held = { 0 };
	struct twins twins = { 0 };
	struct twin_ends ends[STREAMS];
	struct run_list runs = { 0 };
	struct sender_stats stats;
	struct sample out = { 0 };
	int sock[STREAMS], report;
	uint64_t start, cpu;
	pid_t warm = s->place ? bench_warm_start(s->size + s->size / 16) : 0;
	pid_t receiver = start_receiver(s, sock, &report);
	struct sender_config c = { .pid = target, .streams = s->streams, .extract = s->extract, .output = s->by,
				   .compress = COMPRESS_NONE, .twins = ends, .sockets = sock };
	struct sender *sender;

	if (s->extract == EXTRACT_SPLICE) {
		start = clock_us();
		if (remote_seize(&held, target, 0, &e) < 0 || remote_scratch_create(&held, s->streams * TWIN_SCRATCH, 0, &e) < 0 ||
		    twins_create(&held, s->streams, &twins, ends, &e) < 0)
			fail("twins", &e);
		remote_release(&held);
		out.stopped_us = (double)(clock_us() - start);
	}
	sender = sender_create(&c, &e);
	if (!sender || run_list_add(&runs, BASE, bytes_to_pages(s->size), RUN_DATA) < 0)
		fail("sender", &e);
	cpu = bench_cpu_us() + twins_cpu_us(&twins);
	start = clock_us();
	if (sender_round(sender, 1, false, &runs, NULL, &stats, &e) < 0)
		fail("round", &e);
	if (!s->place)
		sender_destroy(sender); /* its end is what the discarding receiver waits for */
	if (read_full(report, &(uint64_t){ 0 }, sizeof(uint64_t)) < 0)
		fail("the receiver ended early", NULL);
	out.gbps = (double)s->size / 1e3 / (double)(clock_us() - start);
	out.cpu = (double)(bench_cpu_us() + twins_cpu_us(&twins) - cpu) / 1e6 / ((double)s->size / 1e9);
	if (s->place)
		sender_destroy(sender);
	waitpid(receiver, NULL, 0);
	bench_warm_stop(warm);
	close(report);
	twins_destroy(&twins);
	if (s->extract == EXTRACT_SPLICE) {
		uint64_t at = held.scratch, len = held.scratch_len;

		if (remote_seize(&held, target, 0, &e) < 0)
			fail("twins", &e);
		held.scratch = at;
		held.scratch_len = len;
		if (twins_reap(&held, &twins, &e) < 0 || remote_scratch_destroy(&held, &e) < 0)
			fail("twins", &e);
		remote_release(&held);
	}
	run_list_finish(&runs);
	return out;
}

static int by_speed(const void *a, const void *b)
{
	double x = ((const struct sample *)a)->gbps, y = ((const struct sample *)b)->gbps;

	return x < y ? -1 : x > y;
}

static void run_setup(const struct setup *s, pid_t target, unsigned repeats)
{
	struct sample sample[REPEATS];
	char name[80], streams[8], bytes[24], low[16], high[16];
	const char *how = s->extract == EXTRACT_SPLICE ? "splice" : "copy", *by = s->by == OUTPUT_RING ? "ring" : "calls";

	for (unsigned i = 0; i < repeats; i++)
		sample[i] = run_once(s, target);
	qsort(sample, repeats, sizeof(sample[0]), by_speed);
	snprintf(name, sizeof(name), "%s by %s into %s x%u", how, by, s->place ? "place" : "discard", s->streams);
	snprintf(streams, sizeof(streams), "%u", s->streams);
	snprintf(bytes, sizeof(bytes), "%zu", s->size);
	snprintf(low, sizeof(low), "%.3f", sample[0].gbps);
	snprintf(high, sizeof(high), "%.3f", sample[repeats - 1].gbps);
	bench_json("round", name, "GB/s", sample[repeats / 2].gbps, "streams", streams, "bytes", bytes, "min", low, "max", high,
		   "congestion", "cubic", NULL);
	bench_json("round_sender_cpu", name, "s/GB", sample[repeats / 2].cpu, "streams", streams, "bytes", bytes, NULL);
	if (s->extract == EXTRACT_SPLICE)
		bench_json("twins_stop", name, "us", sample[repeats / 2].stopped_us, "streams", streams, NULL);
}

static const char *option(int argc, char **argv, const char *name)
{
	for (int i = 1; i + 1 < argc; i += 2)
		if (strcmp(argv[i], name) == 0)
			return argv[i + 1];
	return NULL;
}

static bool wanted(const char *asked, const char *this)
{
	return !asked || strcmp(asked, this) == 0;
}

int main(int argc, char **argv)
{
	const char *size_text = option(argc, argv, "--size"), *repeat_text = option(argc, argv, "--repeats");
	const char *streams = option(argc, argv, "--streams"), *extract = option(argc, argv, "--extract");
	const char *by = option(argc, argv, "--by"), *into = option(argc, argv, "--into");
	unsigned repeats = repeat_text ? (unsigned)atoi(repeat_text) : 3, only = streams ? (unsigned)atoi(streams) : 0;
	struct setup s;
	size_t size;
	pid_t target;

	if (!bench_size(size_text ? size_text : "1G", &size) || repeats == 0 || repeats > REPEATS || only > STREAMS || argc % 2 == 0) {
		fputs("usage: first_round [--size 1G] [--repeats 3] [--streams N] [--extract splice|copy] [--by ring|calls] "
		      "[--into discard|place]\n", stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	bench_prewarm(size);
	target = start_target(size);
	for (int p = 0; p < 2; p++)
		for (int x = 0; x < 2; x++)
			for (int b = 0; b < 2; b++)
				for (unsigned n = only ? only : 1; n <= (only ? only : 2); n++) {
					s = (struct setup){ .size = size, .streams = n, .extract = x ? EXTRACT_COPY : EXTRACT_SPLICE,
							    .by = b ? OUTPUT_CALLS : OUTPUT_RING, .place = p };
					if (wanted(into, p ? "place" : "discard") && wanted(extract, x ? "copy" : "splice") &&
					    wanted(by, b ? "calls" : "ring"))
						run_setup(&s, target, repeats);
				}
	kill(target, SIGKILL);
	waitpid(target, NULL, 0);
	return 0;
}
