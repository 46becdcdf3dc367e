/* SPDX-License-Identifier: Apache-2.0 */
/* goes_on - a process in the middle of things: threads that wait in each way there is, registers full of values, timers that fire, signals that
 * are handled on alternate stacks, memory that grows. It is moved while it is, and must not notice.
 *
 *   goes_on DIR     writes DIR/ready when all are at it. DIR/go: it ends the waits, looks at everything and writes DIR/verdict, "ok" or
 *                   what is wrong. No other process talks to it. No descriptors but what it says. */
#define STEPS_PER_LOOK 1000

#include <errno.h>
#include <fcntl.h>
#include <immintrin.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static char dir[400];
static atomic_bool go;
static atomic_int ready, done;
static char wrong[4096];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((format(printf, 1, 2))) static void fail(const char *fmt, ...)
{
	size_t at;
	va_list ap;

	pthread_mutex_lock(&lock);
	at = strlen(wrong);
	va_start(ap, fmt);
	vsnprintf(wrong + at, sizeof(wrong) - at, fmt, ap);
	va_end(ap);
	at = strlen(wrong);
	snprintf(wrong + at, sizeof(wrong) - at, " (errno %d)\n", errno);
	pthread_mutex_unlock(&lock);
}
#define NEED(cond) \
	do { \
		if (!(cond)) \
			fail("%s: %s", __func__, #cond); \
	} while (0)

static int64_t now_ms(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- waits; each ends by what the main thread does after the move ---- */

static uint32_t word;
static int event_read, event_poll, event_epoll, event_select, epoll;
static sem_t semaphore;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t cond_lock = PTHREAD_MUTEX_INITIALIZER;
static bool cond_set;

static void futex_plain(void)
{
	while (__atomic_load_n(&word, __ATOMIC_ACQUIRE) == 0) {
		long rc = syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);

		NEED(rc == 0 || errno == EAGAIN);
	}
}
/* As a C library calls it: the number stands in the code before the instruction, and nowhere else once the call was stopped and went on. */
static long futex_wait(uint32_t *on, long value, const struct timespec *timeout)
{
	register long r10 __asm__("r10") = (long)timeout;
	long rc;

	__asm__ volatile("mov %1, %%eax\n\tsyscall"
			 : "=&a"(rc) : "i"(SYS_futex), "D"(on), "S"((long)FUTEX_WAIT), "d"(value), "r"(r10) : "rcx", "r11", "memory");
	errno = rc < 0 ? (int)-rc : 0;
	return rc < 0 ? -1 : rc;
}

static void futex_timed(void)
{
	struct timespec long_time = { .tv_sec = 3600 };

	while (__atomic_load_n(&word, __ATOMIC_ACQUIRE) == 0) {
		long rc = futex_wait(&word, 0, &long_time);

		NEED(rc == 0 || errno == EAGAIN);
	}
}
static void wait_semaphore(void) { NEED(sem_wait(&semaphore) == 0); }
static void wait_condition(void)
{
	pthread_mutex_lock(&cond_lock);
	while (!cond_set)
		pthread_cond_wait(&cond, &cond_lock);
	pthread_mutex_unlock(&cond_lock);
}
static void wait_read(void)
{
	uint64_t v = 0;

	NEED(read(event_read, &v, sizeof(v)) == sizeof(v) && v == 77);
}
static void wait_poll(void)
{
	struct pollfd p = { .fd = event_poll, .events = POLLIN };

	NEED(poll(&p, 1, 3600 * 1000) == 1 && p.revents == POLLIN);
}
static void wait_epoll(void)
{
	struct epoll_event ev = { 0 };

	NEED(epoll_wait(epoll, &ev, 1, -1) == 1 && ev.data.u64 == UINT64_C(0xfeedfacecafe));
}
static void wait_select(void)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(event_select, &set);
	NEED(select(event_select + 1, &set, NULL, NULL, NULL) == 1);
}
static void wait_signal(void)
{
	sigset_t set;
	siginfo_t info;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 3);
	NEED(sigwaitinfo(&set, &info) == SIGRTMIN + 3 && info.si_value.sival_int == 4711);
}
static void short_sleeps(void)
{
	int64_t start = now_ms(CLOCK_MONOTONIC);
	struct timespec nap = { .tv_nsec = 20 * 1000 * 1000 };
	int n = 0;

	while (!go) {
		NEED(nanosleep(&nap, NULL) == 0);
		n++;
	}
	NEED(now_ms(CLOCK_MONOTONIC) - start >= n * 20);
}

/* ---- registers: all of them full, in a loop that never leaves user mode ---- */

