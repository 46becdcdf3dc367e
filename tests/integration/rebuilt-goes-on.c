/* SPDX-License-Identifier: Apache-2.0 */
/* A process that is moved in the middle of things goes on: threads asleep in all kinds of waits, registers full, timers firing, memory growing,
 * as root and as a user with few rights, position independent, static and at fixed addresses. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/die_with.h"
#include "proto/base/io.h"
#include "tests/lib/rebuild_rig.h"
#include "tests/lib/subject.h"

enum { ASLEEP = 9, ASLEEP_PYTHON = 4, MOVES = 3 };
static unsigned all_aborted;
static int wanted_asleep = ASLEEP;

static char script[] = "tests/programs/threads.py";
static char dir[] = "/tmp/goes-on.XXXXXX";
static pid_t child;

static void clean(void)
{
	static const char *const files[] = { "ready", "go", "verdict", "log", "beat", "program" };
	char path[64];

	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		child = 0;
	}
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		unlink(path);
	}
}

static void gone(void)
{
	clean();
	rmdir(dir);
}

static bool there(void *name)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/%s", dir, (const char *)name);
	return access(path, F_OK) == 0 || task_state(child, child) == 'Z' || task_state(child, child) == 0;
}

static bool asleep(void *unused)
{
	char path[64];
	DIR *tasks;
	struct dirent *d;
	int n = 0;

	(void)unused;
	snprintf(path, sizeof(path), "/proc/%d/task", child);
	tasks = opendir(path);
	while (tasks && (d = readdir(tasks)))
		n += d->d_name[0] != '.' && task_state(child, (pid_t)atoi(d->d_name)) == 'S';
	if (tasks)
		closedir(tasks);
	return n >= wanted_asleep;
}

/* A copy of it in dir: what is built may lie where another user may not look. */
static void copy_subject(const char *program, const char *to)
{
	char self[400] = "", from[512];
	cleanup_fd int in = -1, out = -1;
	struct stat st;

	CHECK(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	for (int i = 0; i < 3; i++)
		*strrchr(self, '/') = '\0';
	snprintf(from, sizeof(from), "%s/subjects/%s", self, program);
	in = open(from, O_RDONLY | O_CLOEXEC);
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	CHECK(in >= 0 && out >= 0 && fstat(in, &st) == 0 && fchmod(out, 0755) == 0, "copy %s", from);
	for (off_t at = 0; at < st.st_size;)
		CHECK(sendfile(out, in, &at, (size_t)(st.st_size - at)) > 0, "copy %s", from);
}

static void start(const char *program, bool as_user)
{
	char path[512], log[64];
	pid_t test = getpid();

	snprintf(path, sizeof(path), "%s", program);
	if (program[0] != '/') {
		snprintf(path, sizeof(path), "%s/program", dir);
		copy_subject(program, path);
	}
	snprintf(log, sizeof(log), "%s/log", dir);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		gid_t groups[] = { 4, 77 };
		int null = open("/dev/null", O_RDWR), out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0666);

		if (!die_with(test, SIGKILL))
			_exit(1);
		setsid();
		dup2(null, 0);
		dup2(out, 1);
		dup2(out, 2);
		close_range(3, ~0u, 0);
		if (as_user && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_CAPBSET_DROP, 5, 0, 0, 0) < 0 || setgroups(2, groups) < 0 ||
				setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0))
			_exit(3);
		if (program[0] == '/')
			execl(path, path, script, dir, NULL);
		else
			execl(path, path, dir, NULL);
		_exit(127);
	}
	await(there, (void *)(uintptr_t)"ready", "the subject to be ready");
	await(asleep, NULL, "its threads to sleep");
}

static void expect_verdict(const char *program, const char *right)
{
	char path[64], *text;
	struct err e = { 0 };

	await(there, (void *)(uintptr_t)"verdict", "the subject's verdict");
	snprintf(path, sizeof(path), "%s/verdict", dir);
	text = file_read(AT_FDCWD, path, 65536, NULL, &e);
	CHECK(text, "%s: %s", program, e.text);
	CHECK(strstr(text, right), "%s: %s", program, text);
	free(text);
	clean();
	printf("%s: goes on\n", program);
}

static void move_python(void)
{
	wanted_asleep = ASLEEP_PYTHON;
	start("/usr/bin/python3", false);
	for (int i = 0; i < MOVES; i++)
		rebuild_rig_move(child);
	CHECK(kill(child, SIGUSR1) == 0);
	expect_verdict("python3", "\"right\"");
}

/* Rounds of a tracker that needs stops, before the freeze: sleeps with a timeout are then no more the calls that they were. */
static void stop_for_a_moment(void)
{
	struct remote r = { 0 };
	struct err e = { 0 };

	CHECK(remote_seize(&r, child, 0, &e) == 0, "%s", e.text);
	remote_release(&r);
	await(asleep, NULL, "its threads to sleep on");
}

static void move_it(const char *program, bool as_user)
{
	char path[64];
	unsigned aborted = 0;

	start(program, as_user);
	for (int i = 0; i < MOVES; i++) {
		if (i > 0)
			stop_for_a_moment();
		aborted += rebuild_rig_move(child);
		await(asleep, NULL, "its threads to sleep again");
	}
	all_aborted += aborted;
	printf("%s: %u times in a restartable sequence\n", program, aborted);
	snprintf(path, sizeof(path), "%s/go", dir);
	close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
	expect_verdict(program, "ok\n");
}

int main(void)
{
	static const char *const programs[] = { "goes_on", "goes_on_static", "goes_on_fixed" };

	setvbuf(stdout, NULL, _IOLBF, 0);
	CHECK(mkdtemp(dir) && chmod(dir, 0777) == 0);
	atexit(gone);
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		move_it(programs[i], false);
	move_it("goes_on", true);
	CHECK(all_aborted > 0 || __rseq_size == 0, "no restartable sequence was met");
	if (access("/usr/bin/python3", X_OK) == 0)
		move_python();
	return 0;
}
