/* SPDX-License-Identifier: Apache-2.0 */
/* page_server.c - what senders of CRIU's page-server protocol get from `dray page-server`, beside plain copies in the same run.
 *
 * page_server [--size 1G] [--dir DIR] [--repeats N] [--case NAME] [--port PORT]: rows
 *   page_server        GB/s: "discard", "discard x4", "discard x64" (recv into one buffer: the wire, by so many connections at once), "file", "files x4",
 *                      "files x64" (recv and pwrite into a file in DIR each: what receiving can be),
 *                      "1 session 24", "1 session 32", "4 sessions", "16 sessions", "64 sessions" (together as many bytes as one),
 *                      "1 native session" (as our own sender does it, uncompressed, with checksums), "native into memory" (its receiver without files:
 *                      pages go into memory that is there)
 *   page_server_answer us: "PARENT idle p50", "PARENT idle p99", "OPEN2 ...", "... 8 streaming p50" ... (eight senders of --size bytes each: DIR needs room for all)
 *                      "PARENT's floor idle p50" ...: answers of a process that has nothing to find out and runs before all others (SCHED_FIFO), in turns with these
 *   page_server_memory KiB: private dirty memory of a session's process, the largest of 64 (--case memory)
 * DIR: a filesystem to receive into (a new directory in /dev/shm). With --port the server is one that runs there already (criu's own, for one
 * session): then "1 session 24" alone makes sense.
 * A sender is a process; it splices ranges of 256 pages from its memory as criu does. */
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/pagesink/ps_sink.h"
#include "pageserver/stock/page_server.h"
#include "pageserver/stock/receiver.h"
#include "proto/base/io.h"
#include "proto/base/sock.h"
#include "proto/wire/ps_command.h"
#include "tests/lib/bench_dir.h"
#include "tests/lib/bench_env.h"
#include "tests/lib/bench_json.h"
#include "tests/lib/bench_server.h"
#include "tests/lib/bench_warm.h"

enum { PAGE = 4096, RANGE_PAGES = 256, DISCARD = 256 * 1024, STREAMING = 8, STREAM_BYTES = 64 << 20, QUESTIONS = 2000, /* at most */
       PAUSE_US = 1000, /* between two questions of a sender */
       MOST = 64,     /* connections at once */
       WARM = 320 << 20, /* beside what is sent: what lies free meanwhile (bench_warm.h), and buffers */
       CASE_S = 120,  /* a case that takes longer ends the program */
       STOP_MS = 10000 };

struct options {
	size_t size;
	unsigned repeats;
	const char *dir, *only;
	unsigned long port; /* of a server that runs already */
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* --- the server ----------------------------------------------------------------------------------------------------------------- */

static struct bench_server server_start(const struct options *o)
{
	const struct page_server_options p = { .images_dir = o->dir, .address = "127.0.0.1" };

	return o->port ? (struct bench_server){ .port = (uint16_t)o->port } : bench_server_start(&p);
}

/* --- a sender ------------------------------------------------------------------------------------------------------------------- */

struct sender {
	int sock, pipe[2];
	enum ps_layout layout;
};

static struct sender sender_open(uint16_t port, enum ps_layout layout)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port) };
	struct sender s = { .sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .layout = layout };

	bench_congestion(s.sock);
	if (connect(s.sock, (struct sockaddr *)&sa, sizeof(sa)) < 0 || pipe2(s.pipe, O_CLOEXEC) < 0 ||
	    fcntl(s.pipe[1], F_SETPIPE_SZ, BENCH_PIPE) < 0)
		die("connect");
	return s;
}

static void say(const struct sender *s, struct ps_command c, bool more)
{
	uint8_t header[PS_HEADER_MAX];

	ps_encode(s->layout, &c, header);
	if (send(s->sock, header, s->layout, MSG_NOSIGNAL | (more ? MSG_MORE : 0)) < 0)
		die("send");
}

static void ask(const struct sender *s, uint16_t code, uint64_t id)
{
	uint8_t answer[4];

	say(s, (struct ps_command){ .code = code, .dst = code == PS_CLOSE ? 0 : ps_dst_encode(PS_TASK, id) }, false);
	if (read_full(s->sock, answer, code == PS_OPEN2 ? 1 : 4) < 0)
		die("answer");
}

static void splice_range(const struct sender *s, const uint8_t *p, size_t len)
{
	if (bench_splice(s->pipe, s->sock, p, len, true) < 0)
		die("splice");
}

