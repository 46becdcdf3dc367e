/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/criu/stock_criu.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where a system keeps it, also for callers whose PATH is a user's. */
#define SYSTEM_PATH "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"

static const char *const names[] = { [ENGINE_AUTO] = "auto", [ENGINE_NATIVE] = "native", [ENGINE_CRIU] = "criu" };

static const char *given(const char *text, const char *variable)
{
	if (!text || !text[0])
		text = getenv(variable);
	return text && text[0] ? text : NULL;
}

static bool is_another_program(const char *path)
{
	struct stat it, own;

	return stat(path, &it) == 0 && S_ISREG(it.st_mode) && access(path, X_OK) == 0 &&
	       (stat("/proc/self/exe", &own) < 0 || own.st_dev != it.st_dev || own.st_ino != it.st_ino);
}

static bool find_in(const char *directories, char path[PATH_MAX])
{
	while (directories) {
		size_t len = strcspn(directories, ":");

		if (len && snprintf(path, PATH_MAX, "%.*s/criu", (int)len, directories) < PATH_MAX && is_another_program(path))
			return true;
		directories = directories[len] ? directories + len + 1 : NULL;
	}
	return false;
}

bool stock_criu_find(const struct engine_choice *c, char path[PATH_MAX])
{
	if (c->criu)
		return snprintf(path, PATH_MAX, "%s", c->criu) < PATH_MAX && is_another_program(path);
	return find_in(getenv("PATH"), path) || find_in(SYSTEM_PATH, path);
}

static int engine_by_name(const char *name, struct engine_choice *c, struct err *e)
{
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(names[i], name) == 0) {
			c->engine = (enum engine)i;
			return 0;
		}
	}
	return err_set(e, ERR_USAGE, 0, "engine '%.40s' is none of auto, native, criu", name);
}

/* What was named has to be there, whether it will be wanted or not; what DRAY_CRIU says may be for other hosts. */
int engine_choose(const char *name, const char *criu, struct engine_choice *c, struct err *e)
{
	char path[PATH_MAX];

	*c = (struct engine_choice){ .engine = ENGINE_AUTO, .criu = given(criu, "DRAY_CRIU") };
	name = given(name, "DRAY_ENGINE");
	if (name && engine_by_name(name, c, e) < 0)
		return -1;
	if (criu && criu[0] && !stock_criu_find(c, path))
		return err_set(e, ERR_USAGE, 0, "--criu %s: no other program than this one can be run there", criu);
	return 0;
}

static void quiet(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
}

bool stock_criu_works(const char *path)
{
	int status = -1;
	pid_t child = fork();

	if (child == 0) {
		quiet();
		execl(path, "criu", "check", "--no-default-config", (char *)NULL);
		_exit(127);
	}
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int stock_criu_become(const char *path, char *const *argv, int fd, struct err *e)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (fd >= 0 && fcntl(fd, F_SETFD, 0) < 0)
		return err_sys(e, "descriptor %d", fd);
	execv(path, argv);
	return err_sys(e, "run %s", path);
}
