/* SPDX-License-Identifier: Apache-2.0 */
/* The migrating process killed in any state: the target runs on with nothing of ours in it, or is ended, or stays frozen, as the verdict
 * says. The keeper killed: a held target stays frozen until keeper_end thaws
 * or kills it. A target that ended or replaced its program is told by name. */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/keeper/keeper.h"
#include "proto/base/io.h"
#include "tests/lib/subject.h"

enum stage { STARTED, ARMED, FROZEN, HELD, CAPTURED, STAGES };
static const char *const stage_names[] = { "started", "armed", "frozen", "held", "captured" };

struct shared {
	volatile unsigned long counter;
	enum keeper_verdict verdict;
	enum stage stage;
	pid_t target;
	struct freezer freezer;
	enum { UNSETTLED, SETTLED, SETTLED_FAILED } settled;
};
static struct shared *sh;
static char keeper_name[32]; /* and of a cgroup: nobody else's */

/* ---- the target ---- */

static void *count(void *arg)
{
	(void)arg;
	for (;;)
		sh->counter++;
	return NULL;
}

static bool moved(void *arg)
{
	return sh->counter != *(unsigned long *)arg;
}

static int busy(int line, void *arg)
{
	unsigned long before = sh->counter;
	pthread_t t;
	char c;

	(void)arg;
	pthread_create(&t, NULL, count, NULL);
	await(moved, &before, "the thread runs"); /* it has mapped what it needs */
	subject_say(line, 'r');
	if (read(line, &c, 1) == 1 && c == 'x')
		execl("/bin/sleep", "sleep", "1000", NULL);
	return 3;
}

static void await_running(void)
{
	unsigned long before = sh->counter;

	await(moved, &before, "the target runs");
}

static bool stands(void)
{
	unsigned long before = sh->counter;

	for (int i = 0; i < 20; i++)
		nap();
	return sh->counter == before;
}

/* What must be as it was. */
struct look { char *maps, *fds, *cgroup, *children; };

static char *list_fds(pid_t pid)
{
	char path[32], *text = calloc(1, 4096);
	DIR *dir;

	CHECK(text);
	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	for (struct dirent *d; dir && (d = readdir(dir));)
		strcat(strcat(text, d->d_name), " ");
	if (dir)
		closedir(dir);
	return text;
}

static struct look look_at(pid_t pid)
{
	char file[48];

	snprintf(file, sizeof(file), "task/%d/children", pid);
	return (struct look){ proc_text(pid, "maps"), list_fds(pid), proc_text(pid, "cgroup"), proc_text(pid, file) };
}

static void check_same(const struct look *a, pid_t pid, const char *when)
{
	struct look b = look_at(pid);

	CHECK(!strcmp(a->maps, b.maps), "%s: mappings before:\n%safter:\n%s", when, a->maps, b.maps);
	CHECK(!strcmp(a->fds, b.fds), "%s: descriptors before: %s after: %s", when, a->fds, b.fds);
	CHECK(!strcmp(a->cgroup, b.cgroup), "%s: cgroup before: %s after: %s", when, a->cgroup, b.cgroup);
	CHECK(!strcmp(a->children, b.children), "%s: children before: %s after: %s", when, a->children, b.children);
	CHECK(status_number(pid, "TracerPid", 10) == 0, "%s: still traced", when);
	free(b.maps), free(b.fds), free(b.cgroup), free(b.children);
}

static void look_finish(struct look *l)
{
	free(l->maps), free(l->fds), free(l->cgroup), free(l->children);
}

/* ---- the migrating process ---- */

static enum keeper_verdict decide(void *arg, bool kept)
{
	CHECK(kept == (((struct shared *)arg)->stage >= HELD));
	return ((struct shared *)arg)->verdict;
}

static void settled(void *arg, bool failed)
{
	((struct shared *)arg)->settled = failed ? SETTLED_FAILED : SETTLED;
}

static void arm(struct keeper *k)
{
	struct keeper_armed armed;
	struct err e = { 0 };

	CHECK(keeper_arm(k, true, 2, &armed, &e) == 0, "%s", e.text);
	CHECK(armed.uffd >= 0 && armed.twin_count == 2 && armed.scratch_end > armed.scratch_start, "%u twins", armed.twin_count);
	CHECK(armed.stopped_us > 0);
}

