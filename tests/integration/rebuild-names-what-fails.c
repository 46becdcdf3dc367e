/* SPDX-License-Identifier: Apache-2.0 */
/* Where the destination is not as the source, or the description lies, the rebuild fails by the name of the object and leaves no process. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/die_with.h"
#include "tests/lib/rebuild_rig.h"
#include "tests/lib/subject.h"
#include "tests/lib/zoo_host.h"

static struct rebuild_rig rig;

/* fd numbers from 3 on are the specimens' */
static FileEntry *file_of_fd(uint32_t number)
{
	const Drayage__TaskState *t = rig.tree->tasks[0];

	for (size_t i = 0; i < t->n_fds; i++)
		for (size_t k = 0; t->fds[i]->fd == number && k < rig.tree->n_files; k++)
			if (rig.tree->files[k]->id == t->fds[i]->id)
				return rig.tree->files[k];
	return NULL;
}

static FileEntry *first_of(FdTypes type)
{
	const Drayage__TaskState *t = rig.tree->tasks[0];

	for (size_t i = 0; i < t->n_fds; i++) {
		FileEntry *f = file_of_fd(t->fds[i]->fd);

		if (t->fds[i]->fd >= 3 && f && f->type == type)
			return f;
	}
	CHECK(0, "no such descriptor");
	return NULL;
}

static void fails_with(const char *what, enum err_kind kind, const char *part)
{
	struct rebuild_handover h;
	struct err e = { 0 };
	int rc = rebuild_rig_inside(&rig, &h, &e);

	if (rc == 0)
		rc = rebuild_rig_outside(&rig, &h, &e);
	CHECK(rc < 0, "%s went unnoticed", what);
	CHECK(e.kind == kind && strstr(e.text, part), "%s: kind %d, %s", what, e.kind, e.text);
	CHECK(kill(rig.pid, 0) < 0 && errno == ESRCH, "%s: a process is left", what);
	printf("%s: %s\n", what, e.text);
	rebuild_rig_finish(&rig);
}

static void take(struct zoo_host *z, const char *kinds)
{
	CHECK(zoo_start(z, kinds));
	rebuild_rig_take(&rig, z->pid);
	z->pid = 0;
}

static void rename_file(void)
{
	FileEntry *f = first_of(FD_TYPES__FD_REG);

	free(f->reg->name);
	f->reg->name = strdup("/nowhere/at/all");
	fails_with("a file that is missing", ERR_SYSTEM, "/nowhere/at/all");
}

static void longer_file(void)
{
	FileEntry *f = first_of(FD_TYPES__FD_REG);

	f->reg->has_size = true;
	f->reg->size += 4096;
	fails_with("a file that is shorter", ERR_MISMATCH, "bytes here and");
}

static void other_executable(void)
{
	for (size_t i = 0; i < rig.tree->n_files; i++) {
		if (rig.tree->files[i]->id != rig.tree->tasks[0]->mm->exe_file_id)
			continue;
		rig.tree->files[i]->reg->has_size = true;
		rig.tree->files[i]->reg->size--;
	}
	fails_with("an executable of another size", ERR_MISMATCH, "executable");
}

static void port_taken(void)
{
	const InetSkEntry *isk = first_of(FD_TYPES__FD_INETSK)->isk;
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)isk->src_port), .sin_addr.s_addr = isk->src_addr[0] };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	char port[16];

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	CHECK(isk->family == AF_INET && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(fd, 1) == 0);
	snprintf(port, sizeof(port), "port %u", isk->src_port);
	fails_with("a port that is taken", ERR_CONFLICT, port);
	close(fd);
}

static void thread_id_taken(void)
{
	pid_t set_tid[1] = { (pid_t)rig.tree->tasks[0]->ps->threads[1] }, other;
	struct clone_args args = { .exit_signal = SIGCHLD, .set_tid = (uint64_t)(uintptr_t)set_tid, .set_tid_size = 1 };
	pid_t test = getpid();
	char id[32];

	other = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	CHECK(other >= 0, "%s", strerror(errno));
	if (other == 0) {
		if (die_with(test, SIGKILL))
			pause();
		_exit(0);
	}
	snprintf(id, sizeof(id), "id %d", set_tid[0]);
	fails_with("a thread id that is taken", ERR_CONFLICT, id);
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
}

static VmaEntry *vma_with(uint32_t status)
{
	const MmEntry *mm = rig.tree->tasks[0]->mm;

	for (size_t i = 0; i < mm->n_vmas; i++)
		if (mm->vmas[i]->status & status)
			return mm->vmas[i];
	CHECK(0, "no such mapping");
	return NULL;
}

static void other_vdso(void)
{
	vma_with(0x8)->end -= 4096;
	fails_with("another vdso", ERR_MISMATCH, "vdso");
}

static void overlapping(void)
{
	MmEntry *mm = rig.tree->tasks[0]->mm;

	mm->vmas[1]->start = mm->vmas[0]->start;
	fails_with("mappings that overlap", ERR_PROTOCOL, "");
}

static void no_such_file_id(void)
{
	rig.tree->tasks[0]->fds[0]->id = 0x7fffffff;
	fails_with("a descriptor of nothing", ERR_PROTOCOL, "no open file");
}

static void wrong_body(void)
{
	first_of(FD_TYPES__FD_REG)->type = FD_TYPES__FD_TIMERFD;
	fails_with("a file of another type than it says", ERR_PROTOCOL, "no open file");
}

static void short_registers(void)
{
	rig.tree->tasks[0]->threads_ext[0]->xsave.len = 100;
	fails_with("extended registers cut off", ERR_MISMATCH, "extended registers");
}

int main(void)
{
	static const struct { const char *kinds; void (*spoil)(void); } cases[] = {
		{ "file", rename_file }, { "file", longer_file }, { "file", other_executable }, { "tcp", port_taken }, { "threads", thread_id_taken },
		{ "file", other_vdso }, { "file", overlapping }, { "file", no_such_file_id }, { "file", wrong_body }, { "file", short_registers },
	};
	struct zoo_host z;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		take(&z, cases[i].kinds);
		cases[i].spoil();
		zoo_end(&z);
	}
	return 0;
}
