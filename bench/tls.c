/* SPDX-License-Identifier: Apache-2.0 */
/* tls.c - what TLS costs a connection on this machine.
 *
 * tls [--mib N] [--connections N]: JSON lines (tests/lib/bench_json.h), GB/s of one direction over all connections:
 *   plain        sends of 256 KiB, receives into one buffer
 *   relay        the same through a relay at both ends (proto/base/tls_relay.h)
 *   spliced      into the sender's relay by vmsplice and splice of 1 MiB
 *   in-process   sender and receiver do TLS themselves, a thread each
 *   kernel       the same as plain on sockets that the kernel encrypts; left out where it can't
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

#include "proto/base/io.h"
#include "proto/base/tls_relay.h"
#include "tests/lib/bench_env.h"
#include "tests/lib/bench_json.h"
#include "tests/lib/certs.h"

enum { MIB = 1 << 20, BUFFER = 256 * 1024, MAX_CONNECTIONS = 8, HANDSHAKE_MS = 10000 };
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

static void tls_both(struct lane *l, bool sending, char *mem)
{
	struct err e = { 0 };
	int fd = l->fd[sending ? 0 : 1];
	struct tls_session *s = tls_open(l->context, fd, sending ? TLS_CLIENT : TLS_SERVER, NULL, HANDSHAKE_MS, &e);

	if (s && !sending)
		tls_read_ahead(s);
	for (size_t left = l->bytes; s && left > 0;) {
		size_t part = left < BUFFER ? left : BUFFER;
		ssize_t n = sending ? tls_write(s, mem, part) : tls_read(s, mem, part);
		struct pollfd p = { .fd = fd, .events = n == -EAGAIN ? tls_events(s) : 0 };

		if (n == -EAGAIN)
			poll(&p, 1, -1);
		else if (n <= 0)
			break;
		else
			left -= (size_t)n;
		if (sending && left == 0)
			while (tls_flush(s) == -EAGAIN)
				poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, -1);
	}
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
	tls_context_destroy(x);
	tls_gate_stop(g);
	return 0;
}
