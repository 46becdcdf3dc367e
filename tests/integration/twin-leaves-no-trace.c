/* SPDX-License-Identifier: Apache-2.0 */
/* A twin is not among its target's threads, descriptors or what it can wait for; it doesn't run the target's handlers or hear its stop signals;
 * it keeps none of the target's files open; afterwards mappings, descriptors and children of the target are as before. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/send_rig.h"

enum { PAGES = 512, STREAMS = 2 };

static volatile sig_atomic_t handled;

static void on_signal(int sig)
{
	(void)sig;
	handled++;
}

static int target(int line, void *arg)
{
	int end[2];
	char *m = mmap((void *)RIG_BASE, PAGES * 4096ul, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	(void)arg;
	CHECK(m != MAP_FAILED && pipe(end) == 0);
	setpgid(0, 0);
	signal(SIGUSR1, on_signal);
	signal(SIGCHLD, on_signal);
	memset(m, 7, PAGES * 4096ul);
	subject_say(line, 'r');
	subject_expect(line, 'w'); /* twins live */
	CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD, "a child is to be waited for");
	close(end[1]);
	CHECK(read(end[0], m, 1) == 0, "someone else holds the pipe");
	subject_say(line, 'd');
	subject_expect(line, 'e'); /* twins are gone */
	CHECK(waitpid(-1, NULL, __WALL | WNOHANG) == -1 && errno == ECHILD, "a zombie is left");
	CHECK(handled == 1, "%d signals were handled", (int)handled);
	subject_say(line, 'b');
	while (pause() < 0)
		;
	return 0;
}

static int entries(pid_t pid, const char *dir)
{
	char path[64];
	DIR *d;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, dir);
	d = opendir(path);
	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static bool twin_in_read(void *arg)
{
	struct twins *t = arg;

	twins_poll(t);
	return task_state(t->pid[0], t->pid[0]) == 'S';
}

/* A target whose filter ends it for any call that a twin makes. */
static int filtered_target(int line, void *arg)
{
	static const int deadly[] = { SYS_vmsplice, SYS_pipe2, SYS_close_range, SYS_setsid, SYS_clone, SYS_mmap, SYS_munmap, SYS_wait4 };
	struct sock_filter code[2 * sizeof(deadly) / sizeof(deadly[0]) + 2] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	};
	struct sock_fprog prog = { .filter = code };
	unsigned n = 1;

	CHECK(mmap((void *)RIG_BASE, PAGES * 4096ul, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
	memset((void *)RIG_BASE, 9, PAGES * 4096ul);
	for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++) {
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)deadly[i], 0, 1);
		code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	}
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	prog.len = (unsigned short)n;
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0);
	subject_say(line, 'r');
	subject_expect(line, 'e');
	subject_say(line, 'b');
	(void)arg;
	return 0;
}

static void a_filter_does_not_reach_twins(void)
{
	struct sender_stats st;
	struct err e = { 0 };
	struct rig r;

	rig_start(&r, filtered_target, PAGES, 1);
	rig_twins(&r);
	rig_sender(&r, EXTRACT_SPLICE, OUTPUT_AUTO, COMPRESS_NONE, 0);
	rig_receive(&r);
	CHECK(rig_round(&r, 1, true, &r.all, NULL, &st, &e) == 0, "%s", e.text);
	rig_finish(&r);
	CHECK(rig_compare(&r, 0, PAGES) < 0);
	rig_untwin(&r);
	subject_say(r.subject.line, 'e'); /* it lives on */
	subject_expect(r.subject.line, 'b');
	rig_end(&r);
}

int main(void)
{
	struct sender_stats st;
	struct err e = { 0 };
	struct rig r;
	char *maps, *after;
	int fds;

	rig_start(&r, target, PAGES, STREAMS);
	maps = proc_text(r.subject.pid, "maps");
	fds = entries(r.subject.pid, "fd");
	rig_twins(&r);
	CHECK(twins_poll(&r.twins) == STREAMS && twins_share_mm(&r.twins, r.subject.pid));
	CHECK(!twins_share_mm(&r.twins, getpid()));
	CHECK(entries(r.subject.pid, "task") == 3 && entries(r.subject.pid, "fd") == fds);
	for (int i = 0; i < STREAMS; i++) {
		char *comm = proc_text(r.twins.pid[i], "comm");

		CHECK(strcmp(comm, "dray-twin\n") == 0, "%s", comm);
		CHECK(status_number(r.twins.pid[i], "TracerPid", 10) == getpid());
		CHECK(status_number(r.twins.pid[i], "NSsid", 10) == r.twins.pid[i], "it is in the target's session");
		free(comm);
	}
	/* What is sent to the target's group reaches the target only. */
	kill(-r.subject.pid, SIGUSR1);
	subject_say(r.subject.line, 'w');
	subject_expect(r.subject.line, 'd');
	/* Someone stops a twin: it goes on as soon as its tracer looks. */
	kill(r.twins.pid[0], SIGSTOP);
	await_task_state(r.twins.pid[0], r.twins.pid[0], "t");
	await(twin_in_read, &r.twins, "the twin goes on");
	rig_sender(&r, EXTRACT_SPLICE, OUTPUT_RING, COMPRESS_NONE, 0);
	rig_receive(&r);
	CHECK(rig_round(&r, 1, true, &r.all, NULL, &st, &e) == 0, "%s", e.text);
	rig_finish(&r);
	CHECK(rig_compare(&r, 0, PAGES) < 0);
	for (int i = 0; i < STREAMS; i++) /* its own pipes only */
		CHECK(entries(r.twins.pid[i], "fd") == 2 + 2, "twin %d has %d descriptors", i, entries(r.twins.pid[i], "fd") - 2);
	rig_untwin(&r);
	after = proc_text(r.subject.pid, "maps");
	CHECK(strcmp(maps, after) == 0, "mappings were\n%s\nand are\n%s", maps, after);
	CHECK(entries(r.subject.pid, "task") == 3 && entries(r.subject.pid, "fd") == fds - 1 /* the end it closed itself */);
	subject_say(r.subject.line, 'e');
	subject_expect(r.subject.line, 'b');
	free(maps);
	free(after);
	rig_end(&r);
	a_filter_does_not_reach_twins();
	return 0;
}
