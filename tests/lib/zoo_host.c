/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/zoo_host.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/die_with.h"
#include "tests/lib/remove_tree.h"
#include "tests/lib/subject.h"

enum { ARGS_MAX = 96 };

/* build/tests/integration/x -> build/subjects/zoo, built without sanitizers. */
static void program_path(char *out, size_t size)
{
	char self[400];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	CHECK(len > 0);
	self[len] = '\0';
	for (int i = 0; i < 3; i++)
		*strrchr(self, '/') = '\0';
	snprintf(out, size, "%s/subjects/zoo", self);
}

static void become_zoo(const char *program, char **args, pid_t test)
{
	int null = open("/dev/null", O_RDWR);

	if (!die_with(test, SIGKILL))
		_exit(1);
	setsid();
	dup2(null, 0);
	dup2(null, 1);
	/* 2 is its log by now: the test's own may be a pipe, which no zoo can hold. */
	for (int fd = 3; fd < 1024; fd++)
		close(fd);
	execv(program, args);
	_exit(127);
}

static bool exists(const struct zoo_host *z, const char *name)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/%s", z->dir, name);
	return access(path, F_OK) == 0;
}

struct waiting { const struct zoo_host *z; const char *file; bool ended; };

static bool there_or_ended(void *arg)
{
	struct waiting *w = arg;
	siginfo_t info = { 0 };

	if (exists(w->z, w->file))
		return true;
	w->ended = waitid(P_PID, (id_t)w->z->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == w->z->pid;
	return w->ended;
}

static void show(const struct zoo_host *z, const char *name)
{
	char path[192], line[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", z->dir, name);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		fputs(line, stderr);
	if (f)
		fclose(f);
}

/* A CHECK that fails ends the test: what it made goes too. */
static struct zoo_host *living;
static bool registered;

static void end_living(void)
{
	if (living)
		zoo_end(living);
}

bool zoo_start(struct zoo_host *z, const char *kinds)
{
	char program[512], names[2048], log[192];
	char *args[ARGS_MAX] = { program, z->dir };
	int n = 2;
	pid_t test = getpid();
	struct waiting w = { .z = z, .file = "ready" };

	snprintf(z->dir, sizeof(z->dir), "/tmp/zoo.XXXXXX");
	CHECK(mkdtemp(z->dir) && chmod(z->dir, 0777) == 0);
	if (!registered)
		registered = atexit(end_living) == 0;
	living = z;
	program_path(program, sizeof(program));
	snprintf(names, sizeof(names), "%s", kinds);
	for (char *k = strtok(names, " "); k && n < ARGS_MAX - 1; k = strtok(NULL, " "))
		args[n++] = k;
	fflush(stderr);
	z->pid = fork();
	CHECK(z->pid >= 0);
	if (z->pid == 0) {
		int fd;

		snprintf(log, sizeof(log), "%s/log", z->dir);
		fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0666);
		dup2(fd, 2);
		become_zoo(program, args, test);
	}
	await(there_or_ended, &w, "the zoo to be ready");
	if (w.ended)
		show(z, "log");
	return !w.ended;
}

void zoo_ask(const struct zoo_host *z)
{
	char path[192], text[256] = "";
	struct waiting w = { .z = z, .file = "verdict" };
	int fd;

	snprintf(path, sizeof(path), "%s/verdict", z->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/request", z->dir);
	close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
	await(there_or_ended, &w, "the zoo's verdict");
	if (w.ended) {
		siginfo_t info = { 0 };

		show(z, "log");
		waitid(P_PID, (id_t)z->pid, &info, WEXITED | WNOWAIT);
		CHECK(!w.ended, "the zoo ended: code %d status %d", info.si_code, info.si_status);
	}
	snprintf(path, sizeof(path), "%s/verdict", z->dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	if (strcmp(text, "ok\n") != 0)
		show(z, "verdict");
	CHECK(strcmp(text, "ok\n") == 0, "the zoo is not whole");
}

void zoo_end(struct zoo_host *z)
{
	if (z->pid > 0) {
		kill(z->pid, SIGKILL);
		while (waitpid(z->pid, NULL, 0) < 0 && errno == EINTR)
			;
		z->pid = 0;
	}
	living = NULL;
	if (z->dir[0])
		remove_tree(z->dir);
	z->dir[0] = '\0';
}

void zoo_moves(const char *kinds, void (*move)(pid_t pid))
{
	struct zoo_host z;

	if (!zoo_start(&z, kinds)) {
		printf("%s: can't be made on this machine\n", kinds);
		zoo_end(&z);
		return;
	}
	zoo_ask(&z);
	for (int i = 0; i < 2; i++) {
		move(z.pid);
		zoo_ask(&z);
	}
	zoo_end(&z);
	printf("%s: whole\n", kinds);
}
