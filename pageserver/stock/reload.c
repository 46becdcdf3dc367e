/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/reload.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pageserver/stock/sessions_reload.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"

#define VARIABLE "DRAY_RELOAD" /* PID:DESCRIPTOR, for that process alone */
enum { ARGUMENTS_MAX = 4 << 20 }; /* bytes */
static const char heading[] = "page-server 1";

/* --- who hands over ------------------------------------------------------------------------------------------------------------- */

/* The arguments that this program was started with, with one more, or NULL. *text is what they are in; owned by the caller, as the array is. */
static char **arguments(char *more, char **text, struct err *e)
{
	size_t len = 0, n = 0;
	char **argv;

	*text = file_read(AT_FDCWD, "/proc/self/cmdline", ARGUMENTS_MAX, &len, e);
	if (!*text)
		return NULL;
	argv = len > 0 ? calloc(len + 3, sizeof(*argv)) : NULL;
	if (!argv) {
		err_sys(e, "the program's arguments");
		return NULL;
	}
	for (char *at = *text; at < *text + len; at += strlen(at) + 1)
		argv[n++] = at;
	argv[n] = more;
	return argv;
}

static _Noreturn void ask(char **argv)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp(argv[0], argv);
	log_event(LOG_ERROR, "reload", "path=\"%s\" errno=%d", argv[0], errno);
	_exit(127);
}

pid_t reload_ask(struct err *e)
{
	char check[] = "--check";
	cleanup_free char *text = NULL;
	cleanup_free char **argv = arguments(check, &text, e);
	pid_t pid = argv ? fork() : -1;

	if (pid == 0)
		ask(argv);
	return !argv ? -1 : pid < 0 ? err_sys(e, "fork") : pid;
}

static void keep(const struct sessions *s, int state, bool over_exec)
{
	int flags = over_exec ? 0 : FD_CLOEXEC;

	fcntl(state, F_SETFD, flags);
	fcntl(s->listener, F_SETFD, flags);
	if (s->metrics)
		fcntl(metrics_fd(s->metrics), F_SETFD, flags);
	sessions_keep(s, over_exec);
}

static int write_state(const struct sessions *s, int fd, struct err *e)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	FILE *out = copy < 0 ? NULL : fdopen(copy, "w");
	bool bad;

	if (!out)
		return err_sys(e, "write down the sessions");
	fprintf(out, "%s%clistener %d%cmetrics %d%c", heading, '\0', s->listener, '\0', metrics_fd(s->metrics), '\0');
	sessions_write(s, out);
	bad = ferror(out);
	bad |= fclose(out) != 0;
	return bad || lseek(fd, 0, SEEK_SET) < 0 ? err_sys(e, "write down the sessions") : 0;
}

int reload_go(const struct sessions *s, struct err *e)
{
	cleanup_free char *text = NULL;
	cleanup_free char **argv = arguments(NULL, &text, e);
	cleanup_fd int state = memfd_create("dray-reload", MFD_CLOEXEC);
	char value[32];

	if (!argv)
		return -1;
	if (state < 0)
		return err_sys(e, "memory for the sessions");
	if (write_state(s, state, e) < 0)
		return -1;
	snprintf(value, sizeof(value), "%d:%d", (int)getpid(), state);
	setenv(VARIABLE, value, 1);
	keep(s, state, true);
	execvp(argv[0], argv);
	err_sys(e, "%s", argv[0]);
	keep(s, state, false);
	unsetenv(VARIABLE);
	return -1;
}

/* --- who takes over ------------------------------------------------------------------------------------------------------------- */

/* The next record; owned by the caller. NULL: there are no more. */
static char *next_record(FILE *in)
{
	char *words = NULL;
	size_t room = 0;

	if (getdelim(&words, &room, '\0', in) > 0)
		return words;
	free(words);
	return NULL;
}

static bool read_fd(FILE *in, const char *format, int *fd)
{
	cleanup_free char *words = next_record(in);
	size_t len = strlen(format);

	if (!words || strncmp(words, format, len) != 0 || words[len] != ' ' || sscanf(words + len, "%d", fd) != 1)
		return false;
	return *fd < 0 || fcntl(*fd, F_SETFD, FD_CLOEXEC) == 0;
}

/* -1: not for this process, which may be a child of it. */
static int state_fd(void)
{
	const char *said = getenv(VARIABLE);
	int pid, fd;

	if (!said || sscanf(said, "%d:%d", &pid, &fd) != 2 || pid != (int)getpid())
		fd = -1;
	unsetenv(VARIABLE);
	return fd;
}

int reload_take(struct reload *h, struct err *e)
{
	cleanup_free char *first = NULL;
	int fd = state_fd();

	*h = (struct reload){ .listener = -1, .metrics = -1 };
	if (fd < 0)
		return 0;
	h->state = fdopen(fd, "r");
	if (!h->state || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_sys(e, "what the server before wrote down");
	first = next_record(h->state);
	if (!first || strcmp(first, heading) != 0 || !read_fd(h->state, "listener", &h->listener) || !read_fd(h->state, "metrics", &h->metrics) ||
	    h->listener < 0)
		return err_set(e, ERR_MISMATCH, 0, "what the server before wrote down is of another version");
	return 1;
}

void reload_sessions(struct reload *h, struct sessions *s)
{
	unsigned lost = 0;
	char *words;

	while ((words = next_record(h->state))) {
		lost += !sessions_read(s, h->metrics >= 0, words);
		free(words);
	}
	fclose(h->state);
	h->state = NULL;
	log_event(lost ? LOG_WARN : LOG_INFO, "reloaded", "sessions=%zu lost=%u", s->running, lost);
}