/* Of page map id, behind `before` bytes of it. */
static void send_ranges(const struct sender *s, uint64_t id, uint64_t before, const uint8_t *memory, size_t len)
{
	for (size_t at = 0; at < len; at += (size_t)RANGE_PAGES * PAGE) {
		size_t part = len - at < (size_t)RANGE_PAGES * PAGE ? len - at : (size_t)RANGE_PAGES * PAGE;
		/* a page between ranges is not sent: a page map of many entries */
		struct ps_command c = { .code = PS_ADD_F, .flags = PS_PRESENT, .nr = part / PAGE,
					.vaddr = 0x10000000 + before + at + (before + at) / RANGE_PAGES, .dst = ps_dst_encode(PS_TASK, id) };

		say(s, c, true);
		splice_range(s, memory + at, part);
	}
}

static void send_map(const struct sender *s, uint64_t id, const uint8_t *memory, size_t len)
{
	ask(s, PS_OPEN2, id);
	send_ranges(s, id, 0, memory, len);
}

/* --- throughput ----------------------------------------------------------------------------------------------------------------- */

/* Forks; the child waits for the gate to close and calls body. */
static pid_t runner(const int gate[2], void (*body)(void *arg), void *arg)
{
	pid_t pid = fork();
	char byte;

	if (pid < 0)
		die("fork");
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(gate[1]);
	if (read(gate[0], &byte, 1) < 0)
		die("start");
	body(arg);
	_exit(0);
}

struct share { uint16_t port; enum ps_layout layout; const uint8_t *memory; size_t len; unsigned index, streams; };

static void send_share(void *arg)
{
	const struct share *w = arg;
	struct sender s = sender_open(w->port, w->layout);

	ask(&s, PS_PARENT, 100 + w->index);
	send_map(&s, 100 + w->index, w->memory, w->len);
	ask(&s, PS_CLOSE, 0);
	close(s.sock);
}

static int connect_to(void *arg, struct err *e)
{
	return ps_connect("127.0.0.1", *(const uint16_t *)arg, e);
}

/* As our own dumps send it: frames in place of ranges, with checksums; held until they were taken, but with no streams. */
static void send_native(void *arg)
{
	const struct share *w = arg;
	const size_t piece = (size_t)RANGE_PAGES * PAGE;
	struct err e = { 0 };
	int fd = ps_connect("127.0.0.1", w->port, &e);
	struct ps_sink_config c = { .fd = fd, .mode = COMPRESS_NONE, .choice.streams = w->streams, .arg = (void *)(uintptr_t)&w->port,
				    .connect = w->streams ? connect_to : NULL };
	struct page_sink *s = fd < 0 ? NULL : ps_sink_open(&c, &e);
	bool parent, ok = s && s->ops->open(s, PAGEMAP_TASK, 100 + w->index, &parent, &e) == 0;

	for (size_t at = 0; ok && at < w->len; at += piece)
		ok = s->ops->pages(s, 0x10000000 + at + at / RANGE_PAGES, (w->len - at < piece ? w->len - at : piece) / PAGE, PAGE_PRESENT,
				   w->memory + at, &e) == 0;
	if (!ok || s->ops->finish(s, &e) < 0) {
		fprintf(stderr, "page_server: %s\n", e.text);
		_exit(1);
	}
	s->ops->destroy(s);
	close(fd);
}

static void row(const struct options *o, const char *which, double gbps)
{
	char size[24];

	snprintf(size, sizeof(size), "%zu", o->size);
	bench_json("page_server", which, "GB/s", gbps, "bytes", size, NULL);
}

/* What of a process's memory is dirty and no other's; files that it writes through mappings are the files' memory. */
static unsigned long private_kib(const char *pid)
{
	unsigned long sum = 0, kib = 0;
	char path[64], line[512];
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%.20s/smaps", pid);
	in = fopen(path, "re");
	while (in && fgets(line, sizeof(line), in))
		if (sscanf(line, "Private_Dirty: %lu", &kib) != 1 && strncmp(line, "VmFlags:", 8) == 0 && !strstr(line, " sh "))
			sum += kib;
	if (in)
		fclose(in);
	return sum;
}

