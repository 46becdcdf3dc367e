/* SPDX-License-Identifier: Apache-2.0 */
/* ps_discard.c - a page server that answers as criu's does and throws the pages away, or keeps them in memory and nothing else: what a sender can send.
 *
 * ps_discard [--keep]: listens on a port of loopback that the system chooses, prints "listening on 127.0.0.1:PORT", and serves one session after another (24-byte headers, as all
 * criu releases up to 4.1 have) until it is ended. A session that breaks the protocol ends it with 1. */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/io.h"
#include "proto/wire/ps_command.h"
#include "proto/wire/runs.h"

enum { BUFFER = 512 * 1024 };
#define KEPT (64ull << 30) /* of addresses: a session's pages, in huge pages as they come */

static void die(const char *what)
{
	perror(what);
	exit(1);
}

struct session {
	int sock;
	uint8_t *kept; /* NULL: nothing is */
	uint64_t len;
};

static void take(struct session *s, uint64_t bytes)
{
	static uint8_t buf[BUFFER];

	while (bytes > 0) {
		ssize_t n = recv(s->sock, s->kept ? s->kept + s->len : buf, bytes < BUFFER ? bytes : BUFFER, 0);

		if (n <= 0)
			die("pages");
		bytes -= (uint64_t)n;
		s->len += (uint64_t)n;
		if (s->kept && s->len > KEPT - BUFFER)
			die("too many pages");
	}
}

static void answer(int sock, size_t len)
{
	static const uint8_t nothing[PS_STATUS_ANSWER];

	if (send(sock, nothing, len, MSG_NOSIGNAL) != (ssize_t)len)
		die("answer");
}

static void serve(struct session *s)
{
	uint8_t header[PS_LAYOUT_24];
	struct ps_command c = { 0 };
	const int sock = s->sock;

	while (!ps_ends(&c)) {
		if (read_full(sock, header, sizeof(header)) < 0 || ps_decode(PS_LAYOUT_24, header, &c) < 0)
			die("a command");
		if (ps_has_pages(&c))
			take(s, c.nr * DRAY_PAGE_SIZE);
		else if (c.code == PS_OPEN2)
			answer(sock, PS_OPEN2_ANSWER);
		else if (!ps_is_range(&c))
			answer(sock, PS_STATUS_ANSWER); /* PARENT's is as long */
	}
	(void)!recv(sock, header, sizeof(header), 0); /* the sender hangs up */
}

static uint8_t *room_to_keep(void)
{
	uint8_t *p = mmap(NULL, KEPT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED || madvise(p, KEPT, MADV_HUGEPAGE) < 0)
		die("memory to keep pages in");
	return p;
}

int main(int argc, char **argv)
{
	const bool keep = argc == 2 && strcmp(argv[1], "--keep") == 0;
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), sock;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (l < 0 || bind(l, (struct sockaddr *)&sa, len) < 0 || listen(l, 1) < 0 || getsockname(l, (struct sockaddr *)&sa, &len) < 0)
		die("listen");
	printf("listening on 127.0.0.1:%u\n", ntohs(sa.sin_port));
	fflush(stdout);
	while ((sock = accept4(l, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		struct session s = { .sock = sock, .kept = keep ? room_to_keep() : NULL };

		serve(&s);
		close(sock);
		if (keep)
			munmap(s.kept, KEPT);
	}
	die("accept");
}
