/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/criu/action_script.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_STARTED = 127 };

/* images: a path that is good as long as the caller waits. */
static void set_environment(const char *action, const char *images, pid_t init_pid)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)init_pid);
	setenv("CRTOOLS_SCRIPT_ACTION", action, 1);
	setenv("CRTOOLS_IMAGE_DIR", images, 1);
	if (init_pid > 0)
		setenv("CRTOOLS_INIT_PID", pid, 1);
	else
		unsetenv("CRTOOLS_INIT_PID");
}

static void become_script(const char *path, int work_dir)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0 || fchdir(work_dir) < 0)
		_exit(NOT_STARTED);
	execlp(path, path, (char *)NULL);
	dprintf(STDERR_FILENO, "%s: %s\n", path, strerror(errno));
	_exit(NOT_STARTED);
}

static int outcome(const char *path, int status, struct err *e)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFSIGNALED(status))
		return err_set(e, ERR_CANCELLED, 0, "action script %s was killed by signal %d", path, WTERMSIG(status));
	if (WEXITSTATUS(status) == NOT_STARTED)
		return err_set(e, ERR_CANCELLED, 0, "action script %s could not be run, or ended with 127", path);
	return err_set(e, ERR_CANCELLED, 0, "action script %s ended with %d", path, WEXITSTATUS(status));
}

static int run(const char *path, const char *action, int images_dir, int work_dir, pid_t init_pid, struct err *e)
{
	char images[48];
	int status;
	pid_t child;

	snprintf(images, sizeof(images), "/proc/%d/fd/%d", (int)getpid(), images_dir);
	child = fork();
	if (child == 0) {
		set_environment(action, images, init_pid);
		become_script(path, work_dir);
	}
	if (child < 0)
		return err_sys(e, "action script %s", path);
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return err_sys(e, "action script %s", path);
	}
	return outcome(path, status, e);
}

/* Moments at which a client is asked for more than leave: no script can answer. */
static bool is_question(const char *action)
{
	return strcmp(action, "query-ext-files") == 0 || strcmp(action, "orphan-pts-master") == 0;
}

int action_scripts_run(const struct action_scripts *s, const char *action, int images_dir, int work_dir, pid_t init_pid, struct err *e)
{
	for (size_t i = 0; i < s->n && !is_question(action); i++) {
		if (run(s->path[i], action, images_dir, work_dir, init_pid, e) != 0)
			return err_wrap(e, "%s", action);
	}
	return 0;
}
