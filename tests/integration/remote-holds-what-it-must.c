/* SPDX-License-Identifier: Apache-2.0 */
/* A target with a seccomp filter is entered, and filtered as before afterwards; threads made by calls inside are held from their first instruction
 * and run only what they are given; with REMOTE_EXITKILL the target dies with its tracer, without it runs on; who can't be held is told why. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/remote/remote.h"
#include "tests/lib/subject.h"

/* Any call but those to talk with the test ends it. */
static int filtered(int line, void *arg)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 5, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendto, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_poll, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_restart_syscall, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	(void)arg;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0);
	subject_say(line, 'r');
	subject_expect(line, 'g');
	subject_say(line, 'd');
	subject_expect(line, 'g');
	return (int)syscall(SYS_getppid) > 0;
}

static void seccomp_target(void)
{
	struct subject s = subject_start(filtered, NULL);
	struct remote_call call = REMOTE_CALL(SYS_getppid);
	struct err e = { 0 };
	struct remote r;
	int status;

	subject_expect(s.line, 'r');
	CHECK(remote_seize(&r, s.pid, 0, &e) == 0, "%s", e.text);
	CHECK(remote_scratch_create(&r, 100, 0, &e) == 0, "%s", e.text);
	CHECK(remote_run(&r, 0, &call, 1, "ask", &e) == 0 && call.ret == getpid(), "%s", e.text);
	CHECK(remote_scratch_destroy(&r, &e) == 0, "%s", e.text);
	remote_release(&r);
	subject_say(s.line, 'g');
	subject_expect(s.line, 'd');
	subject_say(s.line, 'g');
	CHECK(waitpid(s.pid, &status, 0) == s.pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "the filter is gone: status %#x", (unsigned)status);
	s.pid = 0;
	subject_end(&s);
}

static int idles(int line, void *arg)
{
	(void)arg;
	subject_say(line, 'r');
	subject_expect(line, 'g');
	subject_say(line, 'd');
	subject_expect(line, 'e');
	return 0;
}

static bool alone(void *arg)
{
	return status_number(*(pid_t *)arg, "Threads", 10) == 1;
}

static void born_threads(void)
{
	enum { N = 5, FLAGS = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM };
	struct subject s = subject_start(idles, NULL);
	struct remote_call make[N], ask = REMOTE_CALL(SYS_gettid);
	struct err e = { 0 };
	struct remote r;

	subject_expect(s.line, 'r');
	CHECK(remote_seize(&r, s.pid, 0, &e) == 0, "%s", e.text);
	CHECK(remote_scratch_create(&r, 100, 0, &e) == 0, "%s", e.text);
	for (int i = 0; i < N; i++)
		make[i] = REMOTE_CALL(SYS_clone, FLAGS);
	CHECK(remote_run(&r, 0, make, N, "make threads", &e) == 0, "%s", e.text);
	CHECK(r.born_count == N, "%u born", r.born_count);
	for (int i = 0; i < N; i++)
		CHECK(r.born[i] == make[i].ret);
	pid_t born[N];

	memcpy(born, r.born, sizeof(born));
	for (int i = 0; i < N; i++) {
		CHECK(remote_adopt(&r, born[i], &e) == 0, "%s", e.text);
		CHECK(r.threads == (size_t)i + 2 && r.thread[r.threads - 1].tid == born[i]);
		CHECK(remote_run(&r, r.threads - 1, &ask, 1, "ask", &e) == 0 && ask.ret == born[i], "%s", e.text);
	}
	CHECK(remote_run(&r, 0, &ask, 1, "ask", &e) == 0 && ask.ret == s.pid, "%s", e.text);
	CHECK(remote_scratch_destroy(&r, &e) == 0, "%s", e.text);
	for (size_t t = 1; t < r.threads; t++) {
		CHECK(remote_find_syscall(s.pid, (uint64_t *)&r.thread[t].regs.rip, &e) == 0, "%s", e.text);
		r.thread[t].regs.rax = SYS_exit;
		r.thread[t].regs.rdi = 0;
		r.thread[t].regs.orig_rax = (uint64_t)-1;
	}
	remote_release(&r);
	await(alone, &s.pid, "the threads have run what they were given");
	subject_say(s.line, 'g');
	subject_expect(s.line, 'd');
	subject_end(&s);
}

static int tracer(int line, void *arg)
{
	int *which = arg;
	struct err e = { 0 };
	struct remote r;

	CHECK(remote_seize(&r, which[0], (unsigned)which[1], &e) == 0, "%s", e.text);
	subject_say(line, 's');
	pause();
	return 0;
}

static void tracer_killed(unsigned flags)
{
	struct subject s = subject_start(idles, NULL), t;
	int which[2] = { s.pid, (int)flags }, status;
	struct err e = { 0 };
	struct remote r;

	subject_expect(s.line, 'r');
	t = subject_start(tracer, which);
	subject_expect(t.line, 's');
	CHECK(remote_seize(&r, s.pid, 0, &e) == -1 && e.kind == ERR_PERMISSION && strstr(e.text, "is traced by process"), "%s", e.text);
	subject_end(&t);
	if (flags & REMOTE_EXITKILL) {
		CHECK(waitpid(s.pid, &status, 0) == s.pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		s.pid = 0;
	} else {
		subject_say(s.line, 'g');
		subject_expect(s.line, 'd');
	}
	subject_end(&s);
}

static void *forever(void *arg)
{
	*(volatile pid_t *)arg = gettid();
	for (;;)
		pause();
	return NULL;
}

static int leaderless(int line, void *arg)
{
	static pid_t tid;
	pthread_t t;

	(void)arg;
	pthread_create(&t, NULL, forever, &tid);
	while (!*(volatile pid_t *)&tid)
		nap();
	CHECK(write(line, (pid_t[]){ tid }, sizeof(pid_t)) == sizeof(pid_t));
	pthread_exit(NULL);
}

static void cannot_be_held(void)
{
	struct subject s = subject_start(leaderless, NULL);
	struct err e = { 0 };
	struct remote r;
	pid_t tid;

	CHECK(read(s.line, &tid, sizeof(tid)) == sizeof(tid));
	CHECK(remote_seize(&r, tid, 0, &e) == -1 && e.kind == ERR_USAGE && strstr(e.text, "is a thread of process"), "%s", e.text);
	await_task_state(s.pid, s.pid, "Z");
	await_task_state(s.pid, tid, "S");
	CHECK(remote_seize(&r, s.pid, 0, &e) == -1 && e.kind == ERR_UNSUPPORTED && strstr(e.text, "first thread has ended"), "%s", e.text);
	CHECK(status_number(s.pid, "TracerPid", 10) == 0);
	await_task_state(s.pid, tid, "S");
	subject_end(&s);
}

int main(void)
{
	if (geteuid() != 0) {
		puts("needs root");
		return 77;
	}
	seccomp_target();
	born_threads();
	tracer_killed(0);
	tracer_killed(REMOTE_EXITKILL);
	cannot_be_held();
	return 0;
}
