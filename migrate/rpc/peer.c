/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/rpc/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif
#ifndef CAP_CHECKPOINT_RESTORE
#define CAP_CHECKPOINT_RESTORE 40 /* Linux 5.9 */
#endif

enum { GROUPS_MAX = 65536, STATUS_MAX = 64 * 1024 };

/* A pidfd is readable once its process has ended. */
static bool ended(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, 0) != 0;
}

/* Without SO_PEERPIDFD (before Linux 6.5) a process that ended right after it had connected and whose PID was given anew at once is taken for
 * the peer, unless its user differs. */
static int open_pidfd(int sock, const struct ucred *cred)
{
	int pidfd = -1;
	socklen_t len = sizeof(pidfd);
	struct stat st;
	char path[32];

	if (getsockopt(sock, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) == 0)
		return pidfd;
	pidfd = pidfd_open_(cred->pid, 0);
	if (pidfd < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/%d", (int)cred->pid);
	if (stat(path, &st) == 0 && (st.st_uid == cred->uid || st.st_uid == 0) && !ended(pidfd))
		return pidfd;
	close(pidfd);
	return -1;
}

int rpc_peer_open(int sock, enum rpc_mode mode, struct rpc_peer *p, struct err *e)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	*p = (struct rpc_peer){ .mode = mode, .pidfd = -1 };
	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return err_sys(e, "the client's credentials");
	p->pid = cred.pid;
	p->uid = cred.uid;
	p->gid = cred.gid;
	p->pidfd = cred.pid > 0 ? open_pidfd(sock, &cred) : -1;
	return 0;
}

void rpc_peer_local(struct rpc_peer *p)
{
	*p = (struct rpc_peer){ .mode = RPC_LOCAL, .pid = getpid(), .uid = getuid(), .gid = getgid(), .pidfd = -1 };
}

void rpc_peer_close(struct rpc_peer *p)
{
	if (p->pidfd >= 0)
		close(p->pidfd);
	p->pidfd = -1;
}

/* --- its descriptors ------------------------------------------------------------------------------------------------------------ */

int rpc_peer_open_fd(const struct rpc_peer *p, int fd, int flags, const char *what, struct err *e)
{
	cleanup_fd int got = -1;
	char path[48];

	if (p->mode != RPC_LOCAL && p->pidfd < 0)
		return err_set(e, ERR_GONE, 0, "%s: the client (pid %d) is gone, or not visible from here", what, (int)p->pid);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)p->pid, fd);
	got = open(path, flags | O_CLOEXEC);
	if (got < 0)
		return err_sys(e, "%s: open %s", what, path);
	/* As long as the process lives its PID is its own: what was opened was in its table. */
	if (p->mode != RPC_LOCAL && ended(p->pidfd))
		return err_set(e, ERR_GONE, 0, "%s: the client (pid %d) ended", what, (int)p->pid);
	return steal_fd(&got);
}

/* --- its rights ----------------------------------------------------------------------------------------------------------------- */

static int peer_groups(int sock, gid_t **groups, size_t *count, struct err *e)
{
	socklen_t len = GROUPS_MAX * sizeof(gid_t);
	cleanup_free gid_t *list = malloc(len);

	if (!list)
		return err_set(e, ERR_SYSTEM, ENOMEM, "the client's groups");
	if (getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, list, &len) < 0)
		return err_sys(e, "the client's groups");
	*count = len / sizeof(gid_t);
	*groups = steal_pointer(&list);
	return 0;
}

static int keep_one_capability(unsigned cap, struct err *e)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct held[2] = { 0 }, data[2] = { 0 };
	uint32_t bit = 1u << (cap % 32);

	if (syscall(SYS_capget, &head, held) < 0)
		return err_sys(e, "capget");
	data[cap / 32].effective = data[cap / 32].permitted = held[cap / 32].permitted & bit;
	return syscall(SYS_capset, &head, data) < 0 ? err_sys(e, "capset") : 0;
}

int rpc_peer_become(const struct rpc_peer *p, int sock, struct err *e)
{
	cleanup_free gid_t *groups = NULL;
	size_t count = 0;

	if (p->uid == 0 || geteuid() != 0)
		return 0;
	if (peer_groups(sock, &groups, &count, e) != 0)
		return -1;
	if (prctl(PR_SET_KEEPCAPS, 1) < 0 || setgroups(count, groups) < 0 || setresgid(p->gid, p->gid, p->gid) < 0 ||
	    setresuid(p->uid, p->uid, p->uid) < 0)
		return err_sys(e, "become user %u", p->uid);
	return keep_one_capability(CAP_CHECKPOINT_RESTORE, e);
}

/* "Uid:\t1000\t1000\t1000\t1000": real, effective, saved, of the filesystem. */
static bool all_ids_are(const char *status, const char *key, unsigned id)
{
	const char *line = strstr(status, key);
	unsigned real, effective, saved;

	return line && sscanf(line + strlen(key), "%u %u %u", &real, &effective, &saved) == 3 && real == id && effective == id &&
	       saved == id;
}

int rpc_peer_may_act_on(const struct rpc_peer *p, pid_t pid, struct err *e)
{
	cleanup_free char *status = NULL;
	cleanup_fd int dir = -1;
	char path[32];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return errno == ENOENT ? err_set(e, ERR_GONE, 0, "no process %d", (int)pid) : err_sys(e, "process %d", (int)pid);
	if (p->uid == 0 || p->mode == RPC_LOCAL)
		return 0;
	status = file_read(dir, "status", STATUS_MAX, NULL, e);
	if (!status || fstatat(dir, "status", &st, 0) < 0)
		return err_set(e, ERR_GONE, 0, "process %d ended", (int)pid);
	if (!all_ids_are(status, "\nUid:", p->uid) || !all_ids_are(status, "\nGid:", p->gid))
		return err_set(e, ERR_PERMISSION, EPERM, "process %d is not user %u's own", (int)pid, p->uid);
	if (st.st_uid != p->uid) /* procfs gives the files of what may not be looked into to root */
		return err_set(e, ERR_PERMISSION, EPERM, "process %d does not let itself be looked into", (int)pid);
	return 0;
}