static void vector_registers(void)
{
	uint64_t sum = 0;

	__asm__ volatile("vpcmpeqd %%ymm0, %%ymm0, %%ymm0\n"
			 "vpsrlq $1, %%ymm0, %%ymm1\n vpsrlq $2, %%ymm0, %%ymm2\n vpsrlq $3, %%ymm0, %%ymm3\n vpsrlq $4, %%ymm0, %%ymm4\n"
			 "vpsrlq $15, %%ymm0, %%ymm15\n fldpi\n"
			 "1: movzbl (%1), %%eax\n pause\n testb %%al, %%al\n jz 1b\n"
			 "vpsllq $1, %%ymm1, %%ymm1\n vpsllq $2, %%ymm2, %%ymm2\n vpsllq $3, %%ymm3, %%ymm3\n vpsllq $4, %%ymm4, %%ymm4\n"
			 "vpsllq $15, %%ymm15, %%ymm15\n"
			 "vpaddq %%ymm1, %%ymm2, %%ymm1\n vpaddq %%ymm3, %%ymm4, %%ymm3\n vpaddq %%ymm1, %%ymm3, %%ymm1\n vpaddq %%ymm1, %%ymm15, %%ymm1\n"
			 "vextracti128 $1, %%ymm1, %%xmm2\n vpaddq %%xmm1, %%xmm2, %%xmm1\n vmovq %%xmm1, %0\n fldpi\n fucomip %%st(1), %%st\n"
			 "jz 2f\n xorl %k0, %k0\n 2: fstp %%st(0)\n vzeroupper\n"
			 : "=&r"(sum) : "r"(&go) : "eax", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm15", "st", "st(1)");
	NEED(sum == (uint64_t)(-(2 + 4 + 8 + 16 + 32768)) * 2);
}

/* ---- a restartable sequence that is under way nearly always: wherever it stops, it goes on at its abort handler ---- */

static int aborts;
static void *_Atomic section;

static __attribute__((noinline)) void restartable(void)
{
	struct rseq *area = (struct rseq *)(void *)((char *)__builtin_thread_pointer() + __rseq_offset);
	void *descriptor = NULL;

	while (!go && __rseq_size) {
		__asm__ volatile(".pushsection __rseq_table, \"aw\"\n.balign 32\n9: .long 0, 0\n.quad 1f, 2f - 1f, 4f\n.popsection\n"
				 "leaq 9b(%%rip), %%rax\n movq %%rax, %[descriptor]\n movq %%rax, %[section]\n movq %%rax, %[cs]\n"
				 "1: movzbl (%[go]), %%eax\n pause\n testb %%al, %%al\n jz 1b\n"
				 "2: jmp 5f\n .byte 0x0f, 0xb9, 0x3d\n .long 0x53053053\n"
				 "4: incl %[aborts]\n 5:\n"
				 : [aborts] "+m"(aborts), [cs] "=m"(area->rseq_cs), [descriptor] "=&r"(descriptor), [section] "=m"(section)
				 : [go] "r"(&go) : "rax", "memory", "cc");
	}
	area->rseq_cs = 0;
	NEED(!__rseq_size || (descriptor && aborts > 0));
}

/* ---- timers, and signals on alternate stacks ---- */

static atomic_int alarms, ticks, elsewhere, on_stack;
static timer_t timer;
static unsigned char alternate[64 * 1024];

static void on_alarm(int sig) { (void)sig; alarms++; }
static void on_tick(int sig, siginfo_t *info, void *ctx)
{
	char here;

	(void)sig, (void)ctx;
	ticks++;
	if (info->si_value.sival_int != 99)
		elsewhere++;
	if ((unsigned char *)&here >= alternate && (unsigned char *)&here < alternate + sizeof(alternate))
		on_stack++;
}

static void start_timers(void)
{
	struct itimerval every = { { 0, 10000 }, { 0, 10000 } };
	struct itimerspec its = { { 0, 15000000 }, { 0, 15000000 } };
	struct sigaction alarm_action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	struct sigaction tick_action = { .sa_sigaction = on_tick, .sa_flags = SA_RESTART | SA_SIGINFO | SA_ONSTACK };
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1, .sigev_value.sival_int = 99 };
	stack_t ss = { .ss_sp = alternate, .ss_size = sizeof(alternate) };
	timer_t gone;

	NEED(sigaltstack(&ss, NULL) == 0 && sigaction(SIGALRM, &alarm_action, NULL) == 0 && sigaction(SIGRTMIN + 1, &tick_action, NULL) == 0);
	/* Ids with a gap before them. */
	for (int i = 0; i < 3; i++)
		NEED(timer_create(CLOCK_MONOTONIC, &ev, &gone) == 0 && timer_delete(gone) == 0);
	NEED(timer_create(CLOCK_MONOTONIC, &ev, &timer) == 0 && timer_settime(timer, 0, &its, NULL) == 0);
	NEED(setitimer(ITIMER_REAL, &every, NULL) == 0);
}

static void check_timers(void)
{
	int a = alarms, t = ticks;
	struct itimerspec its;
	int64_t until = now_ms(CLOCK_MONOTONIC) + 120000;

	while ((alarms < a + 3 || ticks < t + 3) && now_ms(CLOCK_MONOTONIC) < until)
		usleep(1000);
	NEED(alarms >= a + 3);
	NEED(ticks >= t + 3);
	NEED(elsewhere == 0);
	NEED(on_stack == ticks);
	NEED(timer_gettime(timer, &its) == 0 && its.it_interval.tv_nsec == 15000000);
}

