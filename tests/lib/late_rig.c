/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/late_rig.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "proto/base/io.h"

struct late_process late_process_start(void (*body)(int line, const void *arg), const void *arg)
{
	struct late_process p = { .uffd = -1 };
	int pair[2], fds, status;
	char c;

	NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	p.pid = fork();
	NEED(p.pid >= 0);
	if (p.pid == 0) {
		body(pair[1], arg);
		_exit(0);
	}
	close(pair[1]);
	p.line = pair[0];
	if (recv_fds(p.line, &c, 1, &p.uffd, 1, &fds) != 1 || p.uffd < 0) {
		waitpid(p.pid, &status, 0);
		exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
	}
	return p;
}

void late_process_go(const struct late_process *p)
{
	NEED(write(p->line, "", 1) == 1);
}

void late_process_give(int line)
{
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (uffd < 0) {
		printf("userfaultfd: %s\n", strerror(errno));
		fflush(stdout);
		_exit(77);
	}
	NEED(send_fds(line, "", 1, &uffd, 1) == 0);
	close(uffd); /* or children would hold it too */
}

void late_process_await_go(int line)
{
	char c;

	NEED(read(line, &c, 1) == 1);
}

uint64_t late_contents(uint64_t page)
{
	return 0x9e3779b97f4a7c15ull * (page + 1);
}

void late_queue_add(void *queue, uint64_t addr)
{
	struct late_queue *q = queue;

	NEED(q->count < sizeof(q->addr) / sizeof(q->addr[0]));
	q->addr[q->count++] = addr;
}
