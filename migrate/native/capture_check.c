/* SPDX-License-Identifier: Apache-2.0 */
/* What stands against moving a process as a whole: what it is, who else holds on to it, which namespaces it is in. */
#include "migrate/native/capture_priv.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migrate/extract/twin.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/proc_stat.h"
#include "proto/base/proc_text.h"

#ifndef SCHED_DEADLINE
#define SCHED_DEADLINE 6
#endif

static long kcmp(pid_t a, pid_t b, int type, unsigned long x, unsigned long y)
{
	return syscall(SYS_kcmp, a, b, type, x, y);
}

bool capture_is_ending(struct capture *c)
{
	struct err missing;
	cleanup_free char *stat = capture_text(c, "stat", &missing);
	struct proc_stat s;

	return !stat || proc_stat_parse(stat, &s) < 0 || s.exiting;
}

/* Zombies and kernel threads have nothing else to look at. True: it can be looked at. */
static bool check_state(struct capture *c)
{
	const char *state = text_field(c->status, "State");

	if (!state || *state == 'Z' || *state == 'X' || *state == 'x' || capture_is_ending(c)) {
		capture_obstacle(c, NULL, "task %d: it has ended (zombie) or its first thread has", c->pid);
		return false;
	}
	if (!text_field(c->status, "VmSize")) {
		capture_obstacle(c, NULL, "task %d: kernel thread", c->pid);
		return false;
	}
	return true;
}

static void check_tracer(struct capture *c)
{
	uint64_t tracer = text_number(c->status, "TracerPid", 10, 0);

	if (tracer && !c->r)
		capture_obstacle(c, NULL, "task %d: traced by process %d", c->pid, (int)tracer);
}

/* Its ELF class says it, since a mode switch by hand is nobody's. True: 64-bit. */
static bool check_machine(struct capture *c)
{
	unsigned char ident[EI_NIDENT] = { 0 };
	cleanup_fd int fd = openat(c->procfd, "exe", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, ident, sizeof(ident), 0) != (ssize_t)sizeof(ident))
		return true; /* capture_mm_check speaks of an executable that can't be had */
	if (memcmp(ident, ELFMAG, SELFMAG) == 0 && ident[EI_CLASS] == ELFCLASS32) {
		capture_obstacle(c, NULL, "task %d: 32-bit program", c->pid);
		return false;
	}
	return true;
}

static int namespace_of(struct capture *c, const char *name, struct stat *st, struct stat *own)
{
	char path[64];

	snprintf(path, sizeof(path), "ns/%s", name);
	if (fstatat(c->procfd, path, st, 0) < 0)
		return errno == ENOENT ? 1 : err_sys(c->e, "task %d %s", c->pid, path);
	snprintf(path, sizeof(path), "/proc/self/ns/%s", name);
	return stat(path, own) < 0 ? err_sys(c->e, "%s", path) : 0;
}

static int check_namespaces(struct capture *c)
{
	static const char *const same[] = { "mnt", "net", "ipc", "uts", "user", "cgroup", "time" };
	static const char *const children[][2] = { { "pid_for_children", "pid" }, { "time_for_children", "time" } };
	struct stat theirs, ours, after;

	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		int rc = namespace_of(c, same[i], &theirs, &ours);

		if (rc < 0)
			return -1;
		if (rc == 0 && theirs.st_ino != ours.st_ino)
			capture_obstacle(c, NULL, "task %d: %s namespace other than the mover's own", c->pid, same[i]);
	}
	for (size_t i = 0; i < sizeof(children) / sizeof(children[0]); i++) {
		if (namespace_of(c, children[i][0], &after, &ours) != 0 || namespace_of(c, children[i][1], &theirs, &ours) != 0)
			continue;
		if (after.st_ino != theirs.st_ino)
			capture_obstacle(c, NULL, "task %d: its children would be in another %s namespace", c->pid, children[i][1]);
	}
	return 0;
}

/* The mover's own helpers are children too while it holds the process: they are traced by this very thread. */
static bool is_ours(struct capture *c, pid_t child)
{
	cleanup_free char *text = NULL;
	struct err ignored;

	if (!c->r)
		return false;
	text = status_text(child, child, &ignored);
	return text && (pid_t)text_number(text, "TracerPid", 10, 0) == (pid_t)syscall(SYS_gettid);
}

/* A library that asks for the dump of its own process leaves the helper that it forked for that, dead, until the answer comes. Nothing of it is
 * left to carry but an exit status that nobody reads. */
