/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks of a restore come in their order with the PID, the process standing still until the last but one; a refusal takes everything back as long
 * as it doesn't run, and nothing afterwards. What is to be left stopped is stopped. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/lib/image_rig.h"
#include "tests/lib/subject.h"
#include "tests/lib/zoo_host.h"

struct seen { int refuse; enum restore_moment moment[8]; pid_t pid[8]; char state[8]; size_t count; };
enum { NEVER = 100 };

static int note(void *arg, enum restore_moment when, pid_t pid, struct err *e)
{
	struct seen *s = arg;

	CHECK(s->count < 8);
	s->moment[s->count] = when;
	s->pid[s->count] = pid;
	s->state[s->count++] = pid ? task_state(pid, pid) : '-';
	return (int)when == s->refuse ? err_set(e, ERR_CANCELLED, 0, "refused by the test") : 0;
}

static int restore(const struct image_rig *g, struct seen *s, bool stopped, pid_t *root, struct err *e)
{
	struct restore_request q = image_rig_request(g);
	struct restore_stats stats;

	q.hook = note;
	q.hook_arg = s;
	q.leave_stopped = stopped;
	return restore_run(&q, root, &stats, e);
}

static void nothing_left(pid_t pid)
{
	CHECK(waitpid(-1, NULL, WNOHANG | __WALL) < 0 && errno == ECHILD);
	CHECK(kill(pid, 0) < 0 && errno == ESRCH);
}

static void refuse_before(const struct image_rig *g, pid_t pid)
{
	struct seen s = { .refuse = RESTORE_PRE };
	struct err e;
	pid_t root;

	CHECK(restore(g, &s, false, &root, &e) < 0 && strstr(e.text, "refused by the test"), "%s", e.text);
	CHECK(root == -1 && s.count == 1 && s.pid[0] == 0);
	nothing_left(pid);
	s = (struct seen){ .refuse = RESTORE_POST };
	CHECK(restore(g, &s, false, &root, &e) < 0 && strstr(e.text, "refused by the test"), "%s", e.text);
	CHECK(root == pid, "root is %d", root);
	CHECK(s.count == 2 && s.moment[1] == RESTORE_POST && s.pid[1] == pid && s.state[1] == 't', "%zu hooks, state %c", s.count, s.state[1]);
	nothing_left(pid);
}

static void let_run(const struct image_rig *g, struct zoo_host *z, int refuse)
{
	static const enum restore_moment order[] = { RESTORE_PRE, RESTORE_POST, RESTORE_PRE_RESUME, RESTORE_POST_RESUME };
	struct seen s = { .refuse = refuse };
	struct err e;

	CHECK(restore(g, &s, false, &z->pid, &e) == 0, "%s", e.text);
	CHECK(s.count == 4 && memcmp(s.moment, order, sizeof(order)) == 0, "%zu hooks", s.count);
	CHECK(s.pid[1] == z->pid && s.pid[2] == z->pid && s.pid[3] == z->pid);
	CHECK(s.state[1] == 't' && s.state[2] == 't' && strchr("SRD", s.state[3]), "states %.4s", s.state);
	zoo_ask(z);
	kill(z->pid, SIGKILL);
	CHECK(waitpid(z->pid, NULL, 0) == z->pid);
}

static void leave_stopped(const struct image_rig *g, struct zoo_host *z)
{
	struct seen s = { .refuse = NEVER };
	struct err e;

	CHECK(restore(g, &s, true, &z->pid, &e) == 0, "%s", e.text);
	await_task_state(z->pid, z->pid, "T");
	kill(z->pid, SIGCONT);
	zoo_ask(z);
}

int main(void)
{
	struct image_rig g;
	struct zoo_host z;
	pid_t pid;

	CHECK(zoo_start(&z, "file threads"));
	pid = z.pid;
	image_rig_make(&g);
	image_rig_dump(&g, pid);
	z.pid = 0;
	refuse_before(&g, pid);
	let_run(&g, &z, NEVER);
	let_run(&g, &z, RESTORE_PRE_RESUME);
	let_run(&g, &z, RESTORE_POST_RESUME);
	leave_stopped(&g, &z);
	zoo_end(&z);
	return 0;
}
