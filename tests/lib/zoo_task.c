/* SPDX-License-Identifier: Apache-2.0 */
/* What belongs to the process and its threads. */
#include "tests/lib/zoo.h"

#include <errno.h>
#include <grp.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* ---- signals: handlers, mask, alternate stack, queued with values ---- */
static char *alternate;
static atomic_int handled_on_alternate;
static volatile int got_value, got_count;

static void on_alternate(int sig)
{
	char here;

	(void)sig;
	handled_on_alternate = &here >= alternate && &here < alternate + 65536;
}
static void on_queued(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)context;
	got_value = got_value * 10 + info->si_value.sival_int;
	got_count++;
}
static void signals_make(void)
{
	struct sigaction a = { .sa_handler = on_alternate, .sa_flags = SA_ONSTACK | SA_NODEFER }, q = { .sa_sigaction = on_queued, .sa_flags = SA_SIGINFO };
	stack_t stack = { .ss_size = 65536 };
	sigset_t block;

	stack.ss_sp = alternate = malloc(65536);
	sigemptyset(&block);
	sigaddset(&block, SIGRTMIN + 1);
	sigaddset(&block, SIGTERM);
	sigaddset(&a.sa_mask, SIGHUP);
	zoo_need(alternate && sigaltstack(&stack, NULL) == 0 && sigaction(SIGUSR1, &a, NULL) == 0 && sigaction(SIGRTMIN + 1, &q, NULL) == 0 &&
			 signal(SIGPIPE, SIG_IGN) != SIG_ERR && sigprocmask(SIG_BLOCK, &block, NULL) == 0, "signals");
	for (int i = 1; i <= 3; i++)
		zoo_need(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = i }) == 0, "sigqueue");
	zoo_need(syscall(SYS_tgkill, getpid(), getpid(), SIGTERM) == 0, "tgkill");
}
static bool signals_check(void)
{
	struct sigaction a;
	sigset_t pending, mask, block;
	static bool done;

	ZOO_SAME(sigaction(SIGUSR1, NULL, &a), 0);
	ZOO_SAME(a.sa_handler == on_alternate, 1);
	ZOO_SAME(a.sa_flags & (SA_ONSTACK | SA_NODEFER), SA_ONSTACK | SA_NODEFER);
	ZOO_SAME(sigismember(&a.sa_mask, SIGHUP), 1);
	ZOO_SAME(sigaction(SIGPIPE, NULL, &a), 0);
	ZOO_SAME(a.sa_handler == SIG_IGN, 1);
	ZOO_SAME(sigprocmask(SIG_BLOCK, NULL, &mask), 0);
	ZOO_SAME(sigismember(&mask, SIGRTMIN + 1) && sigismember(&mask, SIGTERM) && !sigismember(&mask, SIGHUP), 1);
	ZOO_SAME(sigpending(&pending), 0);
	ZOO_SAME(sigismember(&pending, SIGTERM), 1);
	raise(SIGUSR1);
	ZOO_SAME(handled_on_alternate, 1);
	if (done)
		return true;
	done = true;
	sigemptyset(&block);
	sigaddset(&block, SIGRTMIN + 1);
	sigprocmask(SIG_UNBLOCK, &block, NULL);
	sigprocmask(SIG_BLOCK, &block, NULL);
	ZOO_SAME(got_count, 3);
	ZOO_SAME(got_value, 123);
	return true;
}

/* ---- timers ---- */
static timer_t far_timer, own_timer;
static void timers_make(void)
{
	struct itimerval real = { .it_interval = { 7, 8 }, .it_value = { 6000, 0 } };
	struct sigevent none = { .sigev_notify = SIGEV_NONE }, to_thread = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 2 };
	struct itimerspec far = { .it_value = { 7000, 0 } }, again = { .it_interval = { 9, 10 }, .it_value = { 8000, 0 } };

	to_thread._sigev_un._tid = getpid();
	to_thread.sigev_value.sival_ptr = (void *)0x123456789a;
	zoo_need(setitimer(ITIMER_REAL, &real, NULL) == 0 && timer_create(CLOCK_MONOTONIC, &none, &far_timer) == 0 &&
			 timer_create(CLOCK_REALTIME, &to_thread, &own_timer) == 0 && timer_settime(far_timer, 0, &far, NULL) == 0 &&
			 timer_settime(own_timer, 0, &again, NULL) == 0, "timers");
}
static bool timers_check(void)
{
	struct itimerval real;
	struct itimerspec t;

	ZOO_SAME(getitimer(ITIMER_REAL, &real), 0);
	ZOO_SAME(real.it_interval.tv_sec, 7);
	ZOO_SAME(real.it_interval.tv_usec, 8);
	ZOO_SAME(real.it_value.tv_sec > 5000 && real.it_value.tv_sec <= 6000, 1);
	ZOO_SAME(timer_gettime(far_timer, &t), 0);
	ZOO_SAME(t.it_value.tv_sec > 6000 && t.it_value.tv_sec <= 7000, 1);
	ZOO_SAME(timer_gettime(own_timer, &t), 0);
	ZOO_SAME(t.it_interval.tv_sec, 9);
	ZOO_SAME(t.it_interval.tv_nsec, 10);
	ZOO_SAME(t.it_value.tv_sec > 7000 && t.it_value.tv_sec <= 8000, 1);
	return true;
}

