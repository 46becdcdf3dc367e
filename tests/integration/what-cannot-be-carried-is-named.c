/* SPDX-License-Identifier: Apache-2.0 */
/* Every kind of object that can't be carried is found while the process runs, named with its place, and with the option that would let it
 * go; a capture of the frozen process refuses it too. What can be carried is not refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/native/capture.h"
#include "tests/lib/subject.h"
#include "tests/lib/zoo.h"
#include "tests/lib/zoo_host.h"

static const char late[] = "after-freeze:";
static unsigned skipped;

static bool named(const struct obstacles *o, pid_t pid, const struct zoo_kind *k, const char *words)
{
	char task[32];

	snprintf(task, sizeof(task), "task %d", pid);
	for (size_t i = 0; i < o->count; i++) {
		if (strncmp(o->v[i].what, task, strlen(task)) == 0 && strstr(o->v[i].what, words) &&
		    strcmp(o->v[i].way_out, k->way_out ? k->way_out : "") == 0)
			return true;
	}
	for (size_t i = 0; i < o->count; i++)
		fprintf(stderr, "%s: %s [%s]\n", k->name, o->v[i].what, o->v[i].way_out);
	return false;
}

static void looks(const struct zoo_host *z, const struct capture_options *opt, struct obstacles *o)
{
	struct err e;

	CHECK(capture_check(z->pid, opt, o, &e) == 0, "%s", e.text);
}

static Drayage__TreeState *capture(const struct zoo_host *z, const struct capture_options *opt, struct err *e)
{
	struct remote r = { 0 };
	struct err second;
	Drayage__TreeState *t;

	CHECK(remote_seize(&r, z->pid, 0, e) == 0, "%s", e->text);
	CHECK(remote_scratch_create(&r, 65536, 0, e) == 0, "%s", e->text);
	t = capture_tree(&r, opt, e);
	CHECK(remote_scratch_destroy(&r, &second) == 0, "%s", second.text);
	remote_release(&r);
	return t;
}

static void refused(const struct zoo_kind *k)
{
	bool only_frozen = strncmp(k->obstacle, late, strlen(late)) == 0;
	const char *words = only_frozen ? k->obstacle + strlen(late) : k->obstacle;
	struct capture_options opt = { 0 }, lenient = { .tcp_close = true, .writes_untracked_ok = true };
	struct obstacles o = { 0 };
	struct zoo_host z;
	struct err e;

	if (!zoo_start(&z, k->name)) {
		fprintf(stderr, "%s: can't be had on this machine\n", k->name);
		skipped++;
		zoo_end(&z);
		return;
	}
	looks(&z, &opt, &o);
	if (only_frozen)
		CHECK(o.count == 0, "%s: %s", k->name, o.v[0].what);
	else
		CHECK(named(&o, z.pid, k, words), "%s", k->name);
	obstacles_finish(&o);
	if (k->way_out) {
		looks(&z, &lenient, &o);
		CHECK(o.count == 0, "%s in spite of its option: %s", k->name, o.v[0].what);
		obstacles_finish(&o);
	}
	/* Memory shared with others is looked for before the freeze only. */
	if (strcmp(k->name, "shared-memory") != 0) {
		Drayage__TreeState *t = capture(&z, &opt, &e);

		CHECK(!t && e.kind == ERR_UNSUPPORTED && strstr(e.text, words), "%s: %s", k->name, e.text);
		CHECK(!k->way_out || strstr(e.text, k->way_out), "%s: %s", k->name, e.text);
	}
	zoo_end(&z);
}

static void carried(const struct zoo_kind *k)
{
	struct capture_options opt = { 0 };
	struct obstacles o = { 0 };
	struct zoo_host z;

	CHECK(zoo_start(&z, k->name), "%s", k->name);
	looks(&z, &opt, &o);
	CHECK(o.count == 0, "%s: %s", k->name, o.v[0].what);
	zoo_end(&z);
}

static int outside_pipe(int line, void *arg)
{
	int p[2];
	char c;

	(void)arg;
	for (int fd = 0; fd < 1024; fd++) {
		if (fd != line)
			close(fd);
	}
	if (pipe(p) < 0)
		return 1;
	if (fork() == 0) {
		close(p[1]);
		while (read(p[0], &c, 1) > 0)
			;
		_exit(0);
	}
	close(p[0]);
	subject_say(line, 'r');
	pause();
	return 0;
}

/* The line to the test is a socket whose other end is outside, the pipe's reader a child. */
static void ends_outside(void)
{
	static const struct zoo_kind pipe_kind = { .name = "pipe outside" }, socket_kind = { .name = "socket outside" };
	struct capture_options opt = { 0 };
	struct obstacles o = { 0 };
	struct subject s = subject_start(outside_pipe, NULL);
	struct zoo_host z = { .pid = s.pid };

	subject_expect(s.line, 'r');
	looks(&z, &opt, &o);
	CHECK(named(&o, s.pid, &pipe_kind, "whose read end is outside of the process"));
	CHECK(named(&o, s.pid, &socket_kind, "unix socket connected to a socket outside of the process"));
	obstacles_finish(&o);
	subject_end(&s);
}

static bool has_kthreadd(void)
{
	char *comm = proc_text(2, "comm");
	bool is = strcmp(comm, "kthreadd\n") == 0;

	free(comm);
	return is;
}

static void nobody(void)
{
	struct capture_options opt = { 0 };
	struct obstacles o = { 0 };
	struct err e;

	CHECK(capture_check(0x3ffffff, &opt, &o, &e) < 0 && e.kind == ERR_GONE, "%s", e.text);
	if (!has_kthreadd()) /* a PID namespace other than the first has no kernel threads */
		return;
	CHECK(capture_check(2, &opt, &o, &e) == 0 && o.count == 1 && strstr(o.v[0].what, "kernel thread"));
	obstacles_finish(&o);
}

/* A process that ends while it is looked at, at any moment of it, is gone; nothing else is wrong with it. */
static void dying(void)
{
	struct capture_options opt = { 0 };

	for (useconds_t delay = 0; delay < 3000; delay += 50) {
		struct obstacles o = { 0 };
		struct err e;
		int rc;
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid == 0) {
			usleep(delay);
			_exit(0);
		}
		do {
			obstacles_finish(&o);
			rc = capture_check(pid, &opt, &o, &e);
		} while (rc == 0 && task_state(pid, pid) != 'Z');
		CHECK(rc == 0 || e.kind == ERR_GONE, "%s", e.text);
		obstacles_finish(&o);
		waitpid(pid, NULL, 0);
	}
}

int main(void)
{
	const struct zoo_kind *k;

	if (geteuid() != 0) {
		printf("needs root\n");
		return 77;
	}
	for (size_t i = 0; (k = zoo_at(i)); i++) {
		if (k->obstacle)
			refused(k);
		else
			carried(k);
	}
	ends_outside();
	nobody();
	dying();
	fprintf(stderr, "%u kinds can't be had on this machine\n", skipped);
	return 0;
}
