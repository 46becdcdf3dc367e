/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that sleep in system calls don't notice a stop and calls run in their name: no EINTR, no early return, no lost wakeup. A real signal still
 * interrupts what it should, arrives once, and a user's stop stays a stop. */
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "migrate/remote/remote.h"
#include "tests/lib/subject.h"

enum { SLEEPERS = 7 };
static int pipes[SLEEPERS][2];
static uint32_t word;
static pid_t *tids;

/* Each sleeps until the subject is told to wake it, and returns 0 if it was woken by that and by nothing else. */
static long sleep_in(int which)
{
	int fd = pipes[which][0];
	struct epoll_event ev = { .events = EPOLLIN };
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct timespec minutes = { .tv_sec = 600 };
	sigset_t none;
	int ep;
	char c;

	switch (which) {
	case 0:
		return read(fd, &c, 1) != 1;
	case 1:
		ep = epoll_create1(0);
		epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
		return epoll_wait(ep, &ev, 1, -1) != 1;
	case 2:
		ep = epoll_create1(0);
		epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
		sigemptyset(&none);
		return epoll_pwait(ep, &ev, 1, 600000, &none) != 1;
	case 3:
		return poll(&p, 1, 600000) != 1;
	case 4:
		return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0) != 0;
	case 5:
		return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &minutes, NULL, 0) != 0;
	default:
		return ppoll(&p, 1, &minutes, NULL) != 1;
	}
}
static const long sleeps_in[SLEEPERS] = { SYS_read, SYS_epoll_wait, SYS_epoll_pwait, SYS_poll, SYS_futex, SYS_futex, SYS_ppoll };

static void *sleeper(void *arg)
{
	int which = (int)(intptr_t)arg;
	long rc;

	tids[which] = gettid();
	rc = sleep_in(which);
	return (void *)(intptr_t)(rc ? (errno ? errno : 1) : 0);
}

static int all_sleepers(int line, void *arg)
{
	static pid_t t[SLEEPERS];
	pthread_t thread[SLEEPERS];
	int bad = 0;

	(void)arg;
	tids = t;
	for (int i = 0; i < SLEEPERS; i++) {
		CHECK(pipe(pipes[i]) == 0);
		pthread_create(&thread[i], NULL, sleeper, (void *)(intptr_t)i);
		while (!((volatile pid_t *)t)[i])
			nap();
	}
	CHECK(write(line, t, sizeof(t)) == sizeof(t));
	subject_expect(line, 'w');
	word = 1;
	syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, SLEEPERS, NULL, NULL, 0);
	for (int i = 0; i < SLEEPERS; i++) {
		void *rc;

		CHECK(write(pipes[i][1], "x", 1) == 1);
		pthread_join(thread[i], &rc);
		if (rc) {
			fprintf(stderr, "sleeper %d: %s\n", i, strerror((int)(intptr_t)rc));
			bad = 1;
		}
	}
	return bad;
}

/* A stop, with calls run in every thread. */
static void disturb(pid_t pid)
{
	struct remote_call calls[] = { REMOTE_CALL(SYS_getpid), REMOTE_CALL(SYS_gettid) };
	struct err e = { 0 };
	struct remote r;

	CHECK(remote_seize(&r, pid, 0, &e) == 0, "%s", e.text);
	CHECK(remote_scratch_create(&r, 100, 0, &e) == 0, "%s", e.text);
	for (size_t t = 0; t < r.threads; t++)
		CHECK(remote_run(&r, t, calls, 2, "ask", &e) == 0 && calls[1].ret == r.thread[t].tid, "%s", e.text);
	CHECK(remote_scratch_destroy(&r, &e) == 0, "%s", e.text);
	remote_release(&r);
}

static void sleeping_calls(void)
{
	struct subject s = subject_start(all_sleepers, NULL);
	pid_t t[SLEEPERS];
	int status;

	CHECK(read(s.line, t, sizeof(t)) == sizeof(t));
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < SLEEPERS; i++)
			round == 0 ? await_in_syscall(s.pid, t[i], sleeps_in[i]) : await_task_state(s.pid, t[i], "S");
		disturb(s.pid);
	}
	for (int i = 0; i < SLEEPERS; i++)
		await_task_state(s.pid, t[i], "S");
	subject_say(s.line, 'w');
	CHECK(waitpid(s.pid, &status, 0) == s.pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", (unsigned)status);
	s.pid = 0;
	subject_end(&s);
}

