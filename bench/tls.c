/* SPDX-License-Identifier: Apache-2.0 */
/* tls.c - what TLS costs a connection on this machine.
 *
 * tls [--mib N] [--connections N]: JSON lines (tests/lib/bench_json.h), GB/s of one direction over all connections:
 *   plain        sends of 256 KiB, receives into one buffer
 *   relay        the same through a relay at both ends (proto/base/tls_relay.h)
 *   spliced      into the sender's relay by vmsplice and splice of 1 MiB
 *   in-process   sender and receiver do TLS themselves, a thread each
 *   kernel       the same as plain on sockets that the kernel encrypts; left out where it can't
 * and into a page server of ours, by one connection, half as many MiB, into /dev/shm:
 *   stock session    the sender does TLS itself, in records as criu does it; its in-process pair above is what can be reached without files
 *   native session   as our own dumps send, uncompressed, with checksums, by a relay
 *   ... by the kernel  the same where the kernel encrypts: of a stock session the server's side, of a native one both
 * Encrypting and decrypting share the machine's processors here, as they would not on two hosts. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "migrate/pagesink/ps_sink.h"
#include "proto/base/io.h"
#include "proto/base/tls_relay.h"
#include "proto/wire/ps_command.h"
#include "tests/lib/bench_dir.h"
#include "tests/lib/bench_env.h"
#include "tests/lib/bench_json.h"
#include "tests/lib/bench_server.h"
#include "tests/lib/bench_warm.h"
#include "tests/lib/certs.h"

enum { MIB = 1 << 20, BUFFER = 256 * 1024, MAX_CONNECTIONS = 8, HANDSHAKE_MS = 10000, RANGE_PAGES = 256, WARM = 320 << 20 };
enum how { PLAIN, RELAY, SPLICED, IN_PROCESS, KERNEL };
static const char *const names[] = { "plain", "relay", "spliced", "in-process", "kernel" };

struct lane {
	enum how how;
	int fd[2]; /* sender's, receiver's */
	size_t bytes;
	struct tls_context *context;
	pthread_t sender, receiver;
	bool failed;
};

static void splice_all(const struct lane *l, char *mem)
{
	int pipes[2];

	if (pipe2(pipes, O_CLOEXEC) < 0)
		return;
	fcntl(pipes[1], F_SETPIPE_SZ, MIB);
	for (size_t left = l->bytes; left > 0;) {
		struct iovec iov = { mem, MIB };
		ssize_t n = vmsplice(pipes[1], &iov, 1, 0);

		for (ssize_t out = n; n > 0 && out > 0;) {
			ssize_t m = splice(pipes[0], NULL, l->fd[0], NULL, (size_t)out, SPLICE_F_MOVE | SPLICE_F_MORE);

			if (m <= 0)
				return;
			out -= m;
		}
		if (n <= 0)
			return;
		left -= (size_t)n < left ? (size_t)n : left;
	}
	close(pipes[0]);
	close(pipes[1]);
}

/* Some of it, once there is room or it is there. */
static size_t tls_some(struct tls_session *s, int fd, bool sending, char *mem, size_t len)
{
	ssize_t n;

	while ((n = sending ? tls_write(s, mem, len) : tls_read(s, mem, len)) == -EAGAIN)
		poll(&(struct pollfd){ .fd = fd, .events = tls_events(s) }, 1, -1);
	return n > 0 ? (size_t)n : 0;
}

static void flush(struct tls_session *s, int fd)
{
	while (tls_flush(s) == -EAGAIN)
		poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, -1);
}

static void tls_both(struct lane *l, bool sending, char *mem)
{
	struct err e = { 0 };
	int fd = l->fd[sending ? 0 : 1];
	struct tls_session *s = tls_open(l->context, fd, sending ? TLS_CLIENT : TLS_SERVER, NULL, HANDSHAKE_MS, &e);

	if (s && !sending)
		tls_read_ahead(s);
	for (size_t left = l->bytes, n = 1; s && left > 0 && n > 0; left -= n)
		n = tls_some(s, fd, sending, mem, left < BUFFER ? left : BUFFER);
	if (s && sending)
		flush(s, fd);
	l->failed = !s;
	tls_close(s);
}

static void *send_all(void *arg)
{
	struct lane *l = arg;
	char *mem = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (l->how == IN_PROCESS)
		tls_both(l, true, mem);
	else if (l->how == SPLICED)
		splice_all(l, mem);
	else
		for (size_t left = l->bytes; left > 0 && write_full(l->fd[0], mem, BUFFER) == 0; left -= BUFFER)
			;
	munmap(mem, MIB);
	return NULL;
}

