/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/criu/criu_call.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "migrate/cli/opt.h"
#include "migrate/rpc/apply.h"
#include "proto/base/cleanup.h"
#include "proto/base/log.h"

static int close_unwanted(const struct criu_command *c, struct err *e)
{
	for (size_t i = 0; i < c->close_fds.n; i++) {
		uint64_t fd;

		if (opt_parse_number(c->close_fds.v[i], OPT_NUMBER, &fd, e) != 0)
			return err_wrap(e, "--close");
		if (fd > INT_MAX || close((int)fd) < 0)
			return err_set(e, ERR_USAGE, 0, "--close: %s is no open descriptor", c->close_fds.v[i]);
	}
	return 0;
}

static int open_directory(const char *path, const char *option, struct err *e)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? err_sys(e, "%s: open %s", option, path) : fd;
}

static int open_directories(struct criu_call *c, struct err *e)
{
	const char *images = c->command.opts->images_dir;

	c->images = open_directory(images ? images : ".", "--images-dir", e);
	if (c->images < 0)
		return -1;
	c->work = c->command.work_dir ? open_directory(c->command.work_dir, "--work-dir", e) : fcntl(c->images, F_DUPFD_CLOEXEC, 3);
	if (c->work < 0)
		return -1;
	return fchdir(c->work) < 0 ? err_sys(e, "work directory") : 0;
}

/* A path as seen from the work directory; the field of the RPC has names only. */
static int open_log(struct criu_call *c, struct err *e)
{
	cleanup_free char *name = steal_pointer(&c->command.opts->log_file);
	cleanup_fd int fd = -1;

	log_set_level(rpc_log_level(c->command.opts->log_level));
	if (!name)
		return 0;
	fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOCTTY | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(e, "--log-file: open %s", name);
	c->own_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	return dup2(fd, STDERR_FILENO) < 0 ? err_sys(e, "log file") : 0;
}

int criu_call_open(struct criu_call *c, struct err *e)
{
	return close_unwanted(&c->command, e) != 0 || open_directories(c, e) != 0 || open_log(c, e) != 0 ? -1 : 0;
}

int criu_call_stderr(const struct criu_call *c)
{
	return c->own_stderr >= 0 ? c->own_stderr : STDERR_FILENO;
}

void criu_call_finish(struct criu_call *c)
{
	criu_command_finish(&c->command);
	cleanup_fd_(&c->images);
	cleanup_fd_(&c->work);
	cleanup_fd_(&c->own_stderr);
}
