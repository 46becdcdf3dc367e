/* SPDX-License-Identifier: Apache-2.0 */
/* Every file of an image set is cut, emptied, taken away and changed in turn. A restore says which file or object is at fault, or rebuilds the
 * process (some damage is none, some changes the process itself, which is never let run); in both cases the test is left with no child, no
 * descriptor and no process of that PID. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "tests/lib/image_rig.h"
#include "tests/lib/subject.h"
#include "tests/lib/zoo_host.h"

enum { FILES_MAX = 64, CHANGES_IN_A_FILE = 24, FILE_MAX = 1 << 20 };
static int changes = CHANGES_IN_A_FILE;

struct file { char name[64]; char *data; size_t len; };
static struct file file[FILES_MAX];
static size_t files;
static struct image_rig g;
static unsigned refused, rebuilt;

static size_t count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	while (dir && readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void put(const struct file *f, size_t len)
{
	cleanup_fd int fd = openat(g.fd, f->name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && write_full(fd, f->data, len) == 0, "%s", f->name);
}

/* The process may be another one than was dumped: it ends before it runs. */
static int refuse_to_run(void *arg, enum restore_moment when, pid_t root, struct err *e)
{
	bool *whole = arg;

	(void)root;
	*whole |= when == RESTORE_POST;
	return when == RESTORE_POST ? err_set(e, ERR_CANCELLED, 0, "not to run") : 0;
}

/* Whether it was rebuilt; else e says why not. */
static bool try_restore(struct err *e)
{
	bool whole = false;
	struct restore_request q = image_rig_request(&g);
	struct restore_stats stats;
	size_t before = count_descriptors();
	pid_t root = 0;

	*e = (struct err){ 0 };
	q.hook = refuse_to_run;
	q.hook_arg = &whole;
	CHECK(restore_run(&q, &root, &stats, e) < 0 && err_is_set(e) && e->text[0], "neither rebuilt nor refused");
	CHECK(!strstr(e->text, "behind the channel"), "what was to become the process crashed: %s", e->text);
	CHECK(waitpid(-1, NULL, WNOHANG | __WALL) < 0 && errno == ECHILD, "a child is left: %s", e->text);
	CHECK(root <= 0 || (kill(root, 0) < 0 && errno == ESRCH), "process %d is left: %s", root, e->text);
	CHECK(count_descriptors() == before, "a descriptor is left: %s", e->text);
	refused += !whole;
	rebuilt += whole;
	return whole;
}

static void must_name(const struct file *f, const char *damage)
{
	struct err e;

	CHECK(!try_restore(&e), "%s %s: rebuilt all the same", f->name, damage);
	CHECK(strstr(e.text, f->name), "%s %s, but: %s", f->name, damage, e.text);
}

/* Contents of pipes and sockets, and what only ours holds, may be missing in a set that stock criu wrote. */
static bool may_be_missing(const struct file *f)
{
	return strcmp(f->name, "pipes-data.img") == 0 || strcmp(f->name, "sk-queues.img") == 0 || strcmp(f->name, "drayage.img") == 0 ||
	       strncmp(f->name, "fdinfo-", 7) == 0;
}

static void damage(const struct file *f)
{
	struct err e;

	must_name((put(f, 0), f), "emptied");
	must_name((put(f, 7), f), "cut in its magic");
	must_name((put(f, f->len - 1), f), "cut at its end");
	put(f, f->len / 2);
	CHECK(!try_restore(&e) || may_be_missing(f), "%s cut in the middle: rebuilt all the same", f->name);
	CHECK(unlinkat(g.fd, f->name, 0) == 0);
	if (may_be_missing(f))
		try_restore(&e);
	else
		must_name(f, "taken away");
	put(f, f->len);
}

/* Bytes that no writer wrote, the same ones in each run. */
static void change(const struct file *f)
{
	uint64_t seed = 0x9e3779b97f4a7c15u ^ f->len;
	struct err e;

	for (int i = 0; i < changes; i++) {
		size_t at;
		char was;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		at = (size_t)(seed >> 33) % f->len;
		was = f->data[at];
		f->data[at] = (char)(was ^ (1 << (seed >> 20 & 7)));
		put(f, f->len);
		try_restore(&e);
		f->data[at] = was;
	}
	put(f, f->len);
}

static bool is_image(const char *name)
{
	return strlen(name) > 4 && strcmp(name + strlen(name) - 4, ".img") == 0;
}

static void read_files(void)
{
	DIR *dir = opendir(g.dir);
	struct dirent *d;
	struct err e;

	while (dir && (d = readdir(dir))) {
		struct file *f = &file[files];

		if (!is_image(d->d_name))
			continue;
		CHECK(files < FILES_MAX);
		snprintf(f->name, sizeof(f->name), "%.60s", d->d_name);
		f->data = file_read(g.fd, f->name, FILE_MAX, &f->len, &e);
		CHECK(f->data && f->len > 8, "%s: %s", f->name, e.text);
		files++;
	}
	closedir(dir);
}

/* More changes a file than the usual: for a longer search. */
int main(int argc, char **argv)
{
	struct zoo_host z;
	struct err e;

	if (argc > 1)
		changes = atoi(argv[1]);
	setvbuf(stdout, NULL, _IOLBF, 0);
	CHECK(zoo_start(&z, "file pipe epoll stream-pair memfd threads timers"));
	image_rig_make(&g);
	image_rig_dump(&g, z.pid);
	z.pid = 0;
	read_files();
	CHECK(try_restore(&e), "%s", e.text);
	for (size_t i = 0; i < files; i++)
		damage(&file[i]);
	CHECK(try_restore(&e), "%s", e.text);
	for (size_t i = 0; i < files; i++)
		if (strncmp(file[i].name, "pages-", 6) != 0)
			change(&file[i]);
	CHECK(try_restore(&e), "%s", e.text);
	printf("%zu files damaged: %u refused, %u rebuilt\n", files, refused, rebuilt);
	for (size_t i = 0; i < files; i++)
		free(file[i].data);
	zoo_end(&z);
	return 0;
}
