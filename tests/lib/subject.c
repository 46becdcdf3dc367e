/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/subject.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/die_with.h"
#include "proto/base/io.h"

enum { PATIENCE_MS = 120000 }; /* a loaded machine is slow; what never comes costs a failed test only time */

struct subject subject_start(int (*body)(int line, void *arg), void *arg)
{
	struct subject s;
	pid_t test = getpid();
	int pair[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	fflush(NULL);
	s.pid = fork();
	CHECK(s.pid >= 0);
	if (s.pid == 0) {
		if (!die_with(test, SIGKILL))
			_exit(1);
		close(pair[0]);
		_exit(body(pair[1], arg));
	}
	close(pair[1]);
	s.line = pair[0];
	return s;
}

void subject_end(struct subject *s)
{
	if (s->pid > 0) {
		kill(s->pid, SIGKILL);
		waitpid(s->pid, NULL, 0);
	}
	if (s->line >= 0)
		close(s->line);
	s->pid = 0;
	s->line = -1;
}

void subject_say(int line, char c)
{
	CHECK(write_full(line, &c, 1) == 0);
}

void subject_expect(int line, char c)
{
	char got = 0;

	CHECK(wait_readable(line, PATIENCE_MS) == 1, "nothing came, expected '%c'", c);
	CHECK(read_full(line, &got, 1) == 0, "the subject ended, expected '%c'", c);
	CHECK(got == c, "expected '%c', got '%c'", c, got);
}

bool subject_silent(int line)
{
	return wait_readable(line, 0) == 0;
}

void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

void await(bool (*cond)(void *arg), void *arg, const char *what)
{
	uint64_t until = clock_us() + PATIENCE_MS * 1000u;

	while (!cond(arg)) {
		CHECK(clock_us() < until, "waited in vain: %s", what);
		nap();
	}
}

char *proc_text(pid_t pid, const char *file)
{
	char path[96];
	struct err ignored = { 0 };
	char *text;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	text = file_read(AT_FDCWD, path, 16 * 1024 * 1024, NULL, &ignored);
	if (!text)
		text = strdup("");
	CHECK(text);
	return text;
}

char task_state(pid_t pid, pid_t tid)
{
	char file[48], *text, *at, c;

	snprintf(file, sizeof(file), "task/%d/stat", tid);
	text = proc_text(pid, file);
	at = strrchr(text, ')');
	c = at ? at[2] : 0;
	free(text);
	return c;
}

struct task_wait { pid_t pid, tid; const char *letters; long nr; };

static bool in_state(void *arg)
{
	struct task_wait *w = arg;
	char c = task_state(w->pid, w->tid);

	return c && strchr(w->letters, c);
}

void await_task_state(pid_t pid, pid_t tid, const char *letters)
{
	struct task_wait w = { pid, tid, letters, 0 };
	char what[96];

	snprintf(what, sizeof(what), "task %d of %d in state %s", tid, pid, letters);
	await(in_state, &w, what);
}

static bool in_syscall(void *arg)
{
	struct task_wait *w = arg;
	char file[48], *text;
	bool yes;

	snprintf(file, sizeof(file), "task/%d/syscall", w->tid);
	text = proc_text(w->pid, file);
	yes = text[0] >= '0' && text[0] <= '9' && strtol(text, NULL, 10) == w->nr;
	free(text);
	return yes && strchr("SD", task_state(w->pid, w->tid));
}

void await_in_syscall(pid_t pid, pid_t tid, long nr)
{
	struct task_wait w = { pid, tid, NULL, nr };
	char what[96];

	snprintf(what, sizeof(what), "task %d of %d in system call %ld", tid, pid, nr);
	await(in_syscall, &w, what);
}

long long status_number(pid_t pid, const char *field, int base)
{
	char *text = proc_text(pid, "status"), name[64], *at;
	long long v;

	snprintf(name, sizeof(name), "\n%s:", field);
	at = strstr(text, name);
	v = at ? (long long)strtoull(at + strlen(name), NULL, base) : -1;
	free(text);
	return v;
}

void hide_cgroup2(void)
{
	char dir[512], line[1024];
	FILE *mounts;

	CHECK(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	mounts = fopen("/proc/self/mountinfo", "r");
	CHECK(mounts);
	while (fgets(line, sizeof(line), mounts))
		if (strstr(line, " - cgroup2 ") && sscanf(line, "%*s %*s %*s %*s %511s", dir) == 1)
			CHECK(umount2(dir, MNT_DETACH) == 0);
	fclose(mounts);
}