/* ---- attributes ---- */

static void attributes_make(void)
{
	struct rlimit files = { 333, 444 }, core = { 4096, 8192 };
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	umask(0137);
	zoo_need(setrlimit(RLIMIT_NOFILE, &files) == 0 && setrlimit(RLIMIT_CORE, &core) == 0 && setpriority(PRIO_PROCESS, 0, 5) == 0 &&
			 sched_setaffinity(0, sizeof(one), &one) == 0 && prctl(PR_SET_TIMERSLACK, 123456) == 0 &&
			 prctl(PR_SET_PDEATHSIG, SIGWINCH) == 0 && prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 && prctl(PR_SET_DUMPABLE, 0) == 0 &&
			 syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 6) == 0 && mkdir(zoo_path("cwd"), 0755) == 0 && chdir(zoo_path("cwd")) == 0 &&
			 prctl(PR_SET_NAME, "a (name) ") == 0, "attributes");
}
static bool attributes_check(void)
{
	struct rlimit l;
	cpu_set_t set;
	int v = 0;
	char text[600];
	mode_t mask = umask(0137);

	ZOO_SAME(mask, 0137);
	ZOO_SAME(getrlimit(RLIMIT_NOFILE, &l), 0);
	ZOO_SAME(l.rlim_cur, 333);
	ZOO_SAME(l.rlim_max, 444);
	ZOO_SAME(getrlimit(RLIMIT_CORE, &l), 0);
	ZOO_SAME(l.rlim_cur, 4096);
	ZOO_SAME(getpriority(PRIO_PROCESS, 0), 5);
	ZOO_SAME(sched_getaffinity(0, sizeof(set), &set), 0);
	ZOO_SAME(CPU_COUNT(&set), 1);
	ZOO_SAME(prctl(PR_GET_TIMERSLACK), 123456);
	ZOO_SAME(prctl(PR_GET_PDEATHSIG, &v), 0);
	if (v) /* the parent that it was to tell of may have stayed behind */
		ZOO_SAME(v, SIGWINCH);
	ZOO_SAME(prctl(PR_GET_CHILD_SUBREAPER, &v), 0);
	ZOO_SAME(v, 1);
	ZOO_SAME(prctl(PR_GET_DUMPABLE), 0);
	ZOO_SAME(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1);
	ZOO_SAME(syscall(SYS_ioprio_get, 1, 0), 2 << 13 | 6);
	ZOO_SAME(getcwd(text, sizeof(text)) && strcmp(text, zoo_path("cwd")) == 0, 1);
	ZOO_SAME(prctl(PR_GET_NAME, text), 0);
	ZOO_SAME(strcmp(text, "a (name) "), 0);
	return true;
}

/* ---- threads: own names, masks, thread-local storage, vector registers that never leave the processor ---- */
enum { THREADS = 3 };
static pthread_t thread[THREADS];
static atomic_int started, looks[THREADS], failures;
static _Thread_local uint64_t local_value;

/* A sum kept in vector registers and the x87 stack across many loops. */
static bool vector_loop(uint64_t seed)
{
	uint64_t in[2] = { seed, ~seed }, out[2] = { 0 };
	double f = 0, keep = (double)seed * 1.5;

	__asm__ volatile("movdqu %2, %%xmm13\n\tfldl %3\n\t"
			 "movq $2000000, %%rcx\n1:\tpause\n\tdec %%rcx\n\tjnz 1b\n\t"
			 "movdqu %%xmm13, %0\n\tfstpl %1"
			 : "=m"(out), "=m"(f) : "m"(in), "m"(keep) : "rcx", "xmm13", "memory", "cc");
	return memcmp(in, out, sizeof(in)) == 0 && memcmp(&f, &keep, sizeof(f)) == 0;
}
static void *thread_main(void *arg)
{
	size_t n = (size_t)arg;
	char name[16];
	sigset_t set;

	snprintf(name, sizeof(name), "zoo-thread-%zu", n);
	pthread_setname_np(pthread_self(), name);
	sigfillset(&set);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	local_value = 1000 + n;
	started++;
	for (;;) {
		char now[16] = "";
		sigset_t mask;
		bool right;

		if (n == 0)
			right = vector_loop(0x0123456789abcdef + n);
		else {
			struct timespec t = { .tv_nsec = 1000 * 1000 };

			right = nanosleep(&t, NULL) == 0;
		}
		right = right && pthread_getname_np(pthread_self(), now, sizeof(now)) == 0 && strcmp(now, name) == 0 && local_value == 1000 + n &&
			pthread_sigmask(SIG_BLOCK, NULL, &mask) == 0 && sigismember(&mask, SIGINT) == 1;
		if (!right)
			failures++;
		looks[n]++;
	}
	return NULL;
}
static void threads_make(void)
{
	for (size_t i = 0; i < THREADS; i++)
		zoo_need((errno = pthread_create(&thread[i], NULL, thread_main, (void *)i)) == 0, "thread");
	while (started < THREADS)
		sched_yield();
}
/* Each thread must have looked once more, from its start to its end. */
static bool threads_check(void)
{
	int before[THREADS];

	for (int i = 0; i < THREADS; i++)
		before[i] = looks[i];
	for (int i = 0; i < THREADS; i++) {
		for (int tries = 0; looks[i] < before[i] + 2; tries++) {
			struct timespec t = { .tv_nsec = 1000 * 1000 };

			if (tries == 20000)
				return zoo_wrong("thread %d stands still", i);
			nanosleep(&t, NULL);
		}
	}
	ZOO_SAME(failures, 0);
	return true;
}

