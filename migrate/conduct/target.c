/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/conduct/target.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migrate/mm/vma.h"
#include "migrate/track/track.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/proc_stat.h"
#include "proto/base/proc_text.h"

enum { DYING_MS = 10 * 1000 };

/* The number of a task in its own PID namespace: the last of its NSpid line. */
static int own_number(pid_t pid, pid_t tid, uint32_t *number, struct err *e)
{
	cleanup_free char *text = status_text(pid, tid, e);
	int last;

	if (!text)
		return -1;
	last = text_last_number(text, "NSpid");
	if (last <= 0)
		return err_set(e, ERR_UNSUPPORTED, 0, "the kernel tells no NSpid of task %d", (int)tid);
	*number = (uint32_t)last;
	return 0;
}

static int add_tid(struct target_facts *t, uint32_t number, struct err *e)
{
	uint32_t *more = realloc(t->tid, (t->tids + 1) * sizeof(*more));

	if (!more)
		return err_set(e, ERR_SYSTEM, ENOMEM, "threads");
	t->tid = more;
	t->tid[t->tids++] = number;
	return 0;
}

static int read_threads(struct target_facts *t, pid_t pid, struct err *e)
{
	cleanup_dir DIR *threads = proc_threads(pid);
	pid_t tid;

	if (!threads)
		return err_sys(e, "threads of process %d", (int)pid);
	if (add_tid(t, t->tree_pid, e) < 0)
		return -1;
	while ((tid = proc_next_thread(threads))) {
		uint32_t number;
		struct err gone;

		if (tid != pid && own_number(pid, tid, &number, &gone) == 0 && add_tid(t, number, e) < 0) /* a thread may end meanwhile */
			return -1;
	}
	return 0;
}

static int read_memory(struct target_facts *t, pid_t pid, struct err *e)
{
	struct vma_list l = { 0 };
	int rc = vma_list_read(&l, pid, VMA_READ_MAPS, e);

	t->mappings = l.count;
	if (rc == 0 && l.count == 0)
		rc = err_set(e, ERR_UNSUPPORTED, 0, "process %d has no memory: a kernel thread, or it is ending", (int)pid);
	if (rc == 0)
		rc = present_bytes(pid, &l, &t->present_bytes, e);
	vma_list_finish(&l);
	return rc;
}

int target_read(struct target_facts *t, pid_t pid, struct err *e)
{
	char path[64];
	cleanup_free char *comm = NULL;

	*t = (struct target_facts){ 0 };
	if (proc_check_pid(pid, e) < 0)
		return -1;
	t->found = true;
	if (pid == getpid())
		return err_set(e, ERR_USAGE, 0, "process %d is dray itself", (int)pid);
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	comm = file_read(AT_FDCWD, path, 64, NULL, e);
	if (!comm)
		return err_wrap(e, "process %d", (int)pid);
	comm[strcspn(comm, "\n")] = '\0';
	snprintf(t->comm, sizeof(t->comm), "%s", comm);
	if (own_number(pid, pid, &t->tree_pid, e) < 0 || read_threads(t, pid, e) < 0 || read_memory(t, pid, e) < 0) {
		if (e->kind == ERR_PERMISSION)
			err_wrap(e, "process %d belongs to somebody else; root may move it", (int)pid);
		target_finish(t);
		return -1;
	}
	return 0;
}

void target_finish(struct target_facts *t)
{
	free(t->tid);
	t->tid = NULL;
	t->tids = 0;
}

static void end_connection(int pidfd, int number)
{
	cleanup_fd int fd = pidfd_getfd_(pidfd, number);
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);
	int protocol = 0;
	socklen_t protocol_len = sizeof(protocol);

	if (fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &protocol_len) == 0 && protocol == IPPROTO_TCP &&
	    getpeername(fd, (struct sockaddr *)&peer, &len) == 0)
		shutdown(fd, SHUT_RDWR);
}

void target_end_connections(pid_t pid)
{
	cleanup_fd int pidfd = pidfd_open_(pid, 0);
	char path[64], link[64];
	cleanup_dir DIR *d = NULL;
	struct dirent *entry;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	while (pidfd >= 0 && d && (entry = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), entry->d_name, link, sizeof(link) - 1);

		if (n > 0 && strncmp(link, "socket:", 7) == 0)
			end_connection(pidfd, atoi(entry->d_name));
	}
}

/* Its end is decided: it is on its way out, or was killed and has not yet noticed. */
static bool is_dying(pid_t pid, const struct proc_stat *s)
{
	struct err ignored = { 0 };
	cleanup_free char *text = status_text(pid, pid, &ignored);

	return s->exiting || (text && text_number(text, "SigPnd", 16, 0) & 1u << (SIGKILL - 1));
}

bool target_lives(pid_t pid)
{
	cleanup_fd int fd = pidfd_open_(pid, 0);
	struct proc_stat s;

	if (fd < 0 || proc_stat_read(pid, pid, &s) < 0 || proc_stat_ended(&s))
		return false;
	return !is_dying(pid, &s) || wait_readable(fd, DYING_MS) <= 0;
}
