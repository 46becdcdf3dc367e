/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/image_rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/dump/dump.h"
#include "tests/lib/subject.h"

enum { RIGS_MAX = 8 };
static struct image_rig *made[RIGS_MAX];

static void remove_all(void)
{
	for (size_t i = 0; i < RIGS_MAX; i++)
		if (made[i])
			image_rig_remove(made[i]);
}

void image_rig_make(struct image_rig *g)
{
	static bool registered;
	size_t i = 0;

	if (!registered)
		registered = atexit(remove_all) == 0;
	while (i < RIGS_MAX && made[i])
		i++;
	CHECK(i < RIGS_MAX);
	made[i] = g;
	snprintf(g->dir, sizeof(g->dir), "/tmp/image-rig.XXXXXX");
	CHECK(mkdtemp(g->dir));
	g->fd = open(g->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(g->fd >= 0);
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
		made[i] = made[i] == g ? NULL : made[i];
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
