/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/unix_sock.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/cleanup.h"

int unix_address(const char *path, struct sockaddr_un *a, struct err *e)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (!path[0] || strlen(path) >= sizeof(a->sun_path))
		return err_set(e, ERR_USAGE, 0, "\"%.120s\": a socket's path has 1 to %zu bytes", path, sizeof(a->sun_path) - 1);
	memcpy(a->sun_path, path, strlen(path) + 1);
	return 0;
}

static int remove_stale(const struct sockaddr_un *a, int type, struct err *e)
{
	cleanup_fd int probe = -1;
	struct stat st;

	if (lstat(a->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : err_sys(e, "%s", a->sun_path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, ERR_CONFLICT, 0, "%s is there and is no socket", a->sun_path);
	probe = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (probe < 0)
		return err_sys(e, "socket");
	if (connect(probe, (const struct sockaddr *)a, sizeof(*a)) == 0 || errno == EAGAIN)
		return err_set(e, ERR_CONFLICT, 0, "%s is in use by another process", a->sun_path);
	return unlink(a->sun_path) < 0 ? err_sys(e, "remove %s", a->sun_path) : 0;
}

int unix_bind(const char *path, int type, mode_t mask, struct err *e)
{
	cleanup_fd int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	struct sockaddr_un a;
	mode_t before;
	int rc;

	if (fd < 0)
		return err_sys(e, "socket");
	if (unix_address(path, &a, e) < 0 || remove_stale(&a, type, e) < 0)
		return -1;
	before = umask(mask);
	rc = bind(fd, (const struct sockaddr *)&a, sizeof(a));
	umask(before);
	if (rc < 0)
		return errno == ENOENT ? err_sys(e, "the directory of %s", path) : err_sys(e, "bind %s", path);
	return steal_fd(&fd);
}
