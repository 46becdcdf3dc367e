/* SPDX-License-Identifier: Apache-2.0 */
/* System calls run inside another process return what they should, a failing one is named, and afterwards mappings, signal actions, mask and
 * pending signals, descriptors and registers of the target are what they were. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/remote/remote.h"
#include "tests/lib/subject.h"

static volatile int keep_counting = 1;

static void *count(void *arg)
{
	volatile unsigned long *n = arg;

	while (keep_counting)
		++*n;
	return NULL;
}

static void on_trap(int sig, siginfo_t *info, void *ctx)
{
	(void)sig;
	(void)ctx;
	_exit(info->si_code == SI_QUEUE && info->si_value.sival_int == 77 ? 42 : 43);
}

/* Blocks SIGTRAP, with one of its own pending and an action that tells whether that one arrives as it was sent. */
static int with_pending_trap(int line, void *arg)
{
	sigset_t trap;
	struct sigaction sa = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };

	(void)arg;
	sigemptyset(&trap);
	sigaddset(&trap, SIGTRAP);
	sigprocmask(SIG_BLOCK, &trap, NULL);
	sigaction(SIGTRAP, &sa, NULL);
	sigqueue(getpid(), SIGTRAP, (union sigval){ .sival_int = 77 });
	subject_say(line, 'r');
	subject_expect(line, 'g');
	sigprocmask(SIG_UNBLOCK, &trap, NULL);
	return 44;
}

static int with_threads(int line, void *arg)
{
	static unsigned long n[3];
	pthread_t t[3];

	(void)arg;
	signal(SIGTRAP, SIG_IGN);
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, count, &n[i]);
	for (int i = 0; i < 3; i++)
		while (!((volatile unsigned long *)n)[i])
			nap();
	subject_say(line, 'r');
	subject_expect(line, 'g');
	keep_counting = 0;
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	subject_say(line, 'd');
	return 0;
}

static void check_batches(struct remote *r)
{
	enum { MANY = 600 };
	static struct remote_call calls[MANY];
	struct err e = { 0 };
	char word[8] = "";

	for (size_t t = 0; t < r->threads; t++) {
		for (int i = 0; i < MANY; i++)
			calls[i] = REMOTE_CALL(i % 2 ? SYS_gettid : SYS_getpid);
		CHECK(remote_run(r, t, calls, MANY, "ask", &e) == 0, "%s", e.text);
		for (int i = 0; i < MANY; i++)
			CHECK(calls[i].ret == (i % 2 ? r->thread[t].tid : r->pid), "call %d returned %lld", i, (long long)calls[i].ret);
	}
	CHECK(remote_write(r->pid, remote_scratch_data(r), "hello", 6, &e) == 0, "%s", e.text);
	CHECK(remote_read(r->pid, remote_scratch_data(r), word, 6, &e) == 0 && !strcmp(word, "hello"));

	struct remote_call some[] = { REMOTE_TRY(SYS_close, 1 << 20), REMOTE_CALL(SYS_getpid), REMOTE_CALL(SYS_munmap, 1, 1), REMOTE_CALL(SYS_gettid) };
	some[3].ret = 12345;
	CHECK(remote_run(r, 0, some, 4, "prepare a thing", &e) == -1);
	CHECK(strstr(e.text, "prepare a thing: munmap inside the process: Invalid argument"), "%s", e.text);
	CHECK(some[0].ret == -EBADF && some[1].ret == r->pid && some[2].ret == -EINVAL && some[3].ret == 12345);
}

/* As a verification does. */
static void check_hidden(pid_t pid, char *page)
{
	struct err e = { 0 };
	char word[8] = "";

	CHECK(remote_read(pid, (uintptr_t)page, word, sizeof(word), &e) == 0 && !strcmp(word, "nobody"), "%s", e.text);
	CHECK(remote_write(pid, (uintptr_t)page, "someone", sizeof(word), &e) == 0, "%s", e.text);
	CHECK(remote_read(pid, (uintptr_t)page, word, sizeof(word), &e) == 0 && !strcmp(word, "someone"), "%s", e.text);
	CHECK(remote_read(pid, (uintptr_t)page + 4096, word, sizeof(word), &e) < 0);
	munmap(page, 4096);
}

