/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/agent/husk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/agent/husk_main.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/base/proc_stat.h"

enum { FREE_SOON_MS = 500 };

/* fork() with a wished PID (0: any) and flags. CLONE_PARENT has its own idea of the signal at its end: that of ours. The C library keeps the thread's id where it asked the kernel to clear it at exit; a fork
 * behind its back must have the kernel store the child's there, or the library would go on with the parent's. */
static pid_t fork_as(pid_t wanted, uint64_t flags)
{
	uint64_t set_tid = (uint64_t)wanted;
	int *tid_address = NULL;
	struct clone_args args = { .flags = flags | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID, .exit_signal = flags & CLONE_PARENT ? 0 : SIGCHLD };
	long rc;

	if (prctl(PR_GET_TID_ADDRESS, &tid_address) < 0)
		return -errno;
	args.child_tid = (uint64_t)(uintptr_t)tid_address;
	if (wanted) {
		args.set_tid = (uint64_t)(uintptr_t)&set_tid;
		args.set_tid_size = 1;
	}
	rc = syscall(SYS_clone3, &args, sizeof(args));
	return rc < 0 ? -errno : (pid_t)rc;
}

/* Linux (6.15 and later) forgets a process before it frees its number: who saw it go may come too early. Whoever else has the number, as that of a group or a
 * session, keeps it. */
static pid_t fork_wished(pid_t wanted, uint64_t flags)
{
	const uint64_t until = clock_us() + FREE_SOON_MS * 1000;
	pid_t pid;

	while ((pid = fork_as(wanted, flags)) == -EEXIST && kill(wanted, 0) < 0 && errno == ESRCH && clock_us() < until)
		usleep(1000);
	return pid;
}

static bool all_free(const struct husk_request *q)
{
	for (size_t i = 0; i < q->n_tids; i++)
		if (kill((pid_t)q->tids[i], 0) == 0 || errno != ESRCH)
			return false;
	return kill((pid_t)q->pid, 0) < 0 && errno == ESRCH;
}

/* First process of a PID namespace: reaps, and ends (taking the namespace along) when the tree's root does. Learns its number over line;
 * an end of file there instead means that nothing will come. */
static _Noreturn void ns_init_main(int line)
{
	struct pollfd p[2] = { { .fd = -1, .events = POLLIN }, { .fd = -1, .events = POLLIN } };
	uint32_t root;
	int fds[1] = { line };

	prctl(PR_SET_NAME, "dray-init");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGCHLD, SIG_IGN); /* children are reaped by the kernel */
	setsid();
	if (dup2(fds[0], 3) < 0 || close_range(4, ~0u, 0) < 0)
		_exit(1);
	if (read_full(3, &root, sizeof(root)) < 0)
		_exit(0);
	p[0].fd = pidfd_open_((pid_t)root, 0);
	if (p[0].fd < 0)
		_exit(0);
	/* Until the tree is on its own the line stays open; when it closes with a final byte, we may outlive the session. */
	p[1].fd = 3;
	while (poll(p, 2, -1) >= 0 || errno == EINTR) {
		char go;

		if (p[0].revents)
			break;
		if (p[1].revents) {
			if (read(3, &go, 1) != 1)
				break;
			prctl(PR_SET_PDEATHSIG, 0);
			close(3);
			p[1].fd = -1;
			p[1].revents = 0;
		}
	}
	_exit(0);
}

static int start_namespace(struct husk *h, struct err *e)
{
	char path[64];
	int line[2];
	cleanup_fd int ns = -1;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line) < 0)
		return err_sys(e, "socketpair");
	pid = fork_as(0, CLONE_NEWPID);
	if (pid == 0) {
		close(line[1]);
		ns_init_main(line[0]);
	}
	close(line[0]);
	if (pid < 0) {
		close(line[1]);
		return err_set(e, ERR_SYSTEM, -pid, "a new PID namespace");
	}
	h->ns_init = pid;
	h->init_line = line[1];
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)pid);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	if (ns < 0 || setns(ns, CLONE_NEWPID) < 0)
		return err_sys(e, "enter the new PID namespace");
	return 0;
}

static int fork_failed(const struct husk_request *q, int num, struct err *e)
{
	if (num != EEXIST)
		return err_set(e, ERR_SYSTEM, num, "start a process with PID %u", q->pid);
	err_set(e, ERR_CONFLICT, 0, "PID %u is taken here", q->pid);
	e->num = EEXIST;
	return -1;
}

