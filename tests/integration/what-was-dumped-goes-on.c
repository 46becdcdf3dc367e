/* SPDX-License-Identifier: Apache-2.0 */
/* A process goes on where it was when it was dumped into images and restored from them: each specimen of the zoo judges itself, twice, and one
 * that is in the middle of waits, timers and signals does not notice. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/die_with.h"
#include "tests/lib/image_rig.h"
#include "tests/lib/subject.h"
#include "tests/lib/zoo.h"
#include "tests/lib/zoo_host.h"

/* ---- in the middle of things: tests/programs/goes_on.c ---- */

static char dir[] = "/tmp/dumped-goes-on.XXXXXX";
static pid_t child;

static char *in_dir(const char *name)
{
	static char path[64];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void clean(void)
{
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	unlink(in_dir("ready"));
	unlink(in_dir("go"));
	unlink(in_dir("verdict"));
	rmdir(dir);
}

static bool there(void *name)
{
	return access(in_dir(name), F_OK) == 0 || waitpid(child, NULL, WNOHANG) == child;
}

static void become_subject(const char *program, pid_t test)
{
	int null = open("/dev/null", O_RDWR);

	if (!die_with(test, SIGKILL))
		_exit(1);
	setsid();
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	for (int fd = 3; fd < 1024; fd++)
		close(fd);
	execl(program, "goes_on", dir, (char *)NULL);
	_exit(127);
}

static void move_in_the_middle(const char *program)
{
	char text[2048] = "", self[400] = "", path[512];
	char ready[] = "ready", verdict[] = "verdict";
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	pid_t test;
	int fd;

	CHECK(len > 0);
	for (int i = 0; i < 3; i++)
		*strrchr(self, '/') = '\0';
	snprintf(path, sizeof(path), "%s/subjects/%s", self, program);
	CHECK(mkdtemp(dir) && atexit(clean) == 0);
	test = getpid();
	child = fork();
	CHECK(child >= 0);
	if (child == 0)
		become_subject(path, test);
	await(there, ready, "the subject to be ready");
	for (int i = 0; i < 3; i++)
		image_rig_move(child);
	close(open(in_dir("go"), O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
	await(there, verdict, "the subject's verdict");
	fd = open(in_dir("verdict"), O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0, "it ended");
	close(fd);
	CHECK(strcmp(text, "ok\n") == 0, "%s", text);
	printf("%s: goes on\n", program);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; zoo_at(i); i++)
		if (!zoo_at(i)->obstacle)
			zoo_moves(zoo_at(i)->name, image_rig_move);
	zoo_moves("file pipe fifo eventfd timerfd epoll memfd mapped-files memory stream-pair packet-pairs unix-names tcp threads timers",
		  image_rig_move);
	move_in_the_middle("goes_on");
	return 0;
}
