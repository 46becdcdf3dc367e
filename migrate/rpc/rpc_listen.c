/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/rpc/rpc_listen.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/base/cleanup.h"

enum { BACKLOG = 4096 }; /* the kernel makes it net.core.somaxconn where that is less */

int rpc_mode_parse(const char *text, mode_t *mode, struct err *e)
{
	char *end;
	unsigned long v = strtoul(text, &end, 8);

	if (*end || end == text || text[0] == '-' || v > 0777)
		return err_set(e, ERR_USAGE, 0, "\"%.20s\" is no octal mode from 0 to 0777", text);
	*mode = (mode_t)v;
	return 0;
}

static int group_of(const char *name, gid_t *gid, struct err *e)
{
	const struct group *g;
	char *end;
	unsigned long v;

	*gid = (gid_t)-1;
	if (!name)
		return 0;
	v = strtoul(name, &end, 10);
	g = *end ? getgrnam(name) : NULL;
	if (*end && !g)
		return err_set(e, ERR_USAGE, 0, "no group \"%.40s\"", name);
	*gid = g ? g->gr_gid : (gid_t)v;
	return 0;
}

static int address_of(const char *path, struct sockaddr_un *a, struct err *e)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (!path[0] || strlen(path) >= sizeof(a->sun_path))
		return err_set(e, ERR_USAGE, 0, "\"%.120s\": a socket's path has 1 to %zu bytes", path, sizeof(a->sun_path) - 1);
	memcpy(a->sun_path, path, strlen(path) + 1);
	return 0;
}

static int remove_stale(const struct sockaddr_un *a, struct err *e)
{
	cleanup_fd int probe = -1;
	struct stat st;

	if (lstat(a->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : err_sys(e, "%s", a->sun_path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, ERR_CONFLICT, 0, "%s is there and is no socket", a->sun_path);
	probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (probe < 0)
		return err_sys(e, "socket");
	if (connect(probe, (const struct sockaddr *)a, sizeof(*a)) == 0 || errno == EAGAIN)
		return err_set(e, ERR_CONFLICT, 0, "%s is in use by another process", a->sun_path);
	return unlink(a->sun_path) < 0 ? err_sys(e, "remove %s", a->sun_path) : 0;
}

static int bind_closed(int fd, const struct sockaddr_un *a)
{
	mode_t before = umask(0777);
	int rc = bind(fd, (const struct sockaddr *)a, sizeof(*a));

	umask(before);
	return rc;
}

int rpc_listen(const char *path, mode_t mode, const char *group, struct err *e)
{
	cleanup_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un a;
	gid_t gid;

	if (fd < 0)
		return err_sys(e, "socket");
	if (address_of(path, &a, e) != 0 || group_of(group, &gid, e) != 0 || remove_stale(&a, e) != 0)
		return -1;
	if (bind_closed(fd, &a) < 0)
		return err_sys(e, "bind %s", path);
	if ((gid != (gid_t)-1 && chown(path, (uid_t)-1, gid) < 0) || chmod(path, mode) < 0 || listen(fd, BACKLOG) < 0) {
		err_sys(e, "%s", path);
		unlink(path);
		return -1;
	}
	return steal_fd(&fd);
}
