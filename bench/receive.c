/* SPDX-License-Identifier: Apache-2.0 */
/* receive.c - what a first round's receiver makes of a fast sender, beside plain receivers in the same run.
 *
 * receive [--size 1G] [--streams N] [--frame-pages N] [--repeats N] [--case NAME]: rows "receive" (GB/s) and "receive_cpu" (s/GB), cases
 *   discard      recv() into one small buffer: the wire alone
 *   fresh-thp    recv() into fresh memory advised MADV_HUGEPAGE: what a first round is held against
 *   fresh-4k     recv() into fresh memory of small pages
 *   place-huge   place + stream_recv, all memory announced as wholly present
 *   place-4k     place + stream_recv, nothing announced
 *   place-shmem  the same into a memory file
 *   place-again  place-huge over memory that was placed before: a later round
 * The sender is always vmsplice + splice of whole frames from 4 KiB pages; the receiver is a process of its own. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pageserver/stream_recv.h"
#include "proto/base/io.h"
#include "proto/wire/frame.h"
#include "proto/wire/hello.h"
#include "tests/lib/bench_env.h"
#include "tests/lib/bench_json.h"

enum { PAGE = 4096, DISCARD = 256 * 1024 };
#define BASE 0x7a1200000000ull

enum receiver_kind { DISCARDING, FRESH_THP, FRESH_4K, PLACE_HUGE, PLACE_4K, PLACE_SHMEM, PLACE_AGAIN, KINDS };
static const char *const names[KINDS] = { "discard", "fresh-thp", "fresh-4k", "place-huge", "place-4k", "place-shmem", "place-again" };

struct options {
	size_t size;
	unsigned streams, frame_pages, repeats;
	const char *only;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint8_t *map_fresh(size_t len, int advice)
{
	uint8_t *p = mmap(NULL, len + (2 << 20), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	p = (uint8_t *)(((uintptr_t)p + (2 << 20) - 1) & ~(uintptr_t)((2 << 20) - 1));
	if (advice)
		madvise(p, len, advice);
	return p;
}

/* ---- the sender: frames i, i + streams, ... of stream i ---- */

struct sender {
	const struct options *o;
	const uint8_t *memory;
	unsigned index;
	uint32_t round;
	uint64_t sequence;
	int sock, pipe[2];
	bool frames; /* headers and tables too */
	pthread_t thread;
};

static void send_head(struct sender *s, enum frame_kind kind, uint64_t page, uint32_t pages)
{
	struct frame_header h = { .kind = (uint8_t)kind, .round = s->round, .runs = pages > 0, .data_pages = pages,
		.payload_len = pages * PAGE, .sequence = s->sequence++ };
	uint8_t head[FRAME_HEADER_SIZE + FRAME_RUN_SIZE];

	if (!s->frames)
		return;
	frame_header_encode(&h, head);
	frame_runs_encode(&(struct page_run){ BASE + page * PAGE, pages, RUN_DATA }, h.runs, head + FRAME_HEADER_SIZE);
	if (send(s->sock, head, FRAME_HEADER_SIZE + h.runs * FRAME_RUN_SIZE, MSG_NOSIGNAL | (pages ? MSG_MORE : 0)) < 0)
		die("send");
}

static void send_payload(struct sender *s, const uint8_t *p, size_t len)
{
	if (bench_splice(s->pipe, s->sock, p, len, false) < 0)
		die("splice");
}

static void *sender_main(void *arg)
{
	struct sender *s = arg;
	uint64_t pages = s->o->size / PAGE, step = s->o->frame_pages;

	for (uint64_t at = s->index * step; at < pages; at += step * s->o->streams) {
		uint64_t n = pages - at < step ? pages - at : step;

		send_head(s, FRAME_PAGES, at, (uint32_t)n);
		send_payload(s, s->memory + at * PAGE, n * PAGE);
	}
	send_head(s, FRAME_ROUND_END, 0, 0);
	if (!s->frames)
		shutdown(s->sock, SHUT_WR);
	return NULL;
}

static void send_round(struct sender *s, unsigned streams, uint32_t round)
{
	for (unsigned i = 0; i < streams; i++) {
		s[i].round = round;
		if (pthread_create(&s[i].thread, NULL, sender_main, &s[i]) != 0)
			die("pthread_create");
	}
	for (unsigned i = 0; i < streams; i++)
		pthread_join(s[i].thread, NULL);
}

/* ---- plain receivers ---- */

struct plain {
	int sock;
	uint8_t *to;
	size_t len; /* 0: throw away */
	pthread_t thread;
};

