/* SPDX-License-Identifier: Apache-2.0 */
/* limits.c - what this machine can do at best, so that a migration's figures have something to stand beside.
 *
 * limits [--mib N] [--repeats N] [--case NAME]: JSON lines (tests/lib/bench_json.h), a case "NAME xN" for each count of connections:
 *   memcpy               one thread, 64 KiB blocks into a warm buffer
 *   send-discard         plain send of 256 KiB, receiver throws away
 *   splice-discard       vmsplice of 1 MiB + splice to the socket, receiver throws away
 *   splice2-discard      the same with vmsplice in a thread of its own, as a twin does it
 *   uring-discard        the same, the splice calls by io_uring (header sends linked before them)
 *   splice-thp           vmsplice + splice, receiver recv()s into fresh huge pages: the limit of a first round
 *   splice2-thp, uring-thp, send-thp
 * The receiver is a process of its own. Memory that it fills is kept warm until it takes it (bench_warm.h: blocks that a hypervisor took
 * back cost ten times as much); the congestion control is set on each socket. */
#include <errno.h>
#include <liburing.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/err.h"
#include "proto/base/io.h"
#include "tests/lib/bench_json.h"
#include "tests/lib/bench_warm.h"

enum { MIB = 1 << 20, MAX_CONNECTIONS = 2, MAX_REPEATS = 15, HEADER = 48 };
enum how { HOW_MEMCPY, HOW_SEND, HOW_SPLICE, HOW_SPLICE2, HOW_URING };

struct limit_case { const char *name; enum how how; bool thp; };
static const struct limit_case cases[] = {
	{ "memcpy", HOW_MEMCPY, false },
	{ "send-discard", HOW_SEND, false },
	{ "splice-discard", HOW_SPLICE, false },
	{ "splice2-discard", HOW_SPLICE2, false },
	{ "uring-discard", HOW_URING, false },
	{ "send-thp", HOW_SEND, true },
	{ "splice-thp", HOW_SPLICE, true },
	{ "splice2-thp", HOW_SPLICE2, true },
	{ "uring-thp", HOW_URING, true },
};

