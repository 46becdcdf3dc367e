/* SPDX-License-Identifier: Apache-2.0 */
/* A frozen process stays so when whoever froze it, and its tracer, are killed; thawed it runs on in the cgroup that it came from and nothing
 * is left of ours; one that somebody moves out of its cgroup can be ended all the same. With cgroup v2 and, where it can't be had, with stop signals. */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/freeze/freezer.h"
#include "migrate/remote/remote.h"
#include "proto/base/io.h"
#include "tests/lib/subject.h"

struct shared {
	volatile unsigned long counter;
	struct freezer freezer;
};

static int count(int line, void *arg)
{
	struct shared *sh = arg;

	subject_say(line, 'r');
	for (;;)
		sh->counter++;
	return 0;
}

static struct shared *sh;

/* Of a cgroup that is nobody else's. */
static const char *own_name(const char *what)
{
	static char name[48];

	snprintf(name, sizeof(name), "test-%s-%d", what, getpid());
	return name;
}

/* Not moving is a thing that can only be watched for a while; a counter at full speed moves in microseconds. */
static bool stands(void)
{
	unsigned long before = sh->counter;

	for (int i = 0; i < 20; i++)
		nap();
	return sh->counter == before;
}

static bool moved(void *arg)
{
	return sh->counter != *(unsigned long *)arg;
}

static void await_running(void)
{
	unsigned long before = sh->counter;

	await(moved, &before, "the process runs");
}

/* Freezes sh's process and says so; is then killed. */
static int maker(int line, void *arg)
{
	pid_t pid = *(pid_t *)arg;
	char id[32];
	struct err e = { 0 };
	struct remote r;

	snprintf(id, sizeof(id), "test-%d", getpid());
	CHECK(remote_seize(&r, pid, 0, &e) == 0, "%s", e.text);
	CHECK(freezer_create(&sh->freezer, pid, id, &e) == 0, "%s", e.text);
	CHECK(freezer_freeze(&sh->freezer, &e) == 0, "%s", e.text);
	subject_say(line, 'f');
	pause();
	return 0;
}

static void one_round(enum freezer_kind kind)
{
	struct subject s = subject_start(count, sh), m;
	struct err e = { 0 };
	struct freezer f, wrong;
	char *home, *now;

	subject_expect(s.line, 'r');
	home = proc_text(s.pid, "cgroup");
	m = subject_start(maker, &s.pid);
	subject_expect(m.line, 'f');
	subject_end(&m);
	CHECK(sh->freezer.kind == kind, "kind %d", sh->freezer.kind);
	CHECK(status_number(s.pid, "TracerPid", 10) == 0);
	CHECK(stands(), "it ran on when its freezer was killed");

	wrong = sh->freezer;
	wrong.start_time++;
	CHECK(freezer_thaw(&wrong, &e) == -1 && e.kind == ERR_GONE, "a reused pid was taken for the process");
	CHECK(stands());
	f = sh->freezer;
	CHECK(freezer_thaw(&f, &e) == 0, "%s", e.text);
	await_running();
	freezer_remove(&f);
	now = proc_text(s.pid, "cgroup");
	CHECK(!strcmp(home, now), "in cgroup %s, was in %s", now, home);
	CHECK(!sh->freezer.cgroup[0] || access(sh->freezer.cgroup, F_OK) < 0, "%s is still there", sh->freezer.cgroup);
	await_running();

	CHECK(freezer_create(&f, s.pid, own_name("again"), &e) == 0, "%s", e.text);
	CHECK(freezer_freeze(&f, &e) == 0 && stands(), "%s", e.text);
	CHECK(freezer_kill(&f, &e) == 0, "%s", e.text);
	CHECK(freezer_kill(&f, &e) == 0, "ending what has ended: %s", e.text);
	await_task_state(s.pid, s.pid, "Z");
	snprintf(sh->freezer.cgroup, sizeof(sh->freezer.cgroup), "%s", f.cgroup);
	freezer_remove(&f);
	CHECK(!sh->freezer.cgroup[0] || access(sh->freezer.cgroup, F_OK) < 0);
	CHECK(freezer_create(&f, s.pid + 0x1000000, "test", &e) == -1 && e.kind == ERR_GONE);
	freezer_remove(&f);
	free(home);
	free(now);
	subject_end(&s);
}

static void move_to(const char *cgroup, pid_t to_move)
{
	char path[640], pid[16];
	struct err e = { 0 };

	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	snprintf(pid, sizeof(pid), "%d", to_move);
	CHECK(file_write(AT_FDCWD, path, pid, &e) == 0, "%s", e.text);
}

/* By whoever looks after cgroups: it runs again then, and has to end all the same. */
static void moved_out(bool and_removed)
{
	struct subject s = subject_start(count, sh);
	struct err e = { 0 };
	struct freezer f;

	subject_expect(s.line, 'r');
	CHECK(freezer_create(&f, s.pid, own_name("out"), &e) == 0 && freezer_freeze(&f, &e) == 0, "%s", e.text);
	move_to(f.home, s.pid);
	await_running();
	CHECK(!and_removed || rmdir(f.cgroup) == 0);
	CHECK(freezer_kill(&f, &e) == 0, "%s", e.text);
	await_task_state(s.pid, s.pid, "Z");
	freezer_remove(&f);
	subject_end(&s);
}

/* What is frozen then is empty: that is no freeze, and nobody who comes in is frozen. */
static void moved_out_before(void)
{
	struct subject s = subject_start(count, sh);
	struct err e = { 0 };
	struct freezer f;

	subject_expect(s.line, 'r');
	CHECK(freezer_create(&f, s.pid, own_name("before"), &e) == 0, "%s", e.text);
	move_to(f.home, s.pid);
	CHECK(freezer_freeze(&f, &e) == -1 && e.kind == ERR_CONFLICT, "%s", e.text);
	move_to(f.cgroup, s.pid);
	await_running();
	freezer_remove(&f);
	subject_end(&s);
}

/* The user's own stop survives freeze and thaw. */
static void stopped_before(void)
{
	struct subject s = subject_start(count, sh);
	struct err e = { 0 };
	struct freezer f;

	subject_expect(s.line, 'r');
	kill(s.pid, SIGSTOP);
	await_task_state(s.pid, s.pid, "T");
	CHECK(freezer_create(&f, s.pid, own_name("stopped"), &e) == 0 && freezer_freeze(&f, &e) == 0, "%s", e.text);
	CHECK(freezer_thaw(&f, &e) == 0, "%s", e.text);
	freezer_remove(&f);
	CHECK(stands(), "a thaw took back the user's stop");
	kill(s.pid, SIGCONT);
	await_running();
	subject_end(&s);
}

int main(void)
{
	struct err e = { 0 };
	struct freezer probe;

	if (geteuid() != 0) {
		puts("needs root");
		return 77;
	}
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(sh != MAP_FAILED);
	struct subject s = subject_start(count, sh);

	subject_expect(s.line, 'r');
	CHECK(freezer_create(&probe, s.pid, "bad/id", &e) == -1);
	CHECK(freezer_create(&probe, s.pid, own_name("probe"), &e) == 0, "%s", e.text);
	bool cgroup = probe.kind == FREEZER_CGROUP;

	freezer_remove(&probe);
	subject_end(&s);
	if (cgroup) {
		one_round(FREEZER_CGROUP);
		stopped_before();
		moved_out(false);
		moved_out(true);
		moved_out_before();
	} else {
		puts("no cgroup v2 of our own to be had: stop signals only");
	}
	hide_cgroup2();
	one_round(FREEZER_SIGSTOP);
	stopped_before();
	return 0;
}
