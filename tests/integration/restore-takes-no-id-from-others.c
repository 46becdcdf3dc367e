/* SPDX-License-Identifier: Apache-2.0 */
/* The PID of a process, or one of its threads' ids, is somebody else's when it is restored: the conflict is told, the other lives, nothing is left;
 * once it is free the process goes on. */
#include <dirent.h>
#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/die_with.h"
#include "tests/lib/image_rig.h"
#include "tests/lib/subject.h"
#include "tests/lib/zoo_host.h"

/* A child with that id, which does nothing. */
static void take(pid_t pid)
{
	uint64_t tid = (uint64_t)pid;
	struct clone_args args = { .exit_signal = SIGCHLD, .set_tid = (uint64_t)(uintptr_t)&tid, .set_tid_size = 1 };
	pid_t test = getpid();
	long rc = syscall(SYS_clone3, &args, sizeof(args));

	if (rc == 0) {
		while (die_with(test, SIGKILL))
			pause();
		_exit(1);
	}
	CHECK(rc == pid, "a process with PID %d: %s", pid, strerror(errno));
}

static void conflict(const struct image_rig *g, pid_t id, pid_t expect_root)
{
	struct restore_request q = image_rig_request(g);
	struct restore_stats stats;
	struct err e;
	pid_t root;

	take(id);
	CHECK(restore_run(&q, &root, &stats, &e) < 0 && e.kind == ERR_CONFLICT && e.num == EEXIST, "%s (%d)", e.text, e.num);
	CHECK(root == expect_root, "root is %d", root);
	CHECK(waitpid(-1, NULL, WNOHANG | __WALL) == 0, "a child is left, or the other ended");
	CHECK(kill(id, SIGKILL) == 0 && waitpid(id, NULL, 0) == id);
	CHECK(waitpid(-1, NULL, WNOHANG | __WALL) < 0 && errno == ECHILD, "a child is left");
}

/* One that is not the first. Its number may be any: others take numbers meanwhile, and behind the largest come small ones again. */
static pid_t other_thread(pid_t pid)
{
	char path[64];
	pid_t tid = 0;
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	CHECK(dir);
	while ((d = readdir(dir)))
		if (atoi(d->d_name) > 0 && atoi(d->d_name) != pid)
			tid = atoi(d->d_name);
	closedir(dir);
	return tid;
}

int main(void)
{
	struct image_rig g;
	struct zoo_host z;
	pid_t pid, thread;

	CHECK(zoo_start(&z, "threads"));
	pid = z.pid;
	thread = other_thread(pid);
	CHECK(thread > 0);
	image_rig_make(&g);
	image_rig_dump(&g, pid);
	z.pid = 0;
	conflict(&g, pid, -1);
	conflict(&g, thread, pid);
	image_rig_restore(&g, pid);
	z.pid = pid;
	zoo_ask(&z);
	zoo_end(&z);
	return 0;
}