/* A page that nobody may read, and nothing behind it. */
static char *hide_page(void)
{
	char *p = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	strcpy(p, "nobody");
	CHECK(munmap(p + 4096, 4096) == 0 && mprotect(p, 4096, PROT_NONE) == 0);
	return p;
}

static void threads_and_maps(void)
{
	char *hidden = hide_page();
	struct subject s = subject_start(with_threads, NULL);
	struct err e = { 0 };
	struct remote r;
	char *before, *after;
	long long mask;

	subject_expect(s.line, 'r');
	before = proc_text(s.pid, "maps");
	mask = status_number(s.pid, "SigBlk", 16);
	CHECK(remote_seize(&r, s.pid, 0, &e) == 0, "%s", e.text);
	CHECK(r.threads == 4 && r.thread[0].tid == s.pid, "%zu threads", r.threads);
	struct user_regs_struct regs = r.thread[1].regs;
	CHECK(remote_scratch_create(&r, 10000, 0, &e) == 0, "%s", e.text);
	CHECK(remote_scratch_size(&r) == 12288);
	check_batches(&r);
	check_hidden(s.pid, hidden);
	CHECK(memcmp(&regs, &r.thread[1].regs, sizeof(regs)) == 0);

	uint64_t at = r.scratch, len = r.scratch_len;
	remote_release(&r);
	CHECK(remote_seize(&r, s.pid, 0, &e) == 0, "%s", e.text);
	r.scratch = at;
	r.scratch_len = len;
	CHECK(remote_scratch_destroy(&r, &e) == 0, "%s", e.text);
	CHECK(remote_scratch_create(&r, 1, 0x200000000000, &e) == 0 && r.scratch == 0x200000000000, "%s", e.text);
	CHECK(remote_scratch_destroy(&r, &e) == 0, "%s", e.text);
	remote_release(&r);

	after = proc_text(s.pid, "maps");
	CHECK(!strcmp(before, after), "before:\n%safter:\n%s", before, after);
	CHECK(status_number(s.pid, "SigBlk", 16) == mask);
	CHECK(status_number(s.pid, "SigIgn", 16) & 1 << (SIGTRAP - 1));
	CHECK(status_number(s.pid, "TracerPid", 10) == 0);
	subject_say(s.line, 'g');
	subject_expect(s.line, 'd');
	free(before);
	free(after);
	subject_end(&s);
}

static void pending_trap(void)
{
	struct subject s = subject_start(with_pending_trap, NULL);
	struct err e = { 0 };
	struct remote r;
	struct remote_call call = REMOTE_CALL(SYS_getpid);
	int status;

	subject_expect(s.line, 'r');
	CHECK(remote_seize(&r, s.pid, 0, &e) == 0, "%s", e.text);
	CHECK(remote_scratch_create(&r, 4096, 0, &e) == 0, "%s", e.text);
	CHECK(remote_run(&r, 0, &call, 1, "ask", &e) == 0, "%s", e.text);
	CHECK(call.ret == s.pid);
	CHECK(remote_run(&r, 0, &call, 1, "ask again", &e) == 0, "%s", e.text);
	CHECK(remote_scratch_destroy(&r, &e) == 0, "%s", e.text);
	remote_release(&r);
	subject_say(s.line, 'g');
	CHECK(waitpid(s.pid, &status, 0) == s.pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42, "status %#x", (unsigned)status);
	s.pid = 0;
	subject_end(&s);
}

int main(void)
{
	struct err e = { 0 };
	struct remote r;

	threads_and_maps();
	pending_trap();
	CHECK(remote_seize(&r, 0x3ffffff, 0, &e) == -1 && e.kind == ERR_GONE && strstr(e.text, "no process"), "%s", e.text);
	return 0;
}