static void *receive_all(void *arg)
{
	struct lane *l = arg;
	char *mem = mmap(NULL, BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (l->how == IN_PROCESS) {
		tls_both(l, false, mem);
	} else {
		size_t left = l->bytes;

		while (left > 0) {
			ssize_t n = recv(l->fd[1], mem, BUFFER, MSG_WAITALL);

			if (n <= 0)
				break;
			left -= (size_t)n < left ? (size_t)n : left;
		}
		l->failed = left > 0;
	}
	munmap(mem, BUFFER);
	return NULL;
}

static bool wrap(struct tls_gate *g, struct lane *l)
{
	bool kernel = l->how == KERNEL;
	struct tls_link a, b;
	struct err e = { 0 };

	if (tls_gate_begin(g, l->fd[0], &(struct tls_wish){ TLS_CLIENT, NULL, HANDSHAKE_MS, kernel, false, false }, &a, &e) < 0 ||
	    tls_gate_wrap(g, l->fd[1], &(struct tls_wish){ TLS_SERVER, NULL, HANDSHAKE_MS, kernel, false, false }, &b, &e) < 0 ||
	    tls_gate_finish(&a, &e) < 0) {
		fprintf(stderr, "%s\n", e.text);
		exit(1);
	}
	l->fd[0] = a.fd;
	l->fd[1] = b.fd;
	return !kernel || (a.in_kernel && b.in_kernel);
}

static void run_case(struct tls_gate *g, struct tls_context *x, enum how how, unsigned connections, size_t bytes)
{
	struct lane lanes[MAX_CONNECTIONS];
	char text[16], which[32];
	bool good = true;
	uint64_t begin;

	for (unsigned i = 0; i < connections; i++) {
		lanes[i] = (struct lane){ .how = how, .bytes = bytes / connections, .context = x };
		if (bench_tcp_pair(lanes[i].fd) < 0)
			exit(1);
		bench_congestion(lanes[i].fd[0]);
		bench_congestion(lanes[i].fd[1]);
		if (how != PLAIN && how != IN_PROCESS)
			good = wrap(g, &lanes[i]) && good;
	}
	begin = clock_us();
	for (unsigned i = 0; i < connections && good; i++) {
		pthread_create(&lanes[i].sender, NULL, send_all, &lanes[i]);
		pthread_create(&lanes[i].receiver, NULL, receive_all, &lanes[i]);
	}
	for (unsigned i = 0; i < connections; i++) {
		if (good) {
			pthread_join(lanes[i].sender, NULL);
			pthread_join(lanes[i].receiver, NULL);
		}
		close(lanes[i].fd[0]);
		close(lanes[i].fd[1]);
	}
	for (unsigned i = 0; i < connections; i++)
		good = good && !lanes[i].failed;
	snprintf(text, sizeof(text), "%u", connections);
	snprintf(which, sizeof(which), "%s x%u", names[how], connections);
	if (good)
		bench_json("tls", which, "GB/s", (double)bytes / (double)(clock_us() - begin) / 1e3, "connections", text, NULL);
}

/* --- into a page server --------------------------------------------------------------------------------------------------------- */

static void fail(const struct err *e)
{
	fprintf(stderr, "tls: %s\n", e->text);
	exit(1);
}

static void ask(struct tls_session *s, int fd, uint16_t code, size_t answer)
{
	const struct ps_command c = { .code = code, .dst = code == PS_CLOSE ? 0 : ps_dst_encode(PS_TASK, 100) };
	char header[PS_HEADER_MAX], status[4];

	ps_encode(PS_LAYOUT_24, &c, (unsigned char *)header);
	tls_some(s, fd, true, header, PS_HEADER_MIN);
	flush(s, fd);
	for (size_t n = 1; answer > 0 && n > 0; answer -= n)
		n = tls_some(s, fd, false, status, answer);
	if (answer > 0)
		fail(&(struct err){ .text = "the page server does not answer" });
}

/* Which address the at-th MiB has: a page lies between each two, so that they stay ranges. */
static uint64_t address(size_t at)
{
	return 0x10000000 + (uint64_t)at * (MIB + 4096);
}

static uint64_t stock_session(struct tls_context *x, int fd, char *mem, size_t mib)
{
	struct err e = { 0 };
	struct tls_session *s = tls_open(x, fd, TLS_CLIENT, NULL, HANDSHAKE_MS, &e);
	uint64_t begin = clock_us();

	if (!s)
		fail(&e);
	ask(s, fd, PS_OPEN2, PS_OPEN2_ANSWER);
	for (size_t at = 0; at < mib; at++) {
		const struct ps_command c = { .code = PS_ADD_F, .flags = PS_PRESENT, .nr = RANGE_PAGES, .vaddr = address(at),
					      .dst = ps_dst_encode(PS_TASK, 100) };
		char header[PS_HEADER_MAX];

		ps_encode(PS_LAYOUT_24, &c, (unsigned char *)header);
		tls_some(s, fd, true, header, PS_HEADER_MIN);
		for (size_t n = 1, done = 0; done < MIB && n > 0; done += n)
			n = tls_some(s, fd, true, mem + done, MIB - done);
	}
	ask(s, fd, PS_CLOSE, PS_STATUS_ANSWER);
	begin = clock_us() - begin;
	while (tls_bye(s) == -EAGAIN)
		poll(&(struct pollfd){ .fd = fd, .events = tls_events(s) }, 1, -1);
	tls_close(s);
	close(fd);
	return begin;
}

static uint64_t native_session(struct tls_gate *g, int fd, const char *mem, size_t mib, bool kernel)
{
	const struct tls_wish wish = { .role = TLS_CLIENT, .timeout_ms = HANDSHAKE_MS, .kernel = kernel, .stock = true, .cut = true };
	struct tls_link l;
	struct ps_sink_config config = { .tls = &l, .choice.protocol = PS_NATIVE, .mode = COMPRESS_NONE };
	struct page_sink *s;
	struct err e = { 0 };
	uint64_t begin;
	bool parent, good;

	if (tls_gate_wrap(g, fd, &wish, &l, &e) < 0)
		fail(&e);
	begin = clock_us();
	config.fd = l.fd;
	s = ps_sink_open(&config, &e);
	good = s && s->ops->open(s, PAGEMAP_TASK, 100, &parent, &e) == 0;
	for (size_t at = 0; good && at < mib; at++)
		good = s->ops->pages(s, address(at), RANGE_PAGES, PAGE_PRESENT, mem, &e) == 0;
	if (!good || s->ops->finish(s, &e) < 0)
		fail(&e);
	begin = clock_us() - begin;
	s->ops->destroy(s);
	tls_link_close(&l);
	return begin;
}

/* The server reads the variable when it starts. */
static void run_session(struct tls_gate *g, struct tls_context *x, const struct page_server_options *o, bool native, bool kernel, size_t mib)
{
	char which[48];
	char *mem = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	struct bench_server server;
	struct err e = { 0 };
	pid_t warm;
	uint64_t us;
	int fd;

	memset(mem, 7, MIB); /* zeros would not be sent */
	warm = bench_warm_start(mib * MIB + WARM);
	if (!kernel)
		setenv(TLS_KERNEL_VARIABLE, "0", 1);
	server = bench_server_start(o);
	unsetenv(TLS_KERNEL_VARIABLE);
	fd = ps_connect("127.0.0.1", server.port, &e);
	if (fd < 0)
		fail(&e);
	bench_congestion(fd);
	us = native ? native_session(g, fd, mem, mib, kernel) : stock_session(x, fd, mem, mib);
	snprintf(which, sizeof(which), "%s session%s", native ? "native" : "stock", kernel ? " by the kernel" : "");
	bench_json("tls", which, "GB/s", (double)(mib * MIB) / (double)us / 1e3, NULL);
	bench_server_stop(&server);
	bench_warm_stop(warm);
	munmap(mem, MIB);
	bench_server_forget(o->images_dir);
}

static void run_sessions(struct tls_gate *g, struct tls_context *x, const struct tls_config *config, bool kernel, size_t mib)
{
	char dir[] = "/dev/shm/tls-XXXXXX";
	const struct page_server_options o = { .images_dir = dir, .address = "127.0.0.1", .tls = *config };

	bench_dir_make(dir);
	for (int by_kernel = 0; by_kernel <= kernel; by_kernel++)
		for (int native = 0; native <= 1; native++)
			run_session(g, x, &o, native, by_kernel, mib);
	bench_dir_remove(dir);
}

/* Whether the kernel takes the keys of a connection here. */
static bool kernel_can(struct tls_gate *g)
{
	struct lane l = { .how = KERNEL };
	bool can;

	if (bench_tcp_pair(l.fd) < 0)
		exit(1);
	can = wrap(g, &l);
	close(l.fd[0]);
	close(l.fd[1]);
	return can;
}

int main(int argc, char **argv)
{
	struct tls_config config = certs_of("host-a", "ca");
	size_t mib = 2048;
	unsigned connections = 0;
	struct err e = { 0 };
	struct tls_gate *g;
	struct tls_context *x;

	signal(SIGPIPE, SIG_IGN);
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--mib") == 0)
			mib = (size_t)atol(argv[i + 1]);
		else if (strcmp(argv[i], "--connections") == 0)
			connections = (unsigned)atoi(argv[i + 1]);
	}
	config.no_name_check = true;
	g = tls_gate_start(&config, &e);
	x = tls_context_create(&config, false, false, &e);
	if (!g || !x || connections > MAX_CONNECTIONS) {
		fprintf(stderr, "tls: %s\n", e.text);
		return 1;
	}
	for (unsigned n = connections ? connections : 1; n <= (connections ? connections : 2); n++)
		for (enum how how = PLAIN; how <= KERNEL; how++)
			run_case(g, x, how, n, mib * MIB);
	run_sessions(g, x, &config, kernel_can(g), mib / 2);
	tls_context_destroy(x);
	tls_gate_stop(g);
	return 0;
}
