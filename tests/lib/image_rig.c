/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/image_rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/dump/dump.h"
#include "proto/base/die_with.h"
#include "tests/lib/subject.h"

enum { RIGS_MAX = 8 };
static struct image_rig made[RIGS_MAX]; /* copies: a test's own may be gone when it ends */

static void remove_all(void)
{
	for (size_t i = 0; i < RIGS_MAX; i++)
		if (made[i].dir[0])
			image_rig_remove(&made[i]);
}

void image_rig_make_in(struct image_rig *g, const char *where)
{
	static bool registered;
	size_t i = 0;

	if (!registered)
		registered = atexit(remove_all) == 0;
	while (i < RIGS_MAX && made[i].dir[0])
		i++;
	CHECK(i < RIGS_MAX);
	snprintf(g->dir, sizeof(g->dir), "%s/image-rig.XXXXXX", where);
	CHECK(mkdtemp(g->dir));
	g->fd = open(g->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(g->fd >= 0);
	made[i] = *g;
}

void image_rig_make(struct image_rig *g)
{
	image_rig_make_in(g, "/tmp");
}

void image_rig_remove(struct image_rig *g)
{
	DIR *dir = opendir(g->dir);
	struct dirent *d;

	while (dir && (d = readdir(dir)))
		unlinkat(g->fd, d->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(g->dir);
	close(g->fd);
	for (size_t i = 0; i < RIGS_MAX; i++)
		if (made[i].fd == g->fd)
			made[i] = (struct image_rig){ .fd = -1 };
}

enum { ASIDE = 200 };

static void become_sleeper(pid_t test, const int *fds, size_t n, bool own_session)
{
	int null = open("/dev/null", O_RDWR);

	if (!die_with(test, SIGKILL))
		_exit(1);
	if (own_session)
		setsid();
	for (size_t i = 0; i < n; i++)
		dup2(fds[i], ASIDE + (int)i);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	close_range(3, ASIDE - 1, 0);
	for (size_t i = 0; i < n; i++)
		dup2(ASIDE + (int)i, SLEEPER_FD + (int)i);
	close_range(ASIDE, ~0u, 0);
	execl("/bin/sleep", "sleep", "1000", (char *)NULL);
	_exit(127);
}

static pid_t sleeper;

static void end_sleeper(void)
{
	if (sleeper <= 0)
		return;
	kill(sleeper, SIGKILL);
	while (waitpid(sleeper, NULL, 0) < 0 && errno == EINTR)
		;
}

pid_t image_rig_sleeper(const int *fds, size_t n, bool own_session)
{
	pid_t test = getpid();

	if (!sleeper)
		CHECK(atexit(end_sleeper) == 0);
	sleeper = fork();
	CHECK(sleeper >= 0);
	if (sleeper == 0)
		become_sleeper(test, fds, n, own_session);
	await_in_syscall(sleeper, sleeper, SYS_clock_nanosleep);
	return sleeper;
}

static void reap(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) < 0)
		CHECK(errno == EINTR, "process %d is no child", child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "it ended with status %#x", status);
}

void image_rig_dump(struct image_rig *g, pid_t child)
{
	struct dump_request q = { .pid = child, .images_dir = g->fd, .work_dir = g->fd, .requester_socket = -1 };
	struct dump_stats stats;
	struct err e = { 0 };
	struct dumper *d = dumper_create(&e);

	CHECK(d, "%s", e.text);
	CHECK(dumper_dump(d, &q, &stats, &e) == 0, "%s", e.text);
	dumper_destroy(d);
	reap(child);
}

struct restore_request image_rig_request(const struct image_rig *g)
{
	return (struct restore_request){ .images_dir = g->fd, .work_dir = g->fd, .requester_socket = -1 };
}

void image_rig_restore(const struct image_rig *g, pid_t child)
{
	struct restore_request q = image_rig_request(g);
	struct restore_stats stats;
	struct err e = { 0 };
	pid_t root;

	CHECK(restore_run(&q, &root, &stats, &e) == 0, "%s", e.text);
	CHECK(root == child, "it is process %d, not %d", root, child);
}

void image_rig_move(pid_t child)
{
	struct image_rig g;

	image_rig_make(&g);
	image_rig_dump(&g, child);
	image_rig_restore(&g, child);
	image_rig_remove(&g);
}