struct lane { /* one connection, either end */
	pthread_t thread;
	enum how how;
	int sock;
	int pipe[2];
	char *mem;
	size_t len;
	bool thp;
	int failed;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void *map_memory(size_t len, int advice)
{
	char *p = mmap(NULL, len + 2 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	p = (char *)(((uintptr_t)p + 2 * MIB - 1) & ~(uintptr_t)(2 * MIB - 1));
	madvise(p, len, advice);
	return p;
}

/* ---- senders ---- */

static int send_all(int fd, const char *p, size_t len, int flags)
{
	while (len > 0) {
		ssize_t n = send(fd, p, len, flags | MSG_NOSIGNAL);

		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int splice_all(int from, int to, size_t len)
{
	while (len > 0) {
		ssize_t n = splice(from, NULL, to, NULL, len, SPLICE_F_MOVE | SPLICE_F_MORE);

		if (n <= 0)
			return n < 0 ? -errno : -EPIPE;
		len -= (size_t)n;
	}
	return 0;
}

static int vmsplice_all(int fd, char *p, size_t len)
{
	while (len > 0) {
		struct iovec iov = { .iov_base = p, .iov_len = len };
		ssize_t n = vmsplice(fd, &iov, 1, 0);

		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int lane_splice(struct lane *l)
{
	for (size_t at = 0; at < l->len; at += MIB) {
		int rc = vmsplice_all(l->pipe[1], l->mem + at, MIB);

		if (rc == 0)
			rc = splice_all(l->pipe[0], l->sock, MIB);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static void *feed_main(void *arg)
{
	struct lane *l = arg;

	for (size_t at = 0; at < l->len; at += MIB)
		if (vmsplice_all(l->pipe[1], l->mem + at, MIB) < 0)
			break;
	return NULL;
}

static int lane_splice2(struct lane *l)
{
	pthread_t feed;
	int rc = 0;

	pthread_create(&feed, NULL, feed_main, l);
	for (size_t at = 0; at < l->len && rc == 0; at += MIB)
		rc = splice_all(l->pipe[0], l->sock, MIB);
	pthread_join(feed, NULL);
	return rc;
}

/* Two halves of a pipe's worth: while io_uring's worker splices one out, the next is vmspliced in. */
static int lane_uring(struct lane *l)
{
	struct io_uring ring;
	unsigned limit[2] = { 1, 1 };
	size_t in = 0, out = 0;
	int rc = io_uring_queue_init(8, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);

	if (rc < 0)
		return rc;
	io_uring_register_iowq_max_workers(&ring, limit);
	while (out < l->len && rc == 0) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
		struct io_uring_cqe *cqe;

		if (in == out) {
			rc = vmsplice_all(l->pipe[1], l->mem + in, MIB / 2);
			in += MIB / 2;
		}
		io_uring_prep_splice(sqe, l->pipe[0], -1, l->sock, -1, (unsigned)(in - out), SPLICE_F_MOVE | SPLICE_F_MORE);
		io_uring_submit(&ring);
		if (in < l->len && rc == 0) {
			rc = vmsplice_all(l->pipe[1], l->mem + in, MIB / 2);
			in += MIB / 2;
		}
		if (io_uring_wait_cqe(&ring, &cqe) < 0 || cqe->res <= 0)
			rc = -EIO;
		else
			out += (size_t)cqe->res;
		io_uring_cqe_seen(&ring, cqe);
	}
	io_uring_queue_exit(&ring);
	return rc;
}

static void *send_main(void *arg)
{
	struct lane *l = arg;

	switch (l->how) {
	case HOW_MEMCPY:
		break;
	case HOW_SEND:
		for (size_t at = 0; at < l->len && l->failed == 0; at += MIB / 4)
			l->failed = send_all(l->sock, l->mem + at, MIB / 4, 0);
		break;
	case HOW_SPLICE:
		l->failed = lane_splice(l);
		break;
	case HOW_SPLICE2:
		l->failed = lane_splice2(l);
		break;
	case HOW_URING:
		l->failed = lane_uring(l);
		break;
	}
	return NULL;
}

/* ---- receiver, a process of its own ---- */

static void *recv_main(void *arg)
{
	struct lane *l = arg;
	size_t at = 0;

	while (at < l->len) {
		size_t want = l->len - at < MIB ? l->len - at : MIB;
		ssize_t n = recv(l->sock, l->thp ? l->mem + at : l->mem, l->thp ? want : MIB / 4, 0);

		if (n <= 0)
			break;
		at += (size_t)n;
	}
	return NULL;
}

static void receiver(int listener, int ready, unsigned connections, size_t len, bool thp)
{
	struct lane lane[MAX_CONNECTIONS];
	char *mem;
	struct rusage ru;
	double cpu;

	mem = map_memory(thp ? len : (size_t)MIB * MAX_CONNECTIONS, MADV_HUGEPAGE);
	if (write(ready, "r", 1) != 1)
		_exit(1);
	for (unsigned i = 0; i < connections; i++) {
		lane[i] = (struct lane){ .sock = accept(listener, NULL, NULL), .len = len / connections, .thp = thp };
		lane[i].mem = mem + (thp ? i * (len / connections) : (size_t)i * MIB);
	}
	for (unsigned i = 0; i < connections; i++)
		pthread_create(&lane[i].thread, NULL, recv_main, &lane[i]);
	for (unsigned i = 0; i < connections; i++)
		pthread_join(lane[i].thread, NULL);
	getrusage(RUSAGE_SELF, &ru);
	cpu = (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) + 1e-6 * (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
	if (write(ready, &cpu, sizeof(cpu)) != sizeof(cpu))
		_exit(1);
	_exit(0);
}

/* ---- one measurement ---- */

static int listen_loopback(struct sockaddr_in *at)
{
	socklen_t len = sizeof(*at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (fd < 0 || bind(fd, (struct sockaddr *)at, sizeof(*at)) < 0 || listen(fd, 4) < 0)
		die("listen");
	getsockname(fd, (struct sockaddr *)at, &len);
	return fd;
}

static double cpu_seconds(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) + 1e-6 * (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
}

struct sample { double gbps, cpu_send, cpu_recv; };

static void open_lane(struct lane *l, const struct sockaddr_in *at, enum how how, char *mem, size_t len)
{
	*l = (struct lane){ .how = how, .mem = mem, .len = len, .sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
	setsockopt(l->sock, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
	if (connect(l->sock, (const struct sockaddr *)at, sizeof(*at)) < 0)
		die("connect");
	if (pipe2(l->pipe, O_CLOEXEC) < 0)
		die("pipe2");
	fcntl(l->pipe[0], F_SETPIPE_SZ, MIB);
}

static struct sample run_wire(const struct limit_case *c, char *mem, size_t len, unsigned connections)
{
	struct sockaddr_in at;
	struct lane lane[MAX_CONNECTIONS];
	int listener = listen_loopback(&at), ready[2];
	pid_t warm = c->thp ? bench_warm_start(len) : 0;
	double cpu, cpu_recv = 0;
	uint64_t start;
	char byte;
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC) < 0)
		die("pipe2");
	pid = fork();
	if (pid == 0)
		receiver(listener, ready[1], connections, len, c->thp);
	if (pid < 0 || read(ready[0], &byte, 1) != 1)
		die("receiver");
	for (unsigned i = 0; i < connections; i++)
		open_lane(&lane[i], &at, c->how, mem + i * (len / connections), len / connections);
	cpu = cpu_seconds();
	start = clock_us();
	for (unsigned i = 0; i < connections; i++)
		pthread_create(&lane[i].thread, NULL, send_main, &lane[i]);
	for (unsigned i = 0; i < connections; i++)
		pthread_join(lane[i].thread, NULL);
	if (read(ready[0], &cpu_recv, sizeof(cpu_recv)) != sizeof(cpu_recv))
		die("receiver ended early");
	struct sample s = { .gbps = (double)len / 1e3 / (double)(clock_us() - start),
			    .cpu_send = (cpu_seconds() - cpu) / ((double)len / 1e9), .cpu_recv = cpu_recv / ((double)len / 1e9) };
	waitpid(pid, NULL, 0);
	bench_warm_stop(warm);
	for (unsigned i = 0; i < connections; i++) {
		if (lane[i].failed < 0)
			fprintf(stderr, "limits: %s: %s\n", c->name, strerror(-lane[i].failed));
		close(lane[i].sock);
		close(lane[i].pipe[0]);
		close(lane[i].pipe[1]);
	}
	close(listener);
	close(ready[0]);
	close(ready[1]);
	return s;
}

static struct sample run_memcpy(const char *mem, size_t len)
{
	char *to = map_memory(MIB, MADV_HUGEPAGE);
	double cpu = cpu_seconds();
	uint64_t start;

	memset(to, 1, MIB);
	start = clock_us();
	for (size_t at = 0; at < len; at += 65536)
		memcpy(to + at % MIB, mem + at, 65536);
	struct sample s = { .gbps = (double)len / 1e3 / (double)(clock_us() - start),
			    .cpu_send = (cpu_seconds() - cpu) / ((double)len / 1e9) };
	munmap(to, MIB);
	return s;
}

static int by_speed(const void *a, const void *b)
{
	double x = ((const struct sample *)a)->gbps, y = ((const struct sample *)b)->gbps;

	return x < y ? -1 : x > y;
}

/* min, max: NAN where only the median run's own figure is meant. */
static void report(const char *bench, const char *unit, const struct limit_case *c, unsigned connections, size_t len, unsigned repeats,
		   double value, double min, double max)
{
	char which[64], text[4][32];

	snprintf(which, sizeof(which), "%s x%u", c->name, connections);
	snprintf(text[0], sizeof(text[0]), "%zu", len);
	snprintf(text[1], sizeof(text[1]), "%u", repeats);
	snprintf(text[2], sizeof(text[2]), "%.3f", min);
	snprintf(text[3], sizeof(text[3]), "%.3f", max);
	bench_json(bench, which, unit, value, "bytes", text[0], "repeats", text[1], "congestion", "cubic", isnan(min) ? NULL : "min",
		   text[2], "max", text[3], NULL);
}

static void run_case(const struct limit_case *c, char *mem, size_t len, unsigned connections, unsigned repeats)
{
	struct sample s[MAX_REPEATS];

	for (unsigned i = 0; i < repeats; i++)
		s[i] = c->how == HOW_MEMCPY ? run_memcpy(mem, len) : run_wire(c, mem, len, connections);
	qsort(s, repeats, sizeof(s[0]), by_speed);
	report("limit", "GB/s", c, connections, len, repeats, s[repeats / 2].gbps, s[0].gbps, s[repeats - 1].gbps);
	report("limit_sender_cpu", "s/GB", c, connections, len, repeats, s[repeats / 2].cpu_send, NAN, NAN);
	if (c->how != HOW_MEMCPY)
		report("limit_receiver_cpu", "s/GB", c, connections, len, repeats, s[repeats / 2].cpu_recv, NAN, NAN);
}

int main(int argc, char **argv)
{
	size_t len = (size_t)1024 * MIB;
	unsigned repeats = 3;
	const char *only = NULL;
	uint64_t *word;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--mib") == 0)
			len = (size_t)strtoul(argv[i + 1], NULL, 10) / 4 * 4 * MIB;
		else if (strcmp(argv[i], "--repeats") == 0)
			repeats = (unsigned)strtoul(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--case") == 0)
			only = argv[i + 1];
	}
	if (len == 0 || repeats == 0 || repeats > MAX_REPEATS) {
		fprintf(stderr, "usage: limits [--mib N] [--repeats 1..%d] [--case NAME]\n", MAX_REPEATS);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	word = map_memory(len, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < len / 8; i++)
		word[i] = i * 0x9e3779b97f4a7c15u + 1;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (unsigned n = 1; n <= (cases[i].how == HOW_MEMCPY ? 1u : MAX_CONNECTIONS); n++)
			if (!only || strcmp(only, cases[i].name) == 0)
				run_case(&cases[i], (char *)word, len, n, repeats);
	return 0;
}
