/* SPDX-License-Identifier: Apache-2.0 */
/* restorer - restores a process from an image directory, without any of the front ends: for tests.
 *
 *   restorer DIR [WORD...]
 *     work=DIR            for stats-restore, else DIR
 *     sibling             the process becomes a child of restorer's parent
 *     shell-job tcp-close ext-unix-sk auto-dedup stopped
 *     inherit=FD:KEY      descriptor FD of restorer's takes the place of KEY
 *     requester=FD        takes the place of the dumper's line to the service
 *     line                what the process reads from that line: the word "restored", once it runs
 *     refuse=NAME         the hook of that name says no (pre, post, pre-resume, post-resume)
 *     pause=NAME          the hook of that name waits for a byte on stdin
 *     wait                waits for the end of the process: its exit code is restorer's
 *
 * Writes a line for each hook, "hook NAME PID", and at the end "restored PID pages=N restore=US forking=US"; or the error on stderr and
 * "failed KIND ERRNO PID"; exit code 1 then. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/restore/restore.h"

enum { INHERITS_MAX = 16 };
static const char *const moments[] = { [RESTORE_PRE] = "pre", [RESTORE_SETUP_NAMESPACES] = "setup-namespaces",
	[RESTORE_POST_SETUP_NAMESPACES] = "post-setup-namespaces", [RESTORE_POST] = "post", [RESTORE_PRE_RESUME] = "pre-resume",
	[RESTORE_POST_RESUME] = "post-resume" };

struct job {
	struct restore_request q;
	struct restore_inherit inherit[INHERITS_MAX];
	const char *work, *refuse, *pause;
	bool line, wait;
};

static int hook(void *arg, enum restore_moment when, pid_t pid, struct err *e)
{
	const struct job *j = arg;
	char c;

	printf("hook %s %d\n", moments[when], (int)pid);
	fflush(stdout);
	if (j->pause && strcmp(j->pause, moments[when]) == 0 && read(STDIN_FILENO, &c, 1) < 0)
		return err_sys(e, "stdin");
	if (j->refuse && strcmp(j->refuse, moments[when]) == 0)
		return err_set(e, ERR_CANCELLED, 0, "%s was refused", moments[when]);
	return 0;
}

static const char *value_of(const char *word, const char *key)
{
	size_t len = strlen(key);

	return strncmp(word, key, len) == 0 && word[len] == '=' ? word + len + 1 : NULL;
}

static bool take_flag(struct job *j, const char *word)
{
	const struct { const char *name; bool *flag; } flags[] = {
		{ "sibling", &j->q.sibling },         { "shell-job", &j->q.shell_job },     { "tcp-close", &j->q.tcp_close },
		{ "ext-unix-sk", &j->q.ext_unix_sk }, { "auto-dedup", &j->q.auto_dedup },   { "stopped", &j->q.leave_stopped },
		{ "line", &j->line },                 { "wait", &j->wait },
	};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (strcmp(word, flags[i].name) == 0)
			return *flags[i].flag = true;
	return false;
}

static void take_inherit(struct job *j, const char *value)
{
	char *colon;
	int fd = (int)strtol(value, &colon, 10);

	if (*colon != ':' || j->q.inherits == INHERITS_MAX)
		exit(2);
	j->inherit[j->q.inherits++] = (struct restore_inherit){ colon + 1, fd };
}

static void take_word(struct job *j, const char *word)
{
	const char *v;

	if ((v = value_of(word, "work")))
		j->work = v;
	else if ((v = value_of(word, "refuse")))
		j->refuse = v;
	else if ((v = value_of(word, "pause")))
		j->pause = v;
	else if ((v = value_of(word, "requester")))
		j->q.requester_socket = atoi(v);
	else if ((v = value_of(word, "inherit")))
		take_inherit(j, v);
	else if (!take_flag(j, word)) {
		fprintf(stderr, "restorer: what is \"%s\"?\n", word);
		exit(2);
	}
}

static int open_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		fprintf(stderr, "restorer: %s: %s\n", path, strerror(errno));
		exit(2);
	}
	return fd;
}

static int await_end(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
	struct job j = { .q = { .requester_socket = -1, .hook = hook, .hook_arg = &j, .inherit = j.inherit } };
	struct restore_stats stats = { 0 };
	struct err e = { 0 };
	int line = -1;
	pid_t root;

	if (argc < 2)
		return 2;
	for (int i = 2; i < argc; i++)
		take_word(&j, argv[i]);
	if (j.line)
		j.q.requester_line = &line;
	j.q.images_dir = open_dir(argv[1]);
	j.q.work_dir = open_dir(j.work ? j.work : argv[1]);
	if (restore_run(&j.q, &root, &stats, &e) < 0) {
		fprintf(stderr, "restorer: %s\n", e.text);
		printf("failed %s %d %d\n", err_kind_name(e.kind), e.num, (int)root);
		return 1;
	}
	printf("restored %d pages=%llu restore=%llu forking=%llu\n", (int)root, (unsigned long long)stats.pages_restored,
	       (unsigned long long)stats.restore_us, (unsigned long long)stats.forking_us);
	fflush(stdout);
	if (line >= 0 && send(line, "restored", 8, 0) != 8)
		return 1;
	return j.wait ? await_end(root) : 0;
}