/* The largest of the server's sessions. */
static void memory_of_sessions(const struct bench_server *s)
{
	unsigned long largest = 0, kib;
	char path[64], pid[24];
	FILE *children;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", s->pid, s->pid);
	children = fopen(path, "re");
	while (children && fscanf(children, "%23s", pid) == 1) {
		kib = private_kib(pid);
		largest = kib > largest ? kib : largest;
	}
	if (children)
		fclose(children);
	bench_json("page_server_memory", "memory of a session", "KiB", (double)largest, NULL);
}

/* which: NULL to see what memory they take, which disturbs them. */
static void measure_sessions(const struct options *o, const char *which, unsigned sessions, enum ps_layout layout, unsigned streams, const uint8_t *memory)
{
	struct share share[MOST];
	struct bench_server s;
	pid_t pid[MOST];
	uint64_t start;
	pid_t warm = bench_warm_start(o->size + WARM);
	int gate[2], bad = 0, status;

	s = server_start(o);
	if (pipe2(gate, O_CLOEXEC) < 0)
		die("pipe2");
	for (unsigned i = 0; i < sessions; i++) {
		size_t each = o->size / sessions / PAGE * PAGE;

		share[i] = (struct share){ .port = s.port, .layout = layout, .memory = memory + i * each, .len = each, .index = i, .streams = streams };
		pid[i] = runner(gate, layout == PS_LAYOUT_UNKNOWN ? send_native : send_share, &share[i]);
	}
	start = clock_us();
	close(gate[1]);
	if (!which) {
		usleep((useconds_t)(o->size / 20000)); /* in the middle, at 5 GB/s or less */
		memory_of_sessions(&s);
	}
	for (unsigned i = 0; i < sessions; i++)
		if (waitpid(pid[i], &status, 0) < 0 || status)
			bad = 1;
	if (which)
		row(o, which, bad ? 0 : (double)o->size / 1e3 / (double)(clock_us() - start));
	bench_warm_stop(warm);
	close(gate[0]);
	bench_server_stop(&s);
	bench_server_forget(o->dir);
}

/* --- a native session without files --------------------------------------------------------------------------------------------- */

struct memory_sink { struct page_sink sink; uint8_t *at, *end; };

static int memory_open(struct page_sink *s, enum pagemap_kind kind, uint64_t id, bool *parent, struct err *e)
{
	(void)s;
	(void)kind;
	(void)id;
	(void)e;
	*parent = false;
	return 0;
}

static int memory_pages(struct page_sink *s, uint64_t vaddr, uint64_t nr, uint32_t flags, const void *data, struct err *e)
{
	struct memory_sink *m = (struct memory_sink *)s;

	(void)vaddr;
	(void)flags;
	if ((size_t)(m->end - m->at) < nr * PAGE)
		return err_set(e, ERR_INTERNAL, 0, "more pages than were sent");
	if (data != m->at)
		memcpy(m->at, data, nr * PAGE);
	m->at += nr * PAGE;
	return 0;
}

static uint8_t *memory_room(struct page_sink *s, uint64_t *bytes)
{
	const struct memory_sink *m = (const struct memory_sink *)s;

	*bytes = (uint64_t)(m->end - m->at);
	return m->at;
}

static int memory_finish(struct page_sink *s, struct err *e)
{
	const struct memory_sink *m = (const struct memory_sink *)s;

	return m->at == m->end ? 0 : err_set(e, ERR_INTERNAL, 0, "fewer pages than were sent");
}

struct memory_server { int listener, ready; size_t len; };