static void *plain_main(void *arg)
{
	struct plain *p = arg;
	size_t at = 0;
	ssize_t n;

	do {
		size_t room = p->len ? p->len - at : DISCARD;

		n = room ? recv(p->sock, p->to + at, room < DISCARD ? room : DISCARD, 0) : recv(p->sock, &(char){ 0 }, 1, 0);
		if (n > 0 && p->len)
			at += (size_t)n;
	} while (n > 0);
	return NULL;
}

static void receive_plain(const struct options *o, enum receiver_kind kind, const int *socks)
{
	struct plain p[STREAMS_MAX];
	bool keep = kind != DISCARDING;
	uint64_t frames = (o->size / PAGE + o->frame_pages - 1) / o->frame_pages;
	size_t each = (frames + o->streams - 1) / o->streams * o->frame_pages * PAGE;
	uint8_t *to = map_fresh(keep ? each * o->streams : (size_t)DISCARD * o->streams, kind == FRESH_THP ? MADV_HUGEPAGE : 0);

	for (unsigned i = 0; i < o->streams; i++) {
		p[i] = (struct plain){ .sock = socks[i], .to = to + i * (keep ? each : DISCARD), .len = keep ? each : 0 };
		pthread_create(&p[i].thread, NULL, plain_main, &p[i]);
	}
	for (unsigned i = 0; i < o->streams; i++)
		pthread_join(p[i].thread, NULL);
}

/* ---- ours ---- */

static void apply(struct place *p, const struct options *o, enum receiver_kind kind, uint32_t round)
{
	Drayage__RoundBegin msg = DRAYAGE__ROUND_BEGIN__INIT;
	Drayage__MappedFile file = DRAYAGE__MAPPED_FILE__INIT, *files = &file;
	Drayage__Range range = DRAYAGE__RANGE__INIT, *ranges = &range;
	VmaEntry vma = VMA_ENTRY__INIT, *vmas = &vma;
	struct err e = { 0 };

	file.id = 1;
	file.path = (char *)(uintptr_t)"bench";
	file.size = o->size;
	file.has_shmem = file.shmem = true;
	vma.start = range.start = BASE;
	vma.end = BASE + o->size;
	range.end = vma.end & ~((2ull << 20) - 1);
	vma.shmid = 1;
	vma.status = kind == PLACE_SHMEM ? 0x4081 : 0x201;
	msg.round = round;
	msg.vmas = &vmas;
	msg.n_vmas = 1;
	msg.files = &files;
	msg.n_files = kind == PLACE_SHMEM;
	msg.populate = &ranges;
	msg.n_populate = kind == PLACE_HUGE || kind == PLACE_AGAIN;
	if (place_apply(p, &msg, &e) < 0) {
		fprintf(stderr, "receive: %s\n", e.text);
		exit(1);
	}
}

static void receive_placed(const struct options *o, enum receiver_kind kind, const int *socks, int ready, unsigned rounds)
{
	struct err e = { 0 };
	struct place *p = place_create(0, &e);
	struct stream_recv *r = p ? stream_recv_create(p, o->streams, &e) : NULL;
	struct stream_recv_stats st = { 0 };
	bool ok = r != NULL;

	for (unsigned i = 0; ok && i < o->streams; i++)
		ok = stream_recv_add(r, i, socks[i], &e) == 0;
	for (uint32_t round = 1; ok && round <= rounds; round++) {
		uint64_t cpu = bench_cpu_us();

		apply(p, o, kind, round);
		stream_recv_open_round(r, round);
		ok = write_full(ready, "r", 1) == 0 && stream_recv_barrier(r, round, -1, -1, &st, &e) == 0;
		cpu = bench_cpu_us() - cpu;
		ok = ok && st.pages == o->size / PAGE && write_full(ready, &cpu, sizeof(cpu)) == 0;
	}
	if (!ok)
		fprintf(stderr, "receive: %s\n", e.text);
	if (ok && place_resident_bytes(p) > o->size / 100 * 102 + (1 << 20))
		fprintf(stderr, "receive: %s: %llu bytes resident for %zu\n", names[kind], (unsigned long long)place_resident_bytes(p), o->size);
	stream_recv_destroy(r);
	place_destroy(p);
	_exit(ok ? 0 : 1);
}

