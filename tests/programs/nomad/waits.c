/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "tests/programs/nomad/nomad.h"

/* ---- waits for each other: futexes, mutexes of each kind, eventfds ---- */

static uint32_t turn;
static void *ping_pong(void *arg)
{
	uint32_t me = (uint32_t)(intptr_t)arg;
	uint64_t r = seed + 500 + me;
	struct timespec hour = { .tv_sec = 3600 };

	for (uint32_t n = me;; n += 2) {
		uint32_t v;

		while ((v = __atomic_load_n(&turn, __ATOMIC_ACQUIRE)) != n) {
			long rc = syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, v, below(&r, 2) ? &hour : NULL, NULL, 0);

			NEED(rc == 0 || errno == EAGAIN || errno == EINTR);
		}
		dawdle(&r, 2000);
		__atomic_store_n(&turn, n + 1, __ATOMIC_RELEASE);
		syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	}
	return NULL;
}

static pthread_mutex_t shared_lock[3];
static uint64_t guarded[3][2];
static void *contends(void *arg)
{
	uint64_t r = seed + 600 + (uint64_t)(intptr_t)arg;

	for (;;) {
		unsigned i = below(&r, 3);

		if (!NEED(pthread_mutex_lock(&shared_lock[i]) == 0))
			return NULL;
		NEED(guarded[i][0] == guarded[i][1]);
		guarded[i][0]++;
		dawdle(&r, 1500);
		guarded[i][1]++;
		NEED(pthread_mutex_unlock(&shared_lock[i]) == 0);
	}
	return NULL;
}

static int counter_fd;
static atomic_ullong counted;
static void *counts_up(void *arg)
{
	uint64_t r = seed + 700, sum = 0;

	(void)arg;
	for (;;) {
		uint64_t n = 1 + below(&r, 100);

		NEED(write(counter_fd, &n, 8) == 8);
		sum += n;
		if (below(&r, 50) == 0)
			for (uint64_t until = now_ns() + 100000000000ull; counted != sum;) {
				nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
				if (now_ns() > until) {
					fail("eventfd: %llu of %llu came", (unsigned long long)counted, (unsigned long long)sum);
					return NULL;
				}
			}
		dawdle(&r, 4000);
	}
	return NULL;
}
static void *counts_down(void *arg)
{
	uint64_t r = seed + 701, n;

	(void)arg;
	for (;;) {
		ssize_t rc = read(counter_fd, &n, 8);

		if (NEED(rc == 8 || (rc < 0 && errno == EINTR)) && rc == 8)
			counted += n;
		dawdle(&r, 4000);
	}
	return NULL;
}

/* ---- time: nothing early, nothing twice, and it goes on ---- */

static void *sleeps(void *arg)
{
	uint64_t r = seed + 800, last = now_ns();

	(void)arg;
	for (;;) {
		long ns = (long)below(&r, 20000000);
		uint64_t began = now_ns(), ended;
		struct timespec abs = { .tv_sec = (time_t)((began + (uint64_t)ns) / 1000000000), .tv_nsec = (long)((began + (uint64_t)ns) % 1000000000) };
		struct pollfd none = { .fd = -1 };
		int rc = 0, how = (int)below(&r, 3);

		NEED(began >= last);
		if (how == 0)
			rc = nanosleep(&(struct timespec){ .tv_nsec = ns }, NULL);
		else if (how == 1)
			rc = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &abs, NULL);
		else
			rc = poll(&none, 1, (int)(ns / 1000000));
		ended = now_ns();
		if (how == 2)
			ns = ns / 1000000 * 1000000;
		if (rc != 0)
			fail("sleep %d of %ld ns ended with %d", how, ns, rc);
		if (ended - began < (uint64_t)ns)
			fail("sleep %d of %ld ns took %llu", how, ns, (unsigned long long)(ended - began));
		last = ended;
	}
	return NULL;
}

static void *timerfds(void *arg)
{
	uint64_t r = seed + 900;

	(void)arg;
	for (;;) {
		uint64_t every = 500000 + below(&r, 20000000), began, sum = 0, n, want = 1 + below(&r, 100);
		struct itimerspec its = { .it_interval.tv_nsec = (long)every, .it_value.tv_nsec = (long)every };
		int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

		began = now_ns();
		NEED(fd >= 0 && timerfd_settime(fd, 0, &its, NULL) == 0);
		while (sum < want) {
			ssize_t rc = read(fd, &n, 8);

			if (rc < 0 && errno == EINTR)
				continue;
			if (!NEED(rc == 8))
				return NULL;
			sum += n;
			if (sum * every > now_ns() - began)
				fail("timerfd: %llu times %llu ns in %llu ns", (unsigned long long)sum, (unsigned long long)every, (unsigned long long)(now_ns() - began));
			dawdle(&r, 30000);
		}
		close(fd);
	}
	return NULL;
}