/* ---- a robust mutex: its list head is registered with the kernel, from the C library on start ---- */
static bool robust_check(void)
{
	void *head = NULL;
	size_t len = 0;
	int *tid_address = NULL;

	ZOO_SAME(syscall(SYS_get_robust_list, 0, &head, &len), 0);
	ZOO_SAME(head != NULL && len == 24, 1);
	ZOO_SAME(prctl(PR_GET_TID_ADDRESS, &tid_address), 0);
	ZOO_SAME(tid_address != NULL, 1);
	return true;
}
static void robust_make(void) { zoo_need(robust_check(), "robust list"); }

/* ---- credentials: another user with one capability kept; last, for it may do little after ---- */
static void credentials_make(void)
{
	gid_t groups[] = { 7, 1234, 4321 };
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2] = { { .effective = 1u << CAP_NET_BIND_SERVICE, .permitted = 1u << CAP_NET_BIND_SERVICE | 1u << CAP_DAC_OVERRIDE,
						 .inheritable = 1u << CAP_NET_BIND_SERVICE } };

	zoo_need(setgroups(3, groups) == 0 && prctl(PR_CAPBSET_DROP, CAP_SYS_BOOT) == 0 && prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS | SECBIT_NOROOT) == 0 &&
			 setresgid(1001, 1002, 1003) == 0 && setresuid(2001, 2002, 2003) == 0, "credentials");
	zoo_need(syscall(SYS_capset, &h, d) == 0 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0) == 0 &&
			 prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "capabilities");
}
static bool credentials_check(void)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2];
	uid_t r, e, s;
	gid_t groups[8];

	ZOO_SAME(getresuid(&r, &e, &s), 0);
	ZOO_SAME(r == 2001 && e == 2002 && s == 2003, 1);
	ZOO_SAME(getresgid(&r, &e, &s), 0);
	ZOO_SAME(r == 1001 && e == 1002 && s == 1003, 1);
	ZOO_SAME(getgroups(8, groups), 3);
	ZOO_SAME(groups[0] == 7 && groups[1] == 1234 && groups[2] == 4321, 1);
	ZOO_SAME(syscall(SYS_capget, &h, d), 0);
	ZOO_SAME(d[0].effective, 1u << CAP_NET_BIND_SERVICE);
	ZOO_SAME(d[0].permitted, 1u << CAP_NET_BIND_SERVICE | 1u << CAP_DAC_OVERRIDE);
	ZOO_SAME(d[0].inheritable, 1u << CAP_NET_BIND_SERVICE);
	ZOO_SAME(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_BIND_SERVICE, 0, 0), 1);
	ZOO_SAME(prctl(PR_CAPBSET_READ, CAP_SYS_BOOT), 0);
	ZOO_SAME(prctl(PR_CAPBSET_READ, CAP_CHOWN), 1);
	ZOO_SAME(prctl(PR_GET_SECUREBITS), SECBIT_KEEP_CAPS | SECBIT_NOROOT);
	ZOO_SAME(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	return true;
}

const struct zoo_kind zoo_task_kinds[] = {
	{ "signals", NULL, NULL, signals_make, signals_check },
	{ "timers", NULL, NULL, timers_make, timers_check },
	{ "attributes", NULL, NULL, attributes_make, attributes_check },
	{ "threads", NULL, NULL, threads_make, threads_check },
	{ "robust", NULL, NULL, robust_make, robust_check },
	{ "credentials", NULL, NULL, credentials_make, credentials_check },
	{ 0 },
};
