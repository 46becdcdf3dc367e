/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/rpc/rpc_listen.h"

#include <grp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/unix_sock.h"

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

int rpc_listen(const char *path, mode_t mode, const char *group, struct err *e)
{
	cleanup_fd int fd = -1;
	gid_t gid;

	if (group_of(group, &gid, e) != 0)
		return -1;
	fd = unix_bind(path, SOCK_SEQPACKET, 0777, e);
	if (fd < 0)
		return -1;
	if ((gid != (gid_t)-1 && chown(path, (uid_t)-1, gid) < 0) || chmod(path, mode) < 0 || listen(fd, BACKLOG) < 0) {
		err_sys(e, "%s", path);
		unlink(path);
		return -1;
	}
	return steal_fd(&fd);
}
