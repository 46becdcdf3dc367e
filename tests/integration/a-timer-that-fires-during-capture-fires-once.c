/* SPDX-License-Identifier: Apache-2.0 */
/* A one-shot timer (POSIX, interval) that fires after capture has read the timers and before it reads the signals is carried as its signal alone, not as a
 * signal and as time still to run. One that has not fired keeps its time. */
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "migrate/native/capture.h"
#include "tests/lib/subject.h"

enum { FIRES_MS = 1500, STAYS_S = 3600 };
struct shared { atomic_bool armed; timer_t fires, stays; };

static int arm(timer_t *t, time_t s, long ms)
{
	struct sigevent how = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec when = { .it_value = { .tv_sec = s + ms / 1000, .tv_nsec = ms % 1000 * 1000000 } };

	return timer_create(CLOCK_MONOTONIC, &how, t) < 0 || timer_settime(*t, 0, &when, NULL) < 0;
}

static int timed(int line, void *arg)
{
	const struct itimerval real = { .it_value = { FIRES_MS / 1000, FIRES_MS % 1000 * 1000 } }, far = { .it_value = { STAYS_S, 0 } };
	struct shared *s = arg;
	sigset_t all;

	(void)line;
	close_range(0, ~0u, 0);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	if (arm(&s->stays, STAYS_S, 0) || arm(&s->fires, 0, FIRES_MS) || setitimer(ITIMER_REAL, &real, NULL) || setitimer(ITIMER_PROF, &far, NULL))
		return 1;
	s->armed = true;
	pause();
	return 0;
}

static bool is_armed(void *arg)
{
	return ((struct shared *)arg)->armed;
}

static bool has_fired(void *arg)
{
	const long long both = 1 << (SIGUSR1 - 1) | 1 << (SIGALRM - 1);

	return (status_number(*(pid_t *)arg, "ShdPnd", 16) & both) == both;
}

static void check(const Drayage__TreeState *tree)
{
	const TaskCoreEntry *tc = tree->tasks[0]->threads[0]->tc;
	unsigned running = 0;

	CHECK(tc->signals_s->n_signals == 2, "%zu signals are pending", tc->signals_s->n_signals);
	CHECK(!tc->timers->real->vsec && !tc->timers->real->vusec, "the interval timer still runs");
	CHECK(tc->timers->prof->vsec, "the other one does not");
	CHECK(tc->timers->n_posix == 2);
	for (size_t i = 0; i < 2; i++)
		running += tc->timers->posix[i]->vsec || tc->timers->posix[i]->vnsec;
	CHECK(running == 1, "%u timers still run", running);
}

static int capturer(int line, void *arg)
{
	pid_t pid = *(pid_t *)arg;
	struct capture_options opt = { 0 };
	struct remote r = { 0 };
	struct err e = { 0 };
	Drayage__TreeState *tree;

	(void)line;
	setenv("DRAY_FAULT", "capture.timers:stop", 1);
	CHECK(remote_seize(&r, pid, 0, &e) == 0 && remote_scratch_create(&r, 65536, 0, &e) == 0, "%s", e.text);
	tree = capture_tree(&r, &opt, &e);
	CHECK(tree, "%s", e.text);
	check(tree);
	drayage__tree_state__free_unpacked(tree, NULL);
	CHECK(remote_scratch_destroy(&r, &e) == 0, "%s", e.text);
	remote_release(&r);
	return 0;
}

int main(void)
{
	struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct subject target, by;
	int status;

	CHECK(shared != MAP_FAILED);
	target = subject_start(timed, shared);
	await(is_armed, shared, "the timers");
	by = subject_start(capturer, &target.pid);
	await_task_state(by.pid, by.pid, "T");
	await(has_fired, &target.pid, "the timers to fire");
	CHECK(kill(by.pid, SIGCONT) == 0);
	CHECK(waitpid(by.pid, &status, 0) == by.pid && WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
	subject_end(&target);
	return 0;
}
