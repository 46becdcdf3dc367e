/* SPDX-License-Identifier: Apache-2.0 */
/* A capture of a process that holds one of everything says what the process itself knows, and takes nothing out of it: queues, pending
 * signals and timers are all there afterwards. */
#include <fcntl.h>
#include <linux/securebits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "migrate/native/capture.h"
#include "proto/base/io.h"
#include "tests/lib/subject.h"
#include "tests/lib/zoo.h"
#include "tests/lib/zoo_host.h"

static Drayage__TreeState *tree;
static Drayage__TaskState *task;
static char dir[128];

static FileEntry *file_of(uint32_t id)
{
	for (size_t i = 0; i < tree->n_files; i++) {
		if (tree->files[i]->id == id)
			return tree->files[i];
	}
	return NULL;
}
static Drayage__FileExt *ext_of(uint32_t id)
{
	for (size_t i = 0; i < tree->n_files_ext; i++) {
		if (tree->files_ext[i]->id == id)
			return tree->files_ext[i];
	}
	return NULL;
}
static FileEntry *reg_named(const char *name, uint32_t access)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	for (size_t i = 0; i < tree->n_files; i++) {
		FileEntry *f = tree->files[i];

		if (f->reg && strcmp(f->reg->name, path) == 0 && (f->reg->flags & O_ACCMODE) == access)
			return f;
	}
	return NULL;
}
/* The n-th entry of that type. */
static FileEntry *nth(FdTypes type, size_t n)
{
	for (size_t i = 0; i < tree->n_files; i++) {
		if (tree->files[i]->type == type && n-- == 0)
			return tree->files[i];
	}
	return NULL;
}

static void files(void)
{
	FileEntry *a = reg_named("file", O_RDWR), *b = reg_named("file", O_RDONLY), *d = reg_named("dup", O_RDWR);
	unsigned shared = 0;

	CHECK(a && b && d);
	CHECK(a->reg->pos == 3 && b->reg->pos == 7 && d->reg->pos == 2);
	CHECK(a->reg->flags & O_APPEND);
	CHECK(!(a->reg->flags & O_CLOEXEC));
	CHECK(a->reg->has_size && a->reg->size == 10 && (a->reg->mode & 0777) == 0640);
	for (size_t i = 0; i < task->n_fds; i++) {
		FdinfoEntry *f = task->fds[i];

		CHECK(i == 0 || f->fd > task->fds[i - 1]->fd, "descriptors ascend");
		CHECK(file_of(f->id) && file_of(f->id)->type == f->type, "fd %u", f->fd);
		if (f->id == d->id) {
			shared++;
			CHECK((f->fd == 77) == (f->flags == 1));
		}
	}
	CHECK(shared == 2, "dup'ed descriptors name one description");
}

static void pipes(void)
{
	bool full = false, last = false, fifo = false;

	for (size_t i = 0; i < tree->n_pipes; i++) {
		Drayage__PipeData *p = tree->pipes[i];

		if (p->data.len == 9 && memcmp(p->data.data, "in a pipe", 9) == 0)
			full = p->capacity == 16384;
		last |= p->data.len == 10 && memcmp(p->data.data, "last words", 10) == 0;
		fifo |= p->data.len == 5 && memcmp(p->data.data, "queue", 5) == 0;
	}
	CHECK(full && last && fifo);
	CHECK(nth(FD_TYPES__FD_FIFO, 0) && file_of(nth(FD_TYPES__FD_FIFO, 0)->fifo->regf_id)->reg->flags & O_NONBLOCK);
}

static void anonymous(void)
{
	EventfdFileEntry *e = nth(FD_TYPES__FD_EVENTFD, 0)->efd;
	TimerfdEntry *t = nth(FD_TYPES__FD_TIMERFD, 0)->tfd, *expired = nth(FD_TYPES__FD_TIMERFD, 1)->tfd;
	FileEntry *ep = nth(FD_TYPES__FD_EVENTPOLL, 0), *in = nth(FD_TYPES__FD_INOTIFY, 0);
	char path[256];

	CHECK(e->counter == 4711 && !ext_of(e->id)->eventfd_semaphore);
	e = nth(FD_TYPES__FD_EVENTFD, 1)->efd;
	CHECK(e->counter == 3 && ext_of(e->id)->eventfd_semaphore);
	CHECK(t->clockid == CLOCK_MONOTONIC && t->isec == 5 && t->insec == 6 && t->vsec > 4000 && t->vsec < 5000 && t->ticks == 0);
	CHECK(expired->clockid == CLOCK_BOOTTIME && expired->ticks == 1 && expired->vsec == 0 && expired->vnsec == 0);
	CHECK(nth(FD_TYPES__FD_SIGNALFD, 0)->sgfd->sigmask == 1ull << (SIGUSR2 - 1));
	CHECK(ep->epfd->n_tfd == 2);
	for (size_t i = 0; i < 2; i++)
		CHECK(ep->epfd->tfd[i]->data == (ep->epfd->tfd[i]->events & (1u << 30) ? 2 : 0x1122334455667788));
	CHECK(ext_of(in->id)->n_inotify == 2);
	for (size_t i = 0; i < 2; i++) {
		Drayage__InotifyWatch *w = ext_of(in->id)->inotify[i];

		snprintf(path, sizeof(path), "%s/%s", dir, w->wd == 1 ? "watched" : "watched-file");
		CHECK(strcmp(w->path, path) == 0, "%s", w->path);
	}
}

