/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/bench_env.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

_Noreturn void bench_die(const char *what)
{
	perror(what);
	exit(1);
}

void bench_check(int rc, const struct err *e)
{
	if (rc == 0)
		return;
	fprintf(stderr, "%s: %s\n", program_invocation_short_name, e->text);
	exit(1);
}

void bench_prewarm(size_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return;
	madvise(p, bytes, MADV_HUGEPAGE);
	for (size_t i = 0; i < bytes; i += 4096)
		((volatile char *)p)[i] = 1;
	munmap(p, bytes);
}

const char *bench_congestion(int sock)
{
	if (setsockopt(sock, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5) == 0)
		return "cubic";
	setsockopt(sock, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
	return "reno";
}

static uint64_t usage_us(int who)
{
	struct rusage u;

	getrusage(who, &u);
	return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000u + (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

uint64_t bench_cpu_us(void)
{
	return usage_us(RUSAGE_SELF);
}

uint64_t bench_thread_cpu_us(void)
{
	return usage_us(RUSAGE_THREAD);
}

bool bench_size(const char *text, size_t *bytes)
{
	char *end;
	unsigned long long v;
	unsigned shift = 0;

	errno = 0;
	v = strtoull(text, &end, 10);
	if (end == text || errno || text[0] == '-')
		return false;
	switch (*end) {
	case 'G': shift = 30; break;
	case 'M': shift = 20; break;
	case 'K': shift = 10; break;
	case '\0': break;
	default: return false;
	}
	if (shift && end[1] != '\0')
		return false;
	if (v > (SIZE_MAX >> shift))
		return false;
	*bytes = (size_t)v << shift;
	return true;
}

int bench_tcp_pair(int fd[2])
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int err = 0;

	fd[0] = fd[1] = -1;
	if (l < 0)
		return -errno;
	bench_congestion(l);
	if (bind(l, (struct sockaddr *)&sa, sizeof(sa)) || listen(l, 1) || getsockname(l, (struct sockaddr *)&sa, &len) ||
	    (fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0)
		goto out;
	bench_congestion(fd[0]);
	if (connect(fd[0], (struct sockaddr *)&sa, sizeof(sa)) == 0 && (fd[1] = accept4(l, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		close(l);
		return 0;
	}
out:
	err = -errno;
	if (fd[0] >= 0)
		close(fd[0]);
	close(l);
	return err;
}

int bench_splice(const int pipe[2], int sock, const void *memory, size_t len, bool more)
{
	const char *p = memory;

	while (len > 0) {
		struct iovec iov = { .iov_base = (void *)(uintptr_t)p, .iov_len = len < BENCH_PIPE ? len : BENCH_PIPE };
		ssize_t in = vmsplice(pipe[1], &iov, 1, 0), out;

		if (in <= 0)
			return in < 0 ? -errno : -EPIPE;
		p += in;
		len -= (size_t)in;
		for (; in > 0; in -= out) {
			out = splice(pipe[0], NULL, sock, NULL, (size_t)in, SPLICE_F_MOVE | (len || more ? SPLICE_F_MORE : 0));
			if (out <= 0)
				return out < 0 ? -errno : -EPIPE;
		}
	}
	return 0;
}