static void receiver(const struct options *o, enum receiver_kind kind, const int *socks, int ready)
{
	uint64_t cpu;

	bench_prewarm(o->size + (64 << 20));
	if (kind >= PLACE_HUGE)
		receive_placed(o, kind, socks, ready, kind == PLACE_AGAIN ? 2 : 1);
	if (write_full(ready, "r", 1) < 0)
		_exit(1);
	cpu = bench_cpu_us();
	receive_plain(o, kind, socks);
	cpu = bench_cpu_us() - cpu;
	_exit(write_full(ready, &cpu, sizeof(cpu)) < 0);
}

/* ---- one measurement: the last round counts ---- */

static void measure(const struct options *o, enum receiver_kind kind, const uint8_t *memory)
{
	struct sender s[STREAMS_MAX];
	int there[STREAMS_MAX], ready[2], status;
	char streams[12], frame[12], size[24];
	uint64_t start = 0, took = 0, cpu = 0;
	const char *congestion = "";
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC) < 0)
		die("pipe2");
	for (unsigned i = 0; i < o->streams; i++) {
		int pair[2];

		if (bench_tcp_pair(pair) < 0)
			die("connect");
		there[i] = pair[1];
		s[i] = (struct sender){ .o = o, .memory = memory, .index = i, .sock = pair[0], .frames = kind >= PLACE_HUGE };
		congestion = bench_congestion(pair[0]);
		if (pipe2(s[i].pipe, O_CLOEXEC) < 0 || fcntl(s[i].pipe[1], F_SETPIPE_SZ, BENCH_PIPE) < 0)
			die("pipe2");
	}
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		for (unsigned i = 0; i < o->streams; i++)
			close(s[i].sock);
		receiver(o, kind, there, ready[1]);
	}
	close(ready[1]);
	for (unsigned i = 0; i < o->streams; i++)
		close(there[i]);
	for (uint32_t round = 1; round <= (kind == PLACE_AGAIN ? 2 : 1); round++) {
		char byte;

		if (read_full(ready[0], &byte, 1) < 0)
			die("the receiver ended");
		start = clock_us();
		send_round(s, o->streams, round);
		if (read_full(ready[0], &cpu, sizeof(cpu)) < 0)
			die("the receiver ended");
		took = clock_us() - start;
	}
	for (unsigned i = 0; i < o->streams; i++) {
		close(s[i].sock);
		close(s[i].pipe[0]);
		close(s[i].pipe[1]);
	}
	close(ready[0]);
	waitpid(pid, &status, 0);
	snprintf(streams, sizeof(streams), "%u", o->streams);
	snprintf(frame, sizeof(frame), "%u", o->frame_pages);
	snprintf(size, sizeof(size), "%zu", o->size);
	bench_json("receive", names[kind], "GB/s", (double)o->size / 1e3 / (double)took, "streams", streams, "frame_pages", frame, "bytes",
		   size, "congestion", congestion, NULL);
	bench_json("receive_cpu", names[kind], "s/GB", (double)cpu / 1e6 / ((double)o->size / 1e9), "streams", streams, "frame_pages", frame,
		   "bytes", size, "congestion", congestion, NULL);
}

static int usage(void)
{
	fprintf(stderr, "usage: receive [--size 1G] [--streams 1..16] [--frame-pages 1..1024] [--repeats N] [--case NAME]\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct options o = { .size = 1ull << 30, .streams = 1, .frame_pages = 256, .repeats = 1 };
	uint8_t *memory;

	for (int i = 1; i < argc; i += 2) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (strcmp(argv[i], "--size") == 0 && bench_size(value, &o.size))
			continue;
		if (strcmp(argv[i], "--streams") == 0)
			o.streams = (unsigned)strtoul(value, NULL, 10);
		else if (strcmp(argv[i], "--frame-pages") == 0)
			o.frame_pages = (unsigned)strtoul(value, NULL, 10);
		else if (strcmp(argv[i], "--repeats") == 0)
			o.repeats = (unsigned)strtoul(value, NULL, 10);
		else if (strcmp(argv[i], "--case") == 0)
			o.only = value;
		else
			return usage();
	}
	if (o.size < PAGE || o.streams == 0 || o.streams > STREAMS_MAX || o.frame_pages == 0 || o.frame_pages > FRAME_MAX_PAGES)
		return usage();
	o.size &= ~(size_t)(PAGE - 1);
	memory = map_fresh(o.size, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < o.size; i += 8)
		memcpy(memory + i, &(uint64_t){ i * 0x9e3779b97f4a7c15u + 1 }, 8);
	for (unsigned n = 0; n < o.repeats; n++) {
		for (unsigned k = 0; k < KINDS; k++) {
			if (!o.only || strcmp(o.only, names[k]) == 0)
				measure(&o, (enum receiver_kind)k, memory);
		}
	}
	return 0;
}