static void memory_files(void)
{
	bool unmapped = false, sealed = false;
	uint64_t id = 0;

	for (size_t i = 0; i < tree->n_memfds; i++) {
		if (strcmp(tree->memfds[i]->name, "specimen") == 0)
			id = tree->memfds[i]->size == 65536 ? tree->memfds[i]->inode_id : 0;
		sealed |= strcmp(tree->memfds[i]->name, "sealed") == 0 && tree->memfds[i]->seals == (F_SEAL_SHRINK | F_SEAL_WRITE);
	}
	CHECK(id && sealed);
	for (size_t i = 0; i < tree->n_memfd_data; i++) {
		Drayage__MemfdData *d = tree->memfd_data[i];

		CHECK(d->inode_id != id || d->offset >= 8192, "what is mapped travels as pages");
		unmapped |= d->inode_id == id && d->offset == 40960 && memcmp(d->data.data, "unmapped", 8) == 0;
	}
	CHECK(unmapped);
}

static void sockets(void)
{
	unsigned listening = 0, pairs = 0, queues = 0, named = 0;

	for (size_t i = 0; i < tree->n_files; i++) {
		InetSkEntry *s = tree->files[i]->isk;
		UnixSkEntry *u = tree->files[i]->usk;

		if (s && s->proto == IPPROTO_TCP && s->state == TCP_LISTEN) {
			listening++;
			CHECK(s->backlog == (s->family == AF_INET ? 17 : 5) && s->src_port && s->n_src_addr == (s->family == AF_INET ? 1 : 4));
			CHECK(s->family == AF_INET ? s->opts->reuseaddr && s->tcp_opts->nodelay : s->v6only && ext_of(s->id)->n_options == 1);
		}
		if (s && s->proto == IPPROTO_UDP && s->state == TCP_ESTABLISHED)
			CHECK(s->dst_port && s->dst_addr[0]);
		if (u && u->peer && !ext_of(u->id)->has_peer_name) {
			bool found = false;

			pairs++;
			for (size_t k = 0; k < tree->n_files; k++)
				found |= tree->files[k]->usk && tree->files[k]->usk->ino == u->peer && tree->files[k]->usk->peer == u->ino;
			CHECK(found && ext_of(u->id)->socketpair);
		}
		named += u && ext_of(u->id)->has_peer_name && strstr((char *)ext_of(u->id)->peer_name.data, "/receiver");
		if (u && u->state == TCP_LISTEN)
			CHECK(u->backlog == 9 && (u->file_perms->mode & 0777) == 0640 && strstr((char *)u->name.data, "/listener"));
	}
	for (size_t i = 0; i < tree->n_queues; i++) {
		Drayage__SocketQueue *q = tree->queues[i];

		queues++;
		if (q->type != SOCK_STREAM && q->n_packets == 2)
			CHECK(q->packets[0].len == 5 || q->packets[0].len == 3);
	}
	CHECK(listening == 2 && pairs == 6 && named == 1 && queues == 6, "%u %u %u %u", listening, pairs, named, queues);
}