/* Our subject shares memory and a socket with us, which can't be carried: the refusal comes through by name. */
static void capture_refused(struct keeper *k)
{
	struct capture_options opt = { 0 };
	struct err e = { 0 };
	uint8_t *state;
	size_t len;

	CHECK(keeper_capture(k, &opt, &state, &len, &e) == -1 && e.kind == ERR_UNSUPPORTED && strstr(e.text, "outside of the process"), "%s", e.text);
}

static void reach(struct keeper *k, enum stage stage)
{
	struct err e = { 0 };
	uint64_t us;

	if (stage >= ARMED)
		arm(k);
	if (stage >= FROZEN) {
		CHECK(keeper_freeze(k, &us, &e) == 0, "%s", e.text);
		CHECK(keeper_thaw(k, &us, &e) == 0, "%s", e.text);
		CHECK(keeper_thaw(k, &us, &e) == -1);
		CHECK(keeper_freeze(k, &us, &e) == 0, "%s", e.text);
	}
	if (stage == CAPTURED)
		capture_refused(k);
	if (stage >= HELD)
		CHECK(keeper_hold(k, &sh->freezer, &e) == 0, "%s", e.text);
}

static int migrating(int line, void *arg)
{
	struct err e = { 0 };
	struct keeper_settler settler = { .decide = decide, .settled = settled, .arg = sh };
	struct keeper *k = keeper_start(sh->target, keeper_name, &settler, &e);

	(void)arg;
	CHECK(k, "%s", e.text);
	reach(k, sh->stage);
	subject_say(line, 's');
	pause();
	return 0;
}

static pid_t child_of(pid_t pid)
{
	char file[48], *text;
	pid_t child;

	snprintf(file, sizeof(file), "task/%d/children", pid);
	text = proc_text(pid, file);
	child = (pid_t)strtol(text, NULL, 10);
	free(text);
	CHECK(child > 0);
	return child;
}

/* Brings a new target to `stage` in a migrating process of its own and kills that; returns when its keeper has ended. */
static void kill_migrating(struct subject *target, enum stage stage, enum keeper_verdict verdict)
{
	struct subject m;
	pid_t keeper;

	sh->stage = stage;
	sh->verdict = verdict;
	sh->target = target->pid;
	sh->settled = UNSETTLED;
	m = subject_start(migrating, NULL);
	subject_expect(m.line, 's');
	keeper = child_of(m.pid);
	CHECK(stage < FROZEN || stands(), "%s: it runs", stage_names[stage]);
	subject_end(&m);
	CHECK(waitpid(keeper, NULL, 0) == keeper); /* ours: we are the subreaper */
	CHECK(sh->settled == SETTLED, "%s: %d", stage_names[stage], (int)sh->settled);
}

static void thawed_from(enum stage stage)
{
	struct subject s = subject_start(busy, NULL);
	struct look before;

	subject_expect(s.line, 'r');
	before = look_at(s.pid);
	kill_migrating(&s, stage, KEEPER_THAW);
	check_same(&before, s.pid, stage_names[stage]);
	await_running();
	look_finish(&before);
	subject_end(&s);
}

static void ended_from(enum stage stage)
{
	struct subject s = subject_start(busy, NULL);

	subject_expect(s.line, 'r');
	kill_migrating(&s, stage, KEEPER_KILL);
	await_task_state(s.pid, s.pid, "Z");
	CHECK(stage < HELD || !sh->freezer.cgroup[0] || access(sh->freezer.cgroup, F_OK) < 0);
	subject_end(&s);
}

static void frozen_from(enum stage stage)
{
	struct subject s = subject_start(busy, NULL);
	struct err e = { 0 };
	struct look before;

	subject_expect(s.line, 'r');
	before = look_at(s.pid);
	kill_migrating(&s, stage, KEEPER_STAY_FROZEN);
	CHECK(status_number(s.pid, "TracerPid", 10) == 0);
	CHECK(stands(), "%s: it runs on though it must not", stage_names[stage]);
	CHECK(freezer_thaw(&sh->freezer, &e) == 0, "%s", e.text);
	freezer_remove(&sh->freezer);
	await_running();
	check_same(&before, s.pid, "left frozen");
	look_finish(&before);
	subject_end(&s);
}