static void *timers(void *arg)
{
	uint64_t r = seed + 1000;
	sigset_t set;

	(void)arg;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	for (;;) {
		uint64_t every = 1000000 + below(&r, 20000000), began, sum = 0, want = 1 + below(&r, 60);
		struct itimerspec its = { .it_interval.tv_nsec = (long)every, .it_value.tv_nsec = (long)every };
		struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 1, .sigev_value.sival_int = (int)below(&r, 1u << 30) };
		struct timespec patience = { .tv_sec = 100 };
		timer_t t;

		ev._sigev_un._tid = (pid_t)syscall(SYS_gettid);
		began = now_ns();
		if (!NEED(timer_create(CLOCK_MONOTONIC, &ev, &t) == 0) || !NEED(timer_settime(t, 0, &its, NULL) == 0))
			return NULL;
		while (sum < want) {
			siginfo_t info;

			if (sigtimedwait(&set, &info, &patience) < 0) {
				if (errno == EINTR)
					continue;
				fail("timer of %llu ns: nothing comes any more after %llu", (unsigned long long)every, (unsigned long long)sum);
				break;
			}
			if (info.si_value.sival_int != ev.sigev_value.sival_int)
				fail("timer: value %x and not %x", (unsigned)info.si_value.sival_int, (unsigned)ev.sigev_value.sival_int);
			sum += 1 + (uint64_t)info.si_overrun;
			if (sum * every > now_ns() - began)
				fail("timer: %llu times %llu ns in %llu ns", (unsigned long long)sum, (unsigned long long)every, (unsigned long long)(now_ns() - began));
			dawdle(&r, 30000);
		}
		timer_delete(t);
		/* One that was under way is nobody's now. */
		while (sigtimedwait(&set, NULL, &(struct timespec){ 0 }) > 0)
			;
	}
	return NULL;
}

/* ---- signals: queued ones come each, in order, with their values ---- */

static pthread_t receiver;
static atomic_uint received;
static void *takes_signals(void *arg)
{
	uint64_t r = seed + 1100;
	sigset_t set;
	unsigned want = 0;

	(void)arg;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 3);
	for (;;) {
		siginfo_t info;

		dawdle(&r, 3000);
		if (sigwaitinfo(&set, &info) < 0) {
			NEED(errno == EINTR);
			continue;
		}
		if ((unsigned)info.si_value.sival_int != want)
			fail("signal %x came and not %x", (unsigned)info.si_value.sival_int, want);
		NEED(info.si_code == SI_QUEUE && info.si_pid == getpid());
		want = (unsigned)info.si_value.sival_int + 1;
		received = want;
	}
	return NULL;
}

static atomic_uint handled;
static atomic_bool off_stack;
static unsigned char alternate[64 * 1024];
static void on_signal(int sig, siginfo_t *info, void *ctx)
{
	char here;

	(void)sig, (void)info, (void)ctx;
	if ((unsigned char *)&here < alternate || (unsigned char *)&here >= alternate + sizeof(alternate))
		off_stack = true;
	handled++;
}

static bool comes_to(atomic_uint *what, unsigned to)
{
	for (uint64_t until = now_ns() + 100000000000ull; *what != to;) {
		if (now_ns() > until)
			return false;
		nanosleep(&(struct timespec){ .tv_nsec = 300000 }, NULL);
	}
	return true;
}

static void *sends_signals(void *arg)
{
	uint64_t r = seed + 1101;
	unsigned sent = 0, to_main = 0;

	(void)arg;
	for (;;) {
		for (unsigned n = below(&r, 30); n > 0; n--) {
			NEED(pthread_sigqueue(receiver, SIGRTMIN + 3, (union sigval){ .sival_int = (int)sent++ }) == 0);
			dawdle(&r, 1000);
		}
		for (unsigned n = below(&r, 10); n > 0; n--, to_main++)
			NEED(sigqueue(getpid(), SIGRTMIN + 5, (union sigval){ .sival_int = 1 }) == 0);
		if (!comes_to(&received, sent) || !comes_to(&handled, to_main)) {
			fail("signals: %u of %u received, %u of %u handled", received, sent, handled, to_main);
			return NULL;
		}
		NEED(!off_stack);
	}
	return NULL;
}

/* ---- registers ---- */

