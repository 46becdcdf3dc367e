/* SPDX-License-Identifier: Apache-2.0 */
/* A process that is restored as a sibling of the restorer is the child of the restorer's parent: whole, reaped by it, and outliving the restorer.
 * One whose restore is refused at the end is a dead child of it, and the restorer does not wait for that. */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/image_rig.h"
#include "tests/lib/subject.h"
#include "tests/lib/zoo_host.h"

static int refuse(void *arg, enum restore_moment when, pid_t pid, struct err *e)
{
	(void)arg, (void)pid;
	return when == RESTORE_POST ? err_set(e, ERR_CANCELLED, 0, "refused") : 0;
}

/* In a process of its own; its exit code: 0 restored, 1 refused. */
static int restorer(const struct image_rig *g, restore_hook *hook)
{
	pid_t child = fork();
	int status = 0;

	CHECK(child >= 0);
	if (child == 0) {
		struct restore_request q = image_rig_request(g);
		struct restore_stats stats;
		struct err e;
		pid_t root;

		q.sibling = true;
		q.hook = hook;
		_exit(restore_run(&q, &root, &stats, &e) == 0 ? 0 : e.kind == ERR_CANCELLED ? 1 : 2);
	}
	while (waitpid(child, &status, 0) < 0)
		CHECK(errno == EINTR);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 100;
}

int main(void)
{
	struct image_rig g;
	struct zoo_host z;
	int status = 0;
	pid_t pid;

	CHECK(zoo_start(&z, "threads file"));
	pid = z.pid;
	image_rig_make(&g);
	image_rig_dump(&g, pid);
	z.pid = 0;
	CHECK(restorer(&g, refuse) == 1);
	CHECK(waitpid(pid, &status, __WALL) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %#x", status);
	CHECK(waitpid(-1, NULL, WNOHANG | __WALL) < 0 && errno == ECHILD);
	CHECK(restorer(&g, NULL) == 0);
	z.pid = pid;
	CHECK(status_number(pid, "PPid", 10) == getpid());
	zoo_ask(&z);
	kill(pid, SIGTERM);
	CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "status %#x", status);
	z.pid = 0;
	zoo_end(&z);
	return 0;
}