/* ---- the keeper as its user sees it ---- */

static struct keeper *start(const struct subject *s)
{
	struct err e = { 0 };
	struct keeper_settler settler = { .decide = decide, .arg = sh };
	struct keeper *k = keeper_start(s->pid, keeper_name, &settler, &e);

	CHECK(k, "%s", e.text);
	sh->target = s->pid;
	return k;
}

static void orderly_end(enum stage stage, enum keeper_verdict how)
{
	struct subject s = subject_start(busy, NULL);
	struct err e = { 0 };
	struct look before;
	struct keeper *k;

	subject_expect(s.line, 'r');
	before = look_at(s.pid);
	k = start(&s);
	reach(k, stage);
	CHECK(wait_readable(keeper_event_fd(k), 0) == 0);
	CHECK(keeper_end(k, how, &e) == 0, "%s: %s", stage_names[stage], e.text);
	if (how == KEEPER_THAW) {
		check_same(&before, s.pid, stage_names[stage]);
		await_running();
	} else {
		await_task_state(s.pid, s.pid, "Z");
	}
	look_finish(&before);
	subject_end(&s);
}

static void keeper_killed(enum stage stage, enum keeper_verdict how)
{
	struct subject s = subject_start(busy, NULL);
	struct err e = { 0 };
	struct keeper *k;
	pid_t keeper;
	uint64_t us;

	subject_expect(s.line, 'r');
	k = start(&s);
	reach(k, stage);
	keeper = (pid_t)status_number(s.pid, "TracerPid", 10);
	CHECK(keeper > 0 && kill(keeper, SIGKILL) == 0);
	CHECK(wait_readable(keeper_event_fd(k), 120000) == 1);
	CHECK(keeper_freeze(k, &us, &e) == -1 && e.kind == ERR_INTERNAL, "%s", e.text);
	CHECK(stage < HELD || stands(), "it ran on when the keeper was killed");
	err_clear(&e);
	CHECK(keeper_end(k, how, &e) == (how == KEEPER_KILL && stage < HELD ? -1 : 0), "%s: %s", stage_names[stage], e.text);
	if (how == KEEPER_KILL && stage >= HELD)
		await_task_state(s.pid, s.pid, "Z");
	else
		await_running();
	CHECK(stage < HELD || !sh->freezer.cgroup[0] || access(sh->freezer.cgroup, F_OK) < 0);
	subject_end(&s);
}

static void target_ends(bool by_exec)
{
	struct subject s = subject_start(busy, NULL);
	struct err e = { 0 };
	struct keeper *k;
	uint64_t us;

	subject_expect(s.line, 'r');
	k = start(&s);
	reach(k, ARMED);
	if (by_exec) {
		subject_say(s.line, 'x');
		await_in_syscall(s.pid, s.pid, 230); /* clock_nanosleep */
	} else {
		kill(s.pid, SIGKILL);
		CHECK(wait_readable(keeper_event_fd(k), 120000) == 1);
	}
	CHECK(keeper_freeze(k, &us, &e) == -1 && e.kind == ERR_GONE, "%s", e.text);
	CHECK(strstr(e.text, by_exec ? "execve" : "ended"), "%s", e.text);
	CHECK(keeper_end(k, KEEPER_THAW, &e) == (by_exec ? 0 : -1), "%s", e.text);
	if (by_exec)
		await_in_syscall(s.pid, s.pid, 219); /* restart_syscall: it sleeps on */
	subject_end(&s);
}