static void *registers(void *arg)
{
	uint64_t r = seed + 1200;

	(void)arg;
	for (;;) {
		uint64_t a = next_random(&r), sum = 0, n = 1 + below(&r, 3000000);

		__asm__ volatile("movq %[a], %%xmm0\n pshufd $0x44, %%xmm0, %%xmm0\n movdqa %%xmm0, %%xmm1\n movdqa %%xmm0, %%xmm7\n movdqa %%xmm0, %%xmm15\n"
				 "movq %[a], %%r12\n movq %[a], %%r13\n movq %[a], %%r14\n movq %[a], %%r15\n fldpi\n stc\n"
				 "1: decq %[n]\n jnz 1b\n"
				 "sbbq %[sum], %[sum]\n"
				 "pxor %%xmm1, %%xmm7\n pxor %%xmm0, %%xmm15\n por %%xmm7, %%xmm15\n movq %%xmm15, %%r10\n orq %%r10, %[sum]\n psrldq $8, %%xmm15\n movq %%xmm15, %%r10\n orq %%r10, %[sum]\n"
				 "xorq %%r12, %%r13\n xorq %%r14, %%r15\n orq %%r13, %[sum]\n orq %%r15, %[sum]\n xorq %%r12, %%r14\n orq %%r14, %[sum]\n xorq %[a], %%r12\n orq %%r12, %[sum]\n"
				 "fldpi\n fucomip %%st(1), %%st\n je 2f\n xorq %[sum], %[sum]\n 2: fstp %%st(0)\n"
				 : [sum] "+&r"(sum), [n] "+&r"(n) : [a] "r"(a)
				 : "r10", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm7", "xmm15", "cc", "memory");
		if (sum != UINT64_MAX)
			fail("registers: %llx", (unsigned long long)sum);
		dawdle(&r, 2000);
	}
	return NULL;
}

/* ---- threads that come and go ---- */

struct guest { uint64_t r; uint64_t value; };
static _Thread_local uint64_t own;
static void *guest(void *arg)
{
	struct guest *g = arg;
	struct sched_param none = { 0 };
	char name[16];

	own = g->value;
	snprintf(name, sizeof(name), "g%x", (unsigned)g->value & 0xffffff);
	prctl(PR_SET_NAME, name);
	if (below(&g->r, 3) == 0)
		pthread_setschedparam(pthread_self(), SCHED_BATCH, &none);
	for (unsigned i = below(&g->r, 10); i > 0; i--) {
		char got[16] = "";

		dawdle(&g->r, 4000);
		prctl(PR_GET_NAME, got);
		NEED(own == g->value && strcmp(got, name) == 0);
	}
	return (void *)(uintptr_t)g->value;
}

static void *hosts_guests(void *arg)
{
	uint64_t r = seed + 1300;

	(void)arg;
	for (;;) {
		struct guest g[4];
		pthread_t t[4];
		unsigned n = 1 + below(&r, 4);

		for (unsigned i = 0; i < n; i++) {
			g[i] = (struct guest){ next_random(&r), next_random(&r) >> 1 };
			if (!NEED(pthread_create(&t[i], NULL, guest, &g[i]) == 0))
				return NULL;
		}
		for (unsigned i = 0; i < n; i++) {
			void *got = NULL;

			NEED(pthread_join(t[i], &got) == 0 && (uintptr_t)got == g[i].value);
		}
		dawdle(&r, 40000);
	}
	return NULL;
}

static void make_locks(void)
{
	static const int protocols[3] = { PTHREAD_PRIO_NONE, PTHREAD_PRIO_INHERIT, PTHREAD_PRIO_NONE };

	for (int i = 0; i < 3; i++) {
		pthread_mutexattr_t a;

		pthread_mutexattr_init(&a);
		pthread_mutexattr_setprotocol(&a, protocols[i]);
		if (i == 2)
			pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
		pthread_mutex_init(&shared_lock[i], &a);
	}
}

void handle_signals(void)
{
	stack_t ss = { .ss_sp = alternate, .ss_size = sizeof(alternate) };
	struct sigaction queued = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };

	sigaltstack(&ss, NULL);
	sigaction(SIGRTMIN + 5, &queued, NULL);
}

void begin_waits(void)
{
	make_locks();
	for (int i = 0; i < 3; i++)
		begin(contends, (void *)(intptr_t)i);
	counter_fd = eventfd(0, EFD_CLOEXEC);
	begin(counts_up, NULL);
	begin(counts_down, NULL);
	begin(ping_pong, (void *)0);
	begin(ping_pong, (void *)1);
	begin(sleeps, NULL);
	begin(timerfds, NULL);
	begin(timers, NULL);
	receiver = begin(takes_signals, NULL);
	begin(sends_signals, NULL);
	begin(registers, NULL);
	begin(hosts_guests, NULL);
}
