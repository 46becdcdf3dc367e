/* SPDX-License-Identifier: Apache-2.0 */
/* A process that did not lead its session is restored only where the caller says that it may join ours; it is in our session then, and leads its
 * process group if it did. One that led its session does so again, whatever is said. */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/image_rig.h"
#include "tests/lib/subject.h"

static int restore(const struct image_rig *g, bool shell_job, pid_t *root, struct err *e)
{
	struct restore_request q = image_rig_request(g);
	struct restore_stats stats;

	q.shell_job = shell_job;
	return restore_run(&q, root, &stats, e);
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	CHECK(waitpid(pid, NULL, 0) == pid);
}

int main(void)
{
	struct image_rig job, leader;
	struct err e;
	pid_t pid, root;

	image_rig_make(&job);
	image_rig_make(&leader);
	pid = image_rig_sleeper(NULL, 0, false);
	image_rig_dump(&job, pid);
	CHECK(restore(&job, false, &root, &e) < 0 && e.kind == ERR_UNSUPPORTED && strstr(e.text, "shell_job"), "%s", e.text);
	CHECK(restore(&job, true, &root, &e) == 0 && root == pid, "%s", e.text);
	CHECK(getsid(pid) == getsid(0), "session %d", getsid(pid));
	CHECK(getpgid(pid) == getpgid(0), "group %d", getpgid(pid));
	end(pid);
	pid = image_rig_sleeper(NULL, 0, true);
	image_rig_dump(&leader, pid);
	for (int shell_job = 0; shell_job < 2; shell_job++) {
		CHECK(restore(&leader, shell_job, &root, &e) == 0 && root == pid, "%s", e.text);
		CHECK(getsid(pid) == pid && getpgid(pid) == pid);
		end(pid);
	}
	return 0;
}