/* Memory of its own in huge pages, there before anything comes. */
static void serve_memory(void *arg)
{
	static const struct page_sink_ops ops = { .has_parent = memory_open, .open = memory_open, .pages = memory_pages,
						.room = memory_room, .finish = memory_finish };
	const struct page_server_config c = { 0 };
	const struct memory_server *m = arg;
	uint8_t *memory = mmap(NULL, m->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct memory_sink sink = { .sink.ops = &ops, .at = memory, .end = memory + m->len };
	struct page_server_report report = { 0 };
	struct err e = { 0 };
	int fd;

	if (memory == MAP_FAILED)
		die("mmap");
	madvise(memory, m->len, MADV_HUGEPAGE);
	for (size_t at = 0; at < m->len; at += PAGE)
		memory[at] = 1;
	if (write(m->ready, "r", 1) != 1)
		die("ready");
	fd = page_server_accept(m->listener, &e);
	if (fd < 0 || ps_receive(fd, false, &sink.sink, &c, &report, &e) < 0 || !report.native) {
		fprintf(stderr, "page_server: %s\n", e.text);
		_exit(1);
	}
}

static void measure_memory(const struct options *o, const uint8_t *memory)
{
	struct share share = { .memory = memory, .len = o->size / PAGE * PAGE };
	struct memory_server m = { .len = share.len };
	struct err e = { 0 };
	int gate[2], ready[2], bad = 0, status;
	pid_t pid[2];
	uint64_t start;
	char byte;

	m.listener = page_server_listen("127.0.0.1", 0, &e);
	if (m.listener < 0 || pipe2(gate, O_CLOEXEC) < 0 || pipe2(ready, O_CLOEXEC) < 0)
		die("listen");
	share.port = (uint16_t)sock_port(m.listener);
	m.ready = ready[1];
	pid[0] = runner(gate, serve_memory, &m);
	close(gate[1]);
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		die("the receiver ended");
	start = clock_us();
	pid[1] = runner(gate, send_native, &share);
	for (unsigned i = 0; i < 2; i++)
		if (waitpid(pid[i], &status, 0) < 0 || status)
			bad = 1;
	row(o, "native into memory", bad ? 0 : (double)share.len / 1e3 / (double)(clock_us() - start));
	close(gate[0]);
	close(ready[0]);
	close(m.listener);
}

/* --- plain receivers ------------------------------------------------------------------------------------------------------------ */

struct plain { int pair[2]; const char *dir; const uint8_t *memory; size_t len; unsigned index; };

static void receive_plain(void *arg)
{
	static uint8_t buf[DISCARD];
	const struct plain *p = arg;
	char path[4096];
	int file = -1;
	off_t at = 0;
	ssize_t n;

	close(p->pair[0]);
	if (p->dir) {
		snprintf(path, sizeof(path), "%s/plain-%u", p->dir, p->index);
		file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	}
	while ((n = recv(p->pair[1], buf, sizeof(buf), 0)) > 0) {
		if (p->dir && pwrite(file, buf, (size_t)n, at) != n)
			die("pwrite");
		at += n;
	}
}

static void send_plain(void *arg)
{
	const struct plain *p = arg;
	struct sender s = { .sock = p->pair[0] };

	close(p->pair[1]);
	if (pipe2(s.pipe, O_CLOEXEC) < 0 || fcntl(s.pipe[1], F_SETPIPE_SZ, BENCH_PIPE) < 0)
		die("a pipe");
	splice_range(&s, p->memory, p->len);
}

/* A pair is made right before its two processes and closed right behind them, so that no other holds its ends open. */
static void start_plain(const int gate[2], struct plain *p, pid_t pid[2])
{
	if (bench_tcp_pair(p->pair) < 0)
		die("a pair");
	pid[0] = runner(gate, receive_plain, p);
	pid[1] = runner(gate, send_plain, p);
	close(p->pair[0]);
	close(p->pair[1]);
}

static void measure_plain(const struct options *o, const char *which, unsigned connections, bool file, const uint8_t *memory)
{
	struct plain plain[MOST];
	pid_t pid[MOST][2], warm = file ? bench_warm_start(o->size + WARM) : 0;
	uint64_t start;
	int gate[2], bad = 0, status;

	if (pipe2(gate, O_CLOEXEC) < 0)
		die("pipe2");
	for (unsigned i = 0; i < connections; i++) {
		size_t each = o->size / connections / PAGE * PAGE;

		plain[i] = (struct plain){ .dir = file ? o->dir : NULL, .memory = memory + i * each, .len = each, .index = i };
		start_plain(gate, &plain[i], pid[i]);
	}
	start = clock_us();
	close(gate[1]);
	for (unsigned i = 0; i < 2 * connections; i++)
		if (waitpid(pid[i / 2][i % 2], &status, 0) < 0 || status)
			bad = 1;
	row(o, which, bad ? 0 : (double)o->size / 1e3 / (double)(clock_us() - start));
	bench_warm_stop(warm);
	close(gate[0]);
	bench_server_forget(o->dir);
}

/* --- how soon it answers -------------------------------------------------------------------------------------------------------- */

struct stream { uint16_t port; const uint8_t *memory; size_t len; int begun; };

/* One page map; says when its first pages are on their way. */
static void stream_on(void *arg)
{
	const struct stream *w = arg;
	struct sender s = sender_open(w->port, PS_LAYOUT_32);

	ask(&s, PS_OPEN2, 1);
	send_ranges(&s, 1, 0, w->memory, STREAM_BYTES);
	if (write(w->begun, "b", 1) != 1)
		die("begun");
	send_ranges(&s, 1, STREAM_BYTES, w->memory + STREAM_BYTES, w->len - STREAM_BYTES);
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static bool one_ended(void)
{
	int status = 0;
	bool ended = waitpid(-1, &status, WNOHANG) > 0;

	if (status)
		die("a stream");
	return ended;
}

/* How long answers took. */
struct answers { uint32_t us[QUESTIONS]; unsigned n; };

static void time_answer(const struct sender *s, uint16_t code, uint64_t id, struct answers *a)
{
	uint64_t start = clock_us();

	ask(s, code, id);
	a->us[a->n++] = (uint32_t)(clock_us() - start);
	usleep(PAUSE_US / 2);
}

static void answer_rows(struct answers *a, const char *what, const char *when)
{
	char which[64];

	qsort(a->us, a->n, sizeof(a->us[0]), by_value);
	snprintf(which, sizeof(which), "%s %s p50", what, when);
	bench_json("page_server_answer", which, "us", a->us[a->n / 2], NULL);
	snprintf(which, sizeof(which), "%s %s p99", what, when);
	bench_json("page_server_answer", which, "us", a->us[a->n * 99 / 100], NULL);
}

/* In turns, for as long as all stream. */
static void question(const struct sender *server, const struct sender *floor, uint16_t code, bool streaming)
{
	static struct answers by_server, by_floor;
	const char *when = streaming ? "8 streaming" : "idle";
	char what[32];

	by_server.n = by_floor.n = 0;
	while (by_server.n < QUESTIONS && !(streaming && one_ended())) {
		time_answer(server, code, 1000 + by_server.n, &by_server);
		time_answer(floor, PS_PARENT, 1, &by_floor);
	}
	answer_rows(&by_server, ps_name(code), when);
	snprintf(what, sizeof(what), "%s's floor", ps_name(code));
	answer_rows(&by_floor, what, when);
}

/* Who asks is not what is measured: its own wait for a processor does not count. Nobody else may inherit that: a server and senders with it leave no
 * processor to anything else. */
static void before_all(bool on)
{
	struct sched_param priority = { .sched_priority = on ? 10 : 0 };

	if (sched_setscheduler(0, on ? SCHED_FIFO | SCHED_RESET_ON_FORK : SCHED_OTHER, &priority) < 0)
		perror("sched_setscheduler");
}

static void start_streams(const struct options *o, uint16_t port, const uint8_t *memory, pid_t pid[STREAMING])
{
	int gate[2], begun[2];
	char byte;

	if (pipe2(gate, O_CLOEXEC) < 0 || pipe2(begun, O_CLOEXEC) < 0)
		die("pipe2");
	for (unsigned i = 0; i < STREAMING; i++)
		pid[i] = runner(gate, stream_on, &(struct stream){ .port = port, .memory = memory, .len = o->size, .begun = begun[1] });
	close(gate[0]);
	close(gate[1]);
	close(begun[1]);
	for (unsigned i = 0; i < STREAMING; i++)
		if (read(begun[0], &byte, 1) != 1)
			die("a stream");
	close(begun[0]);
}

/* The least that an answer can cost here: by somebody who has nothing to find out and runs before all others. */
static void answer_at_once(void *arg)
{
	int fd = accept4(*(int *)arg, NULL, NULL, SOCK_CLOEXEC);
	uint8_t header[PS_LAYOUT_24];

	before_all(true);
	while (read_full(fd, header, sizeof(header)) == 0)
		if (send(fd, &(uint32_t){ 0 }, 4, MSG_NOSIGNAL) < 0)
			die("floor");
}

static struct sender asker_open(uint16_t port)
{
	struct sender s = sender_open(port, PS_LAYOUT_24);

	setsockopt(s.sock, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	return s;
}

static pid_t floor_start(struct sender *s)
{
	struct err e = { 0 };
	int gate[2], fd = page_server_listen("127.0.0.1", 0, &e);
	pid_t pid;

	if (fd < 0 || pipe2(gate, O_CLOEXEC) < 0)
		die("listen");
	pid = runner(gate, answer_at_once, &fd);
	close(gate[0]);
	close(gate[1]);
	*s = asker_open((uint16_t)sock_port(fd));
	close(fd);
	return pid;
}

static void measure_answers(const struct options *o, uint16_t code, bool streaming, const uint8_t *memory)
{
	struct bench_server server = server_start(o);
	pid_t pid[STREAMING], warm = streaming ? bench_warm_start(STREAMING * o->size + WARM) : 0, at_once;
	struct sender s = asker_open(server.port), floor;

	at_once = floor_start(&floor);
	if (streaming)
		start_streams(o, server.port, memory, pid);
	before_all(true);
	question(&s, &floor, code, streaming);
	before_all(false);
	ask(&s, PS_CLOSE, 0);
	close(s.sock);
	close(floor.sock);
	kill(at_once, SIGKILL);
	waitpid(at_once, NULL, 0);
	for (unsigned i = 0; streaming && i < STREAMING; i++) {
		kill(pid[i], SIGKILL);
		waitpid(pid[i], NULL, 0);
	}
	bench_warm_stop(warm);
	bench_server_stop(&server);
	bench_server_forget(o->dir);
}

/* --- the program ---------------------------------------------------------------------------------------------------------------- */

/* Whether to measure it; from now on it has so long. */
static bool wanted(const struct options *o, const char *which)
{
	bool is = !o->only || strcmp(o->only, which) == 0;

	if (is)
		alarm(CASE_S); /* the default action: everybody else ends with this process */
	return is;
}

static void all(const struct options *o, const uint8_t *memory)
{
	static const struct { const char *which; unsigned connections; bool file; } plain[] = {
		{ "discard", 1, false }, { "discard x4", 4, false }, { "discard x64", MOST, false },
		{ "file", 1, true }, { "files x4", 4, true }, { "files x64", MOST, true },
	};
	static const struct { const char *which; unsigned sessions; enum ps_layout layout; unsigned streams; } cases[] = {
		{ "1 session 24", 1, PS_LAYOUT_24, 0 }, { "1 session 32", 1, PS_LAYOUT_32, 0 }, { "4 sessions", 4, PS_LAYOUT_32, 0 },
		{ "16 sessions", 16, PS_LAYOUT_32, 0 }, { "64 sessions", MOST, PS_LAYOUT_32, 0 }, { "1 native session", 1, PS_LAYOUT_UNKNOWN, 1 },
		{ "1 native session x2", 1, PS_LAYOUT_UNKNOWN, 2 }, { "1 native session, not held", 1, PS_LAYOUT_UNKNOWN, 0 },
	};

	for (unsigned i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (wanted(o, plain[i].which))
			measure_plain(o, plain[i].which, plain[i].connections, plain[i].file, memory);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (wanted(o, cases[i].which))
			measure_sessions(o, cases[i].which, cases[i].sessions, cases[i].layout, cases[i].streams, memory);
	if (wanted(o, "memory"))
		measure_sessions(o, NULL, MOST, PS_LAYOUT_32, 0, memory);
	if (wanted(o, "native into memory"))
		measure_memory(o, memory);
	for (unsigned i = 0; i < 4; i++)
		if (wanted(o, i / 2 ? "8 streaming" : "idle"))
			measure_answers(o, i % 2 ? PS_OPEN2 : PS_PARENT, i / 2, memory);
}

static int usage(void)
{
	fprintf(stderr, "usage: page_server [--size 1G] [--dir DIR] [--repeats N] [--case NAME] [--port PORT]\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct options o = { .size = 1ull << 30, .repeats = 1 };
	char own[] = "/dev/shm/page-server-XXXXXX";
	uint8_t *memory;

	for (int i = 1; i < argc; i += 2) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (strcmp(argv[i], "--size") == 0 && bench_size(value, &o.size) && o.size >= STREAM_BYTES)
			continue;
		if (strcmp(argv[i], "--dir") == 0)
			o.dir = value;
		else if (strcmp(argv[i], "--repeats") == 0)
			o.repeats = (unsigned)strtoul(value, NULL, 10);
		else if (strcmp(argv[i], "--case") == 0)
			o.only = value;
		else if (strcmp(argv[i], "--port") == 0)
			o.port = strtoul(value, NULL, 10);
		else
			return usage();
	}
	if (!o.dir) {
		bench_dir_make(own);
		o.dir = own;
	}
	memory = mmap(NULL, o.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		die("mmap");
	for (size_t i = 0; i < o.size; i += 8)
		memcpy(memory + i, &(uint64_t){ i * 0x9e3779b97f4a7c15u + 1 }, 8);
	for (unsigned n = 0; n < o.repeats; n++)
		all(&o, memory);
	if (o.dir == own)
		bench_dir_remove(own);
	return 0;
}