static int fork_husk(struct husk *h, const struct husk_request *q, struct err *e)
{
	sigset_t all, ours;
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "socketpair");
	/* Blocked from its first instruction: a signal for that PID waits for the target's own mask and handlers, which come with its state. Its receiver
	 * threads inherit it. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &ours);
	pid = fork_wished((pid_t)q->pid, q->sibling ? CLONE_PARENT : 0);
	if (pid == 0)
		husk_main(pair[1], q);
	pthread_sigmask(SIG_SETMASK, &ours, NULL);
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		return fork_failed(q, -pid, e);
	}
	h->pid = pid;
	h->channel = pair[0];
	h->sibling = q->sibling;
	h->tree_pid = q->pid;
	return 0;
}

int husk_start(struct husk *h, const struct husk_request *q, struct err *e)
{
	bool own_namespace = q->pid_policy == DRAYAGE__PID_POLICY__PID_NEW ||
			     (q->pid_policy == DRAYAGE__PID_POLICY__PID_AUTO && !all_free(q));

	*h = (struct husk){ .channel = -1, .init_line = -1 };
	if (own_namespace && q->pid == 1) /* it is the first process itself: nobody else's number is in the way */
		return err_set(e, ERR_UNSUPPORTED, 0, "PID 1 can't be kept: in a PID namespace made for it, that is the namespace's own process");
	if (own_namespace && start_namespace(h, e) < 0)
		goto fail;
	if (fork_husk(h, q, e) < 0)
		goto fail;
	if (h->ns_init) {
		int rc = write_full(h->init_line, &h->tree_pid, sizeof(h->tree_pid));

		if (rc < 0) {
			err_set(e, ERR_INTERNAL, -rc, "first process of the PID namespace");
			goto fail;
		}
	}
	return 0;
fail:
	husk_kill(h);
	return -1;
}

int husk_rebuild(const struct husk *h, struct remote *r, const Drayage__TreeState *tree, const struct rebuild_handover *from,
		 const struct rebuild_watch *watch, struct err *e)
{
	*r = (struct remote){ 0 };
	if (remote_seize(r, h->pid, REMOTE_EXITKILL, e) < 0)
		return err_wrap(e, "seize the husk");
	if (rebuild_outside(r, tree, from, watch, e) == 0)
		return 0;
	kill(h->pid, SIGKILL);
	remote_release(r);
	return -1;
}

/* What we traced is ours to take note of, thread by thread: until then the process is not over. */
static void reap_threads(pid_t pid)
{
	cleanup_dir DIR *threads = proc_threads(pid);
	pid_t tid;

	while ((tid = proc_next_thread(threads)))
		while (tid != pid && waitpid(tid, NULL, __WALL) < 0 && errno == EINTR)
			;
}

/* Its end is all that there is to wait for: it is its parent's to reap. */
static void kill_sibling(pid_t *pid)
{
	cleanup_fd int pidfd = pidfd_open_(*pid, 0);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	kill(*pid, SIGKILL);
	reap_threads(*pid);
	while (pidfd >= 0 && poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	waitpid(*pid, NULL, __WALL | WNOHANG); /* where we traced it: its parent is told only now */
	*pid = 0;
}

static void kill_and_wait(pid_t *pid)
{
	if (*pid <= 0)
		return;
	kill(*pid, SIGKILL);
	reap_threads(*pid);
	while (waitpid(*pid, NULL, __WALL) < 0 && errno == EINTR)
		;
	*pid = 0;
}

static void close_lines(struct husk *h)
{
	if (h->channel >= 0)
		close(h->channel);
	if (h->ns_init && h->init_line >= 0)
		close(h->init_line);
	h->channel = h->init_line = -1;
}

void husk_kill(struct husk *h)
{
	if (h->sibling && h->pid > 0)
		kill_sibling(&h->pid);
	kill_and_wait(&h->pid);
	kill_and_wait(&h->ns_init);
	close_lines(h);
}

void husk_let_go(struct husk *h)
{
	char go = 1;

	if (h->ns_init && write_full(h->init_line, &go, 1) < 0)
		log_event(LOG_WARN, "namespace-init", "pid=%d gone=1", (int)h->ns_init);
	close_lines(h);
}