/* ---- memory that grows ---- */

static __attribute__((noinline)) int deeper(int n)
{
	volatile char room[4096];

	room[0] = (char)n;
	room[4095] = (char)n;
	return n == 0 ? room[0] : deeper(n - 1) + (room[4095] == (char)n ? 1 : 1000);
}

static void check_growth(void)
{
	char *before = sbrk(0), *big;
	void *piece[2000];

	NEED(deeper(1000) == 1000); /* 4 MiB of main stack, where 132 KiB were in use */
	NEED(sbrk(8 << 20) == before && sbrk(0) == before + (8 << 20));
	memset(before, 0x5a, 8 << 20);
	NEED(sbrk(-(8 << 20)) == before + (8 << 20));
	for (int i = 0; i < 2000; i++) {
		piece[i] = malloc((size_t)i * 17 + 1);
		NEED(piece[i] != NULL);
		memset(piece[i], i, (size_t)i * 17 + 1);
	}
	for (int i = 0; i < 2000; i++)
		free(piece[i]);
	big = malloc(3 << 20);
	memset(big, 1, 3 << 20);
	big = realloc(big, 30 << 20);
	NEED(big && big[0] == 1 && big[(3 << 20) - 1] == 1);
	free(big);
}

/* ---- the whole ---- */

static void (*const bodies[])(void) = { futex_plain, futex_timed, wait_semaphore, wait_condition, wait_read, wait_poll, wait_epoll, wait_select,
					wait_signal, short_sleeps, vector_registers, restartable };
enum { BODIES = sizeof(bodies) / sizeof(bodies[0]) };
static _Thread_local int mine;

static void *run(void *arg)
{
	int i = (int)(intptr_t)arg;
	char name[16];

	mine = i * 1000;
	snprintf(name, sizeof(name), "wait-%d", i);
	pthread_setname_np(pthread_self(), name);
	ready++;
	bodies[i]();
	NEED(mine == i * 1000);
	done++;
	return NULL;
}

static void end_waits(pthread_t waiter)
{
	uint64_t one = 77;

	__atomic_store_n(&word, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &word, FUTEX_WAKE, 100, NULL, NULL, 0);
	NEED(sem_post(&semaphore) == 0);
	pthread_mutex_lock(&cond_lock);
	cond_set = true;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&cond_lock);
	NEED(write(event_read, &one, 8) == 8 && write(event_poll, &one, 8) == 8 && write(event_epoll, &one, 8) == 8 && write(event_select, &one, 8) == 8);
	NEED(pthread_sigqueue(waiter, SIGRTMIN + 3, (union sigval){ .sival_int = 4711 }) == 0);
	go = true;
}

static void publish(const char *name, const char *text)
{
	char temporary[500], final[500];
	int fd;

	snprintf(temporary, sizeof(temporary), "%s/.%s", dir, name);
	snprintf(final, sizeof(final), "%s/%s", dir, name);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, text, strlen(text)) < 0 || rename(temporary, final) < 0)
		abort();
	close(fd);
}

static void make_events(void)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.u64 = UINT64_C(0xfeedfacecafe) };

	event_read = eventfd(0, 0);
	event_poll = eventfd(0, 0);
	event_epoll = eventfd(0, 0);
	event_select = eventfd(0, 0);
	epoll = epoll_create1(0);
	NEED(epoll_ctl(epoll, EPOLL_CTL_ADD, event_epoll, &ev) == 0);
	sem_init(&semaphore, 0, 0);
}

int main(int argc, char **argv)
{
	pthread_t thread[BODIES];
	char path[500];
	sigset_t set;
	int64_t wall, mono;

	if (argc != 2)
		return 2;
	snprintf(dir, sizeof(dir), "%s", argv[1]);
	make_events();
	/* Threads block the timers' signals: it is the main thread that has the alternate stack. */
	sigemptyset(&set);
	for (int i = 0; i < 4; i++)
		sigaddset(&set, SIGRTMIN + i);
	sigaddset(&set, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (int i = 0; i < BODIES; i++)
		pthread_create(&thread[i], NULL, run, (void *)(intptr_t)i);
	sigdelset(&set, SIGRTMIN + 3);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	start_timers();
	while (ready < BODIES || (__rseq_size && !section))
		usleep(1000);
	wall = now_ms(CLOCK_REALTIME);
	mono = now_ms(CLOCK_MONOTONIC);
	publish("ready", "");
	snprintf(path, sizeof(path), "%s/go", dir);
	while (access(path, F_OK) != 0)
		for (int i = 0; i < STEPS_PER_LOOK; i++)
			NEED(now_ms(CLOCK_MONOTONIC) >= mono && now_ms(CLOCK_REALTIME) >= wall - 1000); /* through the vdso */
	check_timers();
	check_growth();
	end_waits(thread[8]);
	for (int i = 0; i < BODIES; i++)
		pthread_join(thread[i], NULL);
	NEED(done == BODIES);
	publish("verdict", wrong[0] ? wrong : "ok\n");
	return 0;
}