static void process(pid_t pid)
{
	TaskCoreEntry *tc = task->threads[0]->tc;
	ThreadCoreEntry *th = task->threads[0]->thread_core;
	char path[256];

	CHECK(task->ps->pid == (uint32_t)pid && task->ps->sid == (uint32_t)pid && task->n_threads == 4 && task->n_threads_ext == 4);
	CHECK(tc->n_sigactions == 62 && tc->sigactions[SIGPIPE - 2]->sigaction == 1, "SIGPIPE is ignored");
	CHECK(tc->sigactions[SIGUSR1 - 2]->sigaction > 1 && tc->sigactions[SIGUSR1 - 2]->mask == 1);
	CHECK(tc->blk_sigset == th->blk_sigset && th->blk_sigset & 1ull << (SIGTERM - 1));
	CHECK(th->signals_p->n_signals == 1 && *(int *)th->signals_p->signals[0]->siginfo.data == SIGTERM);
	CHECK(tc->signals_s->n_signals == 3 && *(int *)tc->signals_s->signals[2]->siginfo.data == SIGRTMIN + 1);
	CHECK(th->sas->ss_size == 65536 && th->sas->ss_flags == 0);
	CHECK(tc->timers->real->isec == 7 && tc->timers->real->iusec == 8 && tc->timers->real->vsec > 5000);
	CHECK(tc->timers->n_posix == 2 && tc->timers->posix[1]->isec + tc->timers->posix[0]->isec == 9);
	for (size_t i = 0; i < 2; i++) {
		PosixTimerEntry *p = tc->timers->posix[i];

		if (p->it_sigev_notify & SIGEV_THREAD_ID)
			CHECK(p->sival_ptr == 0x123456789a && p->notify_thread_id == pid && p->si_signo == (uint32_t)SIGRTMIN + 2);
	}
	CHECK(tc->rlimits->n_rlimits == 16 && tc->rlimits->rlimits[7]->cur == 333 && tc->rlimits->rlimits[7]->max == 444);
	CHECK(strcmp(tc->comm, "a (name) ") == 0 && strcmp(th->comm, "a (name) ") == 0 && task->fs->umask == 0137);
	snprintf(path, sizeof(path), "%s/cwd", dir);
	CHECK(strcmp(file_of(task->fs->cwd_id)->reg->name, path) == 0 && strcmp(file_of(task->fs->root_id)->reg->name, "/") == 0);
	CHECK(th->sched_nice == 5 && th->futex_rla && th->futex_rla_len == 24 && th->rseq_entry && th->rseq_entry->rseq_abi_pointer);
	CHECK(task->threads_ext[0]->timerslack_ns == 123456 && task->threads_ext[0]->ioprio == (2 << 13 | 6));
	CHECK(task->threads_ext[0]->cpu_affinity.data[0] == 1 && tc->child_subreaper && task->mm->thp_disabled);
}

static void credentials(void)
{
	CredsEntry *cr = task->threads[0]->thread_core->creds;

	CHECK(cr->uid == 2001 && cr->euid == 2002 && cr->suid == 2003 && cr->gid == 1001 && cr->n_groups == 3 && cr->groups[2] == 4321);
	CHECK(cr->cap_eff[0] == 1u << 10 && cr->cap_prm[0] == (1u << 10 | 1u << 1) && cr->cap_inh[0] == 1u << 10 && cr->cap_amb[0] == 1u << 10);
	CHECK(!(cr->cap_bnd[0] & 1u << 22) && cr->cap_bnd[0] & 1 && cr->no_new_privs == 1 && cr->secbits == (SECBIT_KEEP_CAPS | SECBIT_NOROOT));
}

static void threads(void)
{
	for (size_t i = 0; i < task->n_threads; i++) {
		CoreEntry *c = task->threads[i];
		char name[16];
		size_t n;

		CHECK(c->thread_info->gpregs->fs_base && c->thread_info->clear_tid_addr && c->thread_core->creds);
		CHECK(c->thread_info->gpregs->cs == 0x33 && c->thread_info->fpregs->n_xmm_space == 64 && c->thread_info->fpregs->n_st_space == 32);
		CHECK(task->threads_ext[i]->xsave.len >= 576 && task->threads_ext[i]->gpregs.len == 27 * 8);
		CHECK(task->threads_ext[i]->tid == task->ps->threads[i]);
		if (i == 0)
			continue;
		CHECK(sscanf(c->thread_core->comm, "zoo-thread-%zu", &n) == 1, "%s", c->thread_core->comm);
		snprintf(name, sizeof(name), "zoo-thread-%zu", n);
		CHECK(c->thread_core->blk_sigset & 1ull << (SIGINT - 1));
		if (n == 0) /* inside its loop or between two: the seed is in xmm13 most of the time */
			CHECK(c->thread_info->fpregs->mxcsr == 0x1f80);
	}
}

static const VmaEntry *mapping(uint64_t addr)
{
	for (size_t i = 0; i < task->mm->n_vmas; i++) {
		if (task->mm->vmas[i]->start <= addr && addr < task->mm->vmas[i]->end)
			return task->mm->vmas[i];
	}
	return NULL;
}