static bool is_helper(const struct capture *c, pid_t child)
{
	struct proc_stat s;

	return c->opt->service_socket && proc_stat_read(child, child, &s) == 0 && s.state == 'Z';
}

static int check_children_of(struct capture *c, const char *tid)
{
	char path[64], *at, *end;
	struct err missing;
	cleanup_free char *text = NULL;

	snprintf(path, sizeof(path), "task/%s/children", tid);
	text = capture_text(c, path, &missing);
	if (!text)
		return 0; /* the thread ended meanwhile */
	for (at = text; *at; at = end + strspn(end, " \n")) {
		pid_t child = (pid_t)strtol(at, &end, 10);

		if (end == at)
			break;
		if (!is_ours(c, child) && !is_helper(c, child) && !twins_left_dead(child))
			capture_obstacle(c, NULL, "task %d: it has a child, process %d (only a process without children can be moved)", c->pid, child);
	}
	return 0;
}

static void check_thread_sharing(struct capture *c, pid_t tid)
{
	if (tid == c->pid)
		return;
	if (kcmp(c->pid, tid, KCMP_FILES, 0, 0) > 0)
		capture_obstacle(c, NULL, "task %d: thread %d has a descriptor table of its own", c->pid, tid);
	if (kcmp(c->pid, tid, KCMP_FS, 0, 0) > 0)
		capture_obstacle(c, NULL, "task %d: thread %d has a working directory, root and umask of its own", c->pid, tid);
}

static void check_thread_status(struct capture *c, const char *name, pid_t tid)
{
	char path[64];
	uint64_t seccomp;
	struct err missing;
	cleanup_free char *text = NULL;

	snprintf(path, sizeof(path), "task/%s/status", name);
	text = capture_text(c, path, &missing);
	if (!text)
		return;
	seccomp = text_number(text, "Seccomp", 10, 0);
	if (seccomp)
		capture_obstacle(c, NULL, "task %d: thread %d runs under seccomp (%s)", c->pid, tid, seccomp == 1 ? "strict" : "filter");
	if (sched_getscheduler(tid) == SCHED_DEADLINE)
		capture_obstacle(c, NULL, "task %d: thread %d is scheduled by deadlines", c->pid, tid);
}

static int check_threads(struct capture *c)
{
	int dirfd = openat(c->procfd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *dir = dirfd >= 0 ? fdopendir(dirfd) : NULL;
	struct dirent *d;

	if (!dir)
		return err_sys(c->e, "threads of task %d", c->pid);
	while ((d = readdir(dir))) {
		pid_t tid = (pid_t)atoi(d->d_name);

		if (tid <= 0)
			continue;
		check_children_of(c, d->d_name);
		check_thread_sharing(c, tid);
		check_thread_status(c, d->d_name, tid);
	}
	return 0;
}

/* A vfork()ed process still lives in its parent's memory. Others that share it can only be found by asking about every process. */
static void check_shared_memory(struct capture *c)
{
	pid_t parent = (pid_t)text_number(c->status, "PPid", 10, 0);

	if (parent > 0 && kcmp(c->pid, parent, KCMP_VM, 0, 0) == 0)
		capture_obstacle(c, NULL, "task %d: it shares its memory with process %d", c->pid, parent);
}

static void check_directory(struct capture *c, const char *link, const char *what)
{
	char path[4096];
	ssize_t len = readlinkat(c->procfd, link, path, sizeof(path) - 1);

	if (len < 0) {
		err_sys(c->e, "%s of task %d", what, c->pid);
		return;
	}
	path[len] = '\0';
	if (path[0] != '/')
		capture_obstacle(c, NULL, "task %d: its %s (%s) can't be reached from here", c->pid, what, path);
	else if (len > 10 && strcmp(path + len - 10, " (deleted)") == 0)
		capture_obstacle(c, NULL, "task %d: its %s was removed: %.*s", c->pid, what, (int)(len - 10), path);
}

int capture_task_check(struct capture *c)
{
	if (!check_state(c))
		return 0;
	check_tracer(c);
	if (!check_machine(c))
		return 0;
	if (check_namespaces(c) < 0 || check_threads(c) < 0)
		return -1;
	check_shared_memory(c);
	check_directory(c, "cwd", "working directory");
	check_directory(c, "root", "root directory");
	check_directory(c, "exe", "executable");
	return err_is_set(c->e) ? -1 : 0;
}