/* ---- signals ---- */

static volatile sig_atomic_t caught, caught_value;

static void on_signal(int sig, siginfo_t *info, void *ctx)
{
	(void)sig;
	(void)ctx;
	caught++;
	caught_value = info->si_value.sival_int;
}

static int waits_for_signal(int line, void *arg)
{
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	struct epoll_event ev;
	int rc;

	(void)arg;
	sigaction(SIGUSR1, &sa, NULL);
	subject_say(line, 'r');
	rc = epoll_wait(epoll_create1(0), &ev, 1, -1);
	return rc == -1 && errno == EINTR && caught == 1 && caught_value == 99 ? 0 : 1;
}

/* Sent while the target is held: its handler runs once, afterwards, and the call it slept in says EINTR as ever. */
static void signal_while_held(bool run_calls)
{
	struct subject s = subject_start(waits_for_signal, NULL);
	struct remote_call call = REMOTE_CALL(SYS_getpid);
	struct err e = { 0 };
	struct remote r;
	int status;

	subject_expect(s.line, 'r');
	await_in_syscall(s.pid, s.pid, SYS_epoll_wait);
	disturb(s.pid);
	await_task_state(s.pid, s.pid, "S");
	CHECK(remote_seize(&r, s.pid, 0, &e) == 0, "%s", e.text);
	CHECK(sigqueue(s.pid, SIGUSR1, (union sigval){ .sival_int = 99 }) == 0);
	if (run_calls) {
		CHECK(remote_scratch_create(&r, 100, 0, &e) == 0, "%s", e.text);
		CHECK(remote_run(&r, 0, &call, 1, "ask", &e) == 0, "%s", e.text);
		CHECK(remote_scratch_destroy(&r, &e) == 0, "%s", e.text);
	}
	remote_release(&r);
	CHECK(waitpid(s.pid, &status, 0) == s.pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", (unsigned)status);
	s.pid = 0;
	subject_end(&s);
}

static int counts_signals(int line, void *arg)
{
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART };
	char c;

	(void)arg;
	sigaction(SIGRTMIN, &sa, NULL);
	subject_say(line, 'r');
	subject_expect(line, 'd');
	c = caught == 200 ? 'y' : 'n';
	subject_say(line, c);
	return 0;
}

/* Queued signals, sent all the time around stops: none is lost, none comes twice. */
static void signals_all_along(void)
{
	struct subject s = subject_start(counts_signals, NULL);

	subject_expect(s.line, 'r');
	for (int i = 0; i < 200; i++) {
		CHECK(sigqueue(s.pid, SIGRTMIN, (union sigval){ .sival_int = i }) == 0);
		if (i % 4 == 0)
			disturb(s.pid);
	}
	subject_say(s.line, 'd');
	subject_expect(s.line, 'y');
	subject_end(&s);
}

static int idles(int line, void *arg)
{
	(void)arg;
	subject_say(line, 'r');
	subject_expect(line, 'g');
	subject_say(line, 'd');
	return 0;
}

static void user_stop(bool sent_while_held)
{
	struct subject s = subject_start(idles, NULL);
	struct err e = { 0 };
	struct remote r;
	struct remote_call call = REMOTE_CALL(SYS_getpid);

	subject_expect(s.line, 'r');
	if (!sent_while_held) {
		kill(s.pid, SIGSTOP);
		await_task_state(s.pid, s.pid, "T");
	}
	CHECK(remote_seize(&r, s.pid, 0, &e) == 0, "%s", e.text);
	CHECK(r.thread[0].group_stop == !sent_while_held);
	if (sent_while_held)
		kill(s.pid, SIGSTOP);
	CHECK(remote_scratch_create(&r, 100, 0, &e) == 0, "%s", e.text);
	CHECK(remote_run(&r, 0, &call, 1, "ask", &e) == 0 && call.ret == s.pid, "%s", e.text);
	CHECK(remote_scratch_destroy(&r, &e) == 0, "%s", e.text);
	remote_release(&r);
	await_task_state(s.pid, s.pid, "T");
	subject_say(s.line, 'g');
	CHECK(subject_silent(s.line));
	kill(s.pid, SIGCONT);
	subject_expect(s.line, 'd');
	subject_end(&s);
}

int main(void)
{
	sleeping_calls();
	signal_while_held(false);
	signal_while_held(true);
	signals_all_along();
	user_stop(false);
	user_stop(true);
	return 0;
}