static void mappings(void)
{
	const MmEntry *mm = task->mm;
	unsigned heap = 0, shared_anon = 0, shared_file = 0, vdso = 0, vvar = 0, locked = 0, guard = 0;
	uint64_t advice = 0;

	for (size_t i = 0; i < mm->n_vmas; i++) {
		const VmaEntry *v = mm->vmas[i];

		CHECK(i == 0 || v->start >= mm->vmas[i - 1]->end, "mappings ascend");
		CHECK(v->start != task->ext->scratch[0], "the mover's own mapping is not described");
		heap += v->status == 0x221 && v->flags == 0x22;
		vdso += v->status == 0x209;
		vvar += v->status == 0x1201;
		guard += v->prot == 0 && v->status == 0x201;
		advice |= v->madv;
		locked += (v->flags & MAP_LOCKED) != 0;
		shared_anon += v->status == 0x4081 && v->flags == 1;
		if (v->status & 0xc0 && !(v->status & 0x4000)) {
			CHECK(file_of((uint32_t)v->shmid) && file_of((uint32_t)v->shmid)->reg, "mapping %lx names its file", v->start);
			shared_file += v->status == 0x81 && v->fdflags == O_RDWR;
		}
		if (v->status & 0x4000)
			CHECK(file_of((uint32_t)v->shmid)->memfd->inode_id);
	}
#ifdef __SANITIZE_ADDRESS__
	heap = 1; /* its allocator makes no use of brk */
#endif
	CHECK(heap && vdso == 1 && vvar >= 1 && guard && locked == 1 && shared_anon >= 3 && shared_file == 1);
	CHECK((advice & 0x1d406) == (1u << 14 | 1u << 15 | 1u << 10 | 1u << 16 | 1u << 2 | 1u << 1 | (advice & 1u << 12)) && advice & 1 << 18);
	CHECK(mapping(mm->mm_start_code) && mapping(mm->mm_start_stack) && mapping(mm->mm_arg_start) && mm->mm_brk >= mm->mm_start_brk && mm->mm_start_brk);
	CHECK(mm->n_mm_saved_auxv >= 20 && mm->n_mm_saved_auxv % 2 == 0);
	CHECK(strstr(file_of(mm->exe_file_id)->reg->name, "/subjects/zoo") && ext_of(mm->exe_file_id)->has_build_id);
}

static void survives_packing(void)
{
	size_t len = drayage__tree_state__get_packed_size(tree);
	uint8_t *bytes = malloc(len), *again = malloc(len);
	Drayage__TreeState *back;

	CHECK(bytes && again && drayage__tree_state__pack(tree, bytes) == len);
	back = drayage__tree_state__unpack(NULL, len, bytes);
	CHECK(back && drayage__tree_state__pack(back, again) == len && memcmp(bytes, again, len) == 0);
	drayage__tree_state__free_unpacked(back, NULL);
	free(bytes);
	free(again);
	printf("%zu mappings, %zu descriptors, %zu threads: %zu bytes\n", task->mm->n_vmas, task->n_fds, task->n_threads, len);
}

/* Three times over, so that a trace of the first would be found. */
static void capture_and_ask(const struct zoo_host *z, void (*look)(pid_t pid))
{
	struct capture_options opt = { 0 };
	struct remote r = { 0 };
	struct err e, second;

	snprintf(dir, sizeof(dir), "%s", z->dir);
	for (int i = 0; i < 3; i++) {
		uint64_t begin;

		CHECK(remote_seize(&r, z->pid, 0, &e) == 0, "%s", e.text);
		CHECK(remote_scratch_create(&r, 65536, 0, &e) == 0, "%s", e.text);
		begin = clock_us();
		tree = capture_tree(&r, &opt, &e);
		CHECK(tree, "%s", e.text);
		printf("captured in %lu us\n", clock_us() - begin);
		CHECK(remote_scratch_destroy(&r, &second) == 0, "%s", second.text);
		remote_release(&r);
		task = tree->tasks[0];
		if (i == 0)
			look(z->pid);
		drayage__tree_state__free_unpacked(tree, NULL);
		zoo_ask(z);
	}
}

static void look_at_all(pid_t pid)
{
	files();
	pipes();
	anonymous();
	memory_files();
	sockets();
	process(pid);
	threads();
	mappings();
	survives_packing();
}

static void look_at_credentials(pid_t pid)
{
	(void)pid;
	credentials();
}

int main(void)
{
	static char kinds[2048];
	const struct zoo_kind *k;
	struct zoo_host z;

	if (geteuid() != 0) {
		printf("needs root\n");
		return 77;
	}
	for (size_t i = 0; (k = zoo_at(i)); i++) {
		if (!k->obstacle && strcmp(k->name, "credentials") != 0) /* without root's rights others can't check */
			strcat(strcat(kinds, k->name), " ");
	}
	CHECK(zoo_start(&z, kinds));
	capture_and_ask(&z, look_at_all);
	zoo_end(&z);
	CHECK(zoo_start(&z, "pipe credentials"));
	capture_and_ask(&z, look_at_credentials);
	zoo_end(&z);
	return 0;
}
