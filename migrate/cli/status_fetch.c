/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migrate/cli/status.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/sock.h"
#include "proto/base/unix_sock.h"

enum { PATIENCE_MS = 5000, ANSWER_MAX = 4 << 20 };

static int connect_unix(const char *path, struct err *e)
{
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un a;

	if (fd < 0)
		return err_sys(e, "socket");
	if (unix_address(path, &a, e) < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
		return errno == EACCES || errno == EPERM ? err_sys(e, "%s", path) : err_set(e, ERR_PEER, errno, "%s", path);
	return steal_fd(&fd);
}

static int connect_there(const char *where, struct err *e)
{
	bool prefixed = strncmp(where, "unix:", 5) == 0;
	char inside[4096], host[SOCK_HOST_MAX];
	struct stat st;
	uint16_t port;

	if (prefixed)
		return connect_unix(where + 5, e);
	if (!strchr(where, '/') && access(where, F_OK) < 0) {
		if (sock_parse(where, 0, host, &port, e) < 0)
			return -1;
		if (port == 0)
			return err_set(e, ERR_USAGE, 0, "%.80s is neither the path of a socket or a directory that is there, nor ADDRESS:PORT", where);
		return sock_connect(where, 0, PATIENCE_MS, e);
	}
	if (stat(where, &st) < 0 || !S_ISDIR(st.st_mode))
		return connect_unix(where, e);
	if (snprintf(inside, sizeof(inside), "%s/metrics.sock", where) >= (int)sizeof(inside))
		return err_set(e, ERR_USAGE, ENAMETOOLONG, "%.64s...", where);
	return connect_unix(inside, e);
}

/* All that comes until the end, NUL behind it. */
static char *read_all(int fd, struct err *e)
{
	uint64_t end = clock_us() + PATIENCE_MS * 1000ull;
	cleanup_free char *text = malloc(ANSWER_MAX + 1);
	size_t len = 0;

	while (text) {
		uint64_t now = clock_us();
		int rc = now < end ? wait_readable(fd, (int)((end - now) / 1000 + 1)) : 0;
		ssize_t n = rc > 0 ? recv(fd, text + len, ANSWER_MAX - len, 0) : -1;

		if (rc == 0)
			err_set(e, ERR_TIMEOUT, 0, "no answer in %d ms", PATIENCE_MS);
		else if (n < 0)
			err_set(e, ERR_PEER, rc < 0 ? -rc : errno, "read the answer");
		if (n < 0)
			return NULL;
		len += (size_t)n;
		text[len] = '\0';
		if (n == 0)
			return steal_pointer(&text);
	}
	err_set(e, ERR_SYSTEM, ENOMEM, "the answer");
	return NULL;
}

char *status_fetch(const char *where, struct err *e)
{
	static const char request[] = "GET /status HTTP/1.1\r\nHost: dray\r\nConnection: close\r\n\r\n";
	cleanup_fd int fd = connect_there(where, e);
	cleanup_free char *answer = NULL;
	char *body;
	int rc;

	if (fd < 0)
		return NULL;
	rc = write_full(fd, request, sizeof(request) - 1);
	if (rc < 0) {
		err_set(e, ERR_PEER, -rc, "ask %s", where);
		return NULL;
	}
	answer = read_all(fd, e);
	if (!answer) {
		err_wrap(e, "%s", where);
		return NULL;
	}
	body = strstr(answer, "\r\n\r\n");
	if (strncmp(answer, "HTTP/1.1 200 ", 13) != 0 || !body) {
		err_set(e, ERR_PROTOCOL, 0, "%s: what answers there is not a daemon of ours", where);
		return NULL;
	}
	return strdup(body + 4);
}