/* Killed under our hands: its parent learns of it as soon as the keeper has been told to end, and is not kept from it. */
static void killed_while_frozen(void)
{
	struct subject s = subject_start(busy, NULL);
	struct capture_options opt = { 0 };
	struct err e = { 0 };
	struct keeper *k;
	uint8_t *state;
	size_t len;
	int status;

	subject_expect(s.line, 'r');
	k = start(&s);
	reach(k, FROZEN);
	kill(s.pid, SIGKILL);
	await_task_state(s.pid, s.pid, "Z");
	CHECK(keeper_capture(k, &opt, &state, &len, &e) == -1 && e.kind == ERR_GONE, "%s", e.text);
	CHECK(keeper_end(k, KEEPER_THAW, &e) == -1 && e.kind == ERR_GONE, "%s", e.text);
	CHECK(waitpid(s.pid, &status, 0) == s.pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	s.pid = 0;
	subject_end(&s);
}

static int sleeper(int line, void *arg)
{
	int null = open("/dev/null", O_RDWR);

	(void)arg;
	(void)line;
	dup2(null, 0), dup2(null, 1), dup2(null, 2);
	close_range(3, ~0u, 0);
	execl("/bin/sleep", "sleep", "1000", NULL);
	return 1;
}

static void captures(bool armed)
{
	struct subject s = subject_start(sleeper, NULL);
	struct capture_options opt = { 0 };
	Drayage__TreeState *tree;
	struct err e = { 0 };
	struct look before;
	struct keeper *k;
	uint8_t *state;
	uint64_t us;
	size_t len;

	await_in_syscall(s.pid, s.pid, 230);
	before = look_at(s.pid);
	k = start(&s);
	if (armed)
		arm(k);
	CHECK(keeper_freeze(k, &us, &e) == 0, "%s", e.text);
	CHECK(keeper_capture(k, &opt, &state, &len, &e) == 0, "%s", e.text);
	tree = drayage__tree_state__unpack(NULL, len, state);
	CHECK(tree && tree->n_tasks == 1 && (pid_t)tree->tasks[0]->ps->pid == s.pid && tree->tasks[0]->n_threads == 1);
	drayage__tree_state__free_unpacked(tree, NULL);
	free(state);
	CHECK(keeper_end(k, KEEPER_THAW, &e) == 0, "%s", e.text);
	check_same(&before, s.pid, "captured");
	await_task_state(s.pid, s.pid, "S");
	look_finish(&before);
	subject_end(&s);
}

/* Where there is no cgroup a stop signal holds it. The keeper that sent it may be killed before it could tell; and who was stopped by its user is to stay so. */
static void held_by_signal(bool stopped, bool killed)
{
	struct subject s = subject_start(busy, NULL);
	struct err e = { 0 };
	struct keeper *k;

	subject_expect(s.line, 'r');
	if (stopped) {
		kill(s.pid, SIGSTOP);
		await_task_state(s.pid, s.pid, "T");
	}
	if (killed)
		setenv("DRAY_FAULT", "keeper.held", 1);
	k = start(&s);
	unsetenv("DRAY_FAULT");
	reach(k, FROZEN);
	CHECK(keeper_hold(k, &sh->freezer, &e) == (killed ? -1 : 0), "%s", e.text);
	CHECK(killed || sh->freezer.kind == FREEZER_SIGSTOP, "kind %d", sh->freezer.kind);
	CHECK(stands(), "it runs");
	err_clear(&e);
	CHECK(keeper_end(k, KEEPER_THAW, &e) == 0, "%s", e.text);
	if (stopped) {
		CHECK(stands(), "its user's stop was taken back");
		await_task_state(s.pid, s.pid, "T");
		kill(s.pid, SIGCONT);
	}
	await_running();
	subject_end(&s);
}

int main(void)
{
	struct err e = { 0 };

	if (geteuid() != 0) {
		puts("needs root");
		return 77;
	}
	snprintf(keeper_name, sizeof(keeper_name), "test-keeper-%d", getpid());
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(sh != MAP_FAILED);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	CHECK(!keeper_start(0x3ffffff, "test", NULL, &e) && e.kind == ERR_GONE);
	for (enum stage stage = STARTED; stage < STAGES; stage++) {
		thawed_from(stage);
		orderly_end(stage, KEEPER_THAW);
	}
	captures(true);
	captures(false);
	ended_from(ARMED);
	ended_from(HELD);
	orderly_end(FROZEN, KEEPER_KILL);
	orderly_end(HELD, KEEPER_KILL);
	frozen_from(HELD);
	keeper_killed(FROZEN, KEEPER_THAW);
	keeper_killed(FROZEN, KEEPER_KILL);
	keeper_killed(HELD, KEEPER_THAW);
	keeper_killed(HELD, KEEPER_KILL);
	killed_while_frozen();
	target_ends(false);
	target_ends(true);
	hide_cgroup2();
	for (int i = 0; i < 4; i++)
		held_by_signal(i & 1, i & 2);
	return 0;
}
