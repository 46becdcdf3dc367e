/* SPDX-License-Identifier: Apache-2.0 */
/* The half that runs in the process itself, as ordinary code: descriptors, cwd, root, umask, signal handlers. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migrate/native/rebuild.h"
#include "migrate/native/rebuild_priv.h"
#include "proto/base/cleanup.h"
#include "proto/image/vma_status.h"

enum { SIGNALS = 64, SIGACTIONS = 62, SPARE_FDS = 64, MAX_FD = 1 << 24 };

static int (*builder(FdTypes type))(struct rebuild *, struct built *)
{
	static const struct { FdTypes type; int (*build)(struct rebuild *, struct built *); } table[] = {
		{ FD_TYPES__FD_REG, rebuild_reg },           { FD_TYPES__FD_PIPE, rebuild_pipe },
		{ FD_TYPES__FD_FIFO, rebuild_fifo },         { FD_TYPES__FD_INETSK, rebuild_inet },
		{ FD_TYPES__FD_UNIXSK, rebuild_unix },       { FD_TYPES__FD_EVENTFD, rebuild_eventfd },
		{ FD_TYPES__FD_EVENTPOLL, rebuild_epoll },   { FD_TYPES__FD_INOTIFY, rebuild_inotify },
		{ FD_TYPES__FD_SIGNALFD, rebuild_signalfd }, { FD_TYPES__FD_TIMERFD, rebuild_timerfd },
		{ FD_TYPES__FD_MEMFD, rebuild_memfd },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].type == type)
			return table[i].build;
	return NULL;
}

/* A type and no message of that type: a sender that lies would have us follow a NULL. */
static bool has_body(const FileEntry *f, const Drayage__FileExt *x)
{
	const void *body = f->type == FD_TYPES__FD_REG ? (const void *)f->reg : f->type == FD_TYPES__FD_PIPE ? (const void *)f->pipe :
			   f->type == FD_TYPES__FD_FIFO ? (const void *)f->fifo : f->type == FD_TYPES__FD_INETSK ? (const void *)f->isk :
			   f->type == FD_TYPES__FD_UNIXSK ? (const void *)f->usk : f->type == FD_TYPES__FD_EVENTFD ? (const void *)f->efd :
			   f->type == FD_TYPES__FD_EVENTPOLL ? (const void *)f->epfd : f->type == FD_TYPES__FD_SIGNALFD ? (const void *)f->sgfd :
			   f->type == FD_TYPES__FD_TIMERFD ? (const void *)f->tfd : f->type == FD_TYPES__FD_MEMFD ? (const void *)f->memfd :
			   f->type == FD_TYPES__FD_INOTIFY ? (const void *)x : NULL;

	return body != NULL;
}

static uint32_t flags_of(const FileEntry *f)
{
	return f->reg ? f->reg->flags : f->pipe ? f->pipe->flags : f->isk ? f->isk->flags : f->usk ? f->usk->flags : f->efd ? f->efd->flags :
	       f->epfd ? f->epfd->flags : f->sgfd ? f->sgfd->flags : f->tfd ? f->tfd->flags : f->memfd ? f->memfd->flags : 0;
}

/* The table of files, and which of them have descriptors. */
static int index_files(struct rebuild *r)
{
	const Drayage__TreeState *tree = r->tree;
	int highest = 2;

	r->file = calloc(tree->n_files + 1, sizeof(*r->file));
	if (!r->file)
		return err_set(r->e, ERR_SYSTEM, ENOMEM, "table of open files");
	r->files = tree->n_files;
	for (size_t i = 0; i < tree->n_files; i++)
		r->file[i] = (struct built){ .f = tree->files[i], .fd = -1, .first = -1 };
	rebuild_sort(r);
	for (size_t i = 1; i < r->files; i++)
		if (r->file[i].f->id == r->file[i - 1].f->id)
			return err_set(r->e, ERR_PROTOCOL, 0, "open file %u is described twice", r->file[i].f->id);
	for (size_t i = 0; i < tree->n_files_ext; i++) {
		struct built *b = rebuild_find(r, tree->files_ext[i]->id);

		if (!b)
			return err_set(r->e, ERR_PROTOCOL, 0, "details of open file %u, which is not described", tree->files_ext[i]->id);
		b->x = tree->files_ext[i];
	}
	for (size_t i = 0; i < r->opt->givens; i++) {
		struct built *b = rebuild_find(r, r->opt->given[i].file_id);

		if (b)
			b->given = true;
	}
	for (size_t i = 0; i < r->task->n_fds; i++) {
		const FdinfoEntry *d = r->task->fds[i];
		struct built *b = rebuild_find(r, d->id);

		if (!b || !(b->given || has_body(b->f, b->x)) || d->fd >= MAX_FD)
			return err_set(r->e, ERR_PROTOCOL, 0, "task %u fd %u: no open file %u is described", r->task->ps->pid, d->fd, d->id);
		if (b->first < 0 || (int)d->fd < b->first)
			b->first = (int)d->fd;
		if ((int)d->fd > highest)
			highest = (int)d->fd;
	}
	r->base = highest + 1;
	return 0;
}

/* Numbers up to twice the target's, for a while; rebuild_outside() sets the limit that the target had. */
static int make_room(struct rebuild *r)
{
	struct rlimit lim;
	rlim_t want = (rlim_t)r->base + r->files + SPARE_FDS;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return err_sys(r->e, "limit of open files");
	if (lim.rlim_cur >= want)
		return 0;
	if (lim.rlim_max < want)
		return err_set(r->e, ERR_LIMIT, 0, "task %u: %llu descriptors are needed, the hard limit here is %llu", r->task->ps->pid,
			       (unsigned long long)want, (unsigned long long)lim.rlim_max);
	lim.rlim_cur = want;
	return setrlimit(RLIMIT_NOFILE, &lim) < 0 ? err_sys(r->e, "limit of open files") : 0;
}

/* F_SETOWN notes the caller's ids beside the owner: what a signal may be sent with. */
static int set_owner(struct rebuild *r, const struct built *b)
{
	const FownEntry *o = rebuild_fown(b->f);
	struct f_owner_ex ex;
	bool other;
	int rc;

	if (!o)
		return 0;
	if (o->signum && fcntl(b->fd, F_SETSIG, o->signum) < 0)
		return rebuild_fail_sys(r, b, "signal of asynchronous input");
	if (!o->pid)
		return 0;
	ex = (struct f_owner_ex){ .type = (__typeof__(ex.type))o->pid_type, .pid = (pid_t)o->pid };
	if (ex.pid != getpid()) {
		if (ex.type == F_OWNER_TID)
			return 0; /* a thread that does not exist yet: rebuild_outside() */
		return rebuild_fail(r, b, ERR_UNSUPPORTED, 0, "owned by process or group %u, which is not in the tree", o->pid);
	}
	other = o->uid != getuid() || o->euid != geteuid();
	if (other && syscall(SYS_setresuid, o->uid, o->euid, 0) < 0)
		return rebuild_fail_sys(r, b, "owner's ids");
	rc = fcntl(b->fd, F_SETOWN_EX, &ex);
	if (other && syscall(SYS_setresuid, 0, 0, 0) < 0)
		return rebuild_fail_sys(r, b, "back to our own ids");
	return rc < 0 ? rebuild_fail_sys(r, b, "owner") : 0;
}

static int set_flags(struct rebuild *r, const struct built *b)
{
	uint32_t flags = b->f->type == FD_TYPES__FD_INOTIFY ? (b->x->has_inotify_flags ? b->x->inotify_flags : 0) : flags_of(b->f);

	if (b->f->type == FD_TYPES__FD_FIFO) {
		struct built *path = rebuild_find(r, b->f->fifo->regf_id);

		flags = path && path->f->reg ? path->f->reg->flags : 0;
	}
	if (flags & O_PATH)
		return 0;
	return fcntl(b->fd, F_SETFL, (int)flags) < 0 ? rebuild_fail_sys(r, b, "flags") : 0;
}

/* With the access that the target's had: an end of a pipe given for both is opened once more as the other. */
static int take_given(struct rebuild *r)
{
	for (size_t i = 0; i < r->opt->givens; i++) {
		const struct rebuild_given *g = &r->opt->given[i];
		struct built *b = rebuild_find(r, g->file_id);
		int flags = fcntl(g->fd, F_GETFL), fd;

		if (!b || b->first < 0 || b->fd >= 0)
			continue;
		if (b->f->pipe && (flags & O_ACCMODE) != O_RDWR && (uint32_t)(flags & O_ACCMODE) != (b->f->pipe->flags & O_ACCMODE))
			fd = rebuild_reopen(g->fd, b->f->pipe->flags);
		else
			fd = fcntl(g->fd, F_DUPFD_CLOEXEC, r->base);
		if (rebuild_take(r, b, fd, "descriptor given for it") < 0)
			return -1;
	}
	return 0;
}

static int build_files(struct rebuild *r)
{
	if (take_given(r) < 0)
		return -1;
	for (size_t i = 0; i < r->files; i++) {
		struct built *b = &r->file[i];
		int (*build)(struct rebuild *, struct built *) = builder(b->f->type);

		if (b->first < 0 || b->fd >= 0)
			continue;
		if (!build)
			return rebuild_fail(r, b, ERR_UNSUPPORTED, 0, "open file of a kind (%d) that can't be rebuilt", b->f->type);
		if (build(r, b) < 0)
			return -1;
	}
	for (size_t i = 0; i < r->files; i++) {
		struct built *b = &r->file[i];

		if (b->first < 0 || b->given)
			continue;
		if (b->f->type == FD_TYPES__FD_UNIXSK && rebuild_unix_connect(r, b) < 0)
			return -1;
		/* The owner first: O_ASYNC among the flags makes it count. */
		if (set_owner(r, b) < 0 || set_flags(r, b) < 0)
			return -1;
	}
	return rebuild_memfds_finish(r);
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Everything but keep[] goes, and the target's descriptors to their numbers. */
static int place_files(struct rebuild *r, int *keep, size_t n)
{
	unsigned from = (unsigned)r->base;

	if (close_range(0, from - 1, 0) < 0)
		return err_sys(r->e, "close our own descriptors");
	for (size_t i = 0; i < r->task->n_fds; i++) {
		const FdinfoEntry *d = r->task->fds[i];
		const struct built *b = rebuild_find(r, d->id);

		if (dup3(b->fd, (int)d->fd, d->flags & 1 ? O_CLOEXEC : 0) < 0)
			return err_sys(r->e, "task %u fd %u: to its number", r->task->ps->pid, d->fd);
	}
	qsort(keep, n, sizeof(*keep), by_number);
	for (size_t i = 0; i < n; i++) {
		if (keep[i] < 0)
			continue;
		if ((unsigned)keep[i] > from)
			close_range(from, (unsigned)keep[i] - 1, 0);
		from = (unsigned)keep[i] + 1;
	}
	close_range(from, ~0u, 0);
	for (size_t i = 0; i < r->files; i++)
		if (r->file[i].first >= 0 && !r->file[i].given && r->file[i].f->type == FD_TYPES__FD_EVENTPOLL &&
		    rebuild_epoll_fill(r, &r->file[i], r->file[i].first) < 0)
			return -1;
	return 0;
}

static int open_named(struct rebuild *r, uint32_t id, uint32_t flags, bool same_size, const char *what)
{
	const struct built *b = rebuild_find(r, id);
	int fd;

	if (!b || !b->f->reg)
		return err_set(r->e, ERR_PROTOCOL, 0, "task %u: its %s is not described", r->task->ps->pid, what);
	fd = rebuild_open_path(r, b->f->reg, flags, same_size);
	if (fd < 0)
		return err_wrap(r->e, "%s", what);
	return rebuild_raise(r, fd, what);
}

/* Paths of the tree are from the root that we have now: the target's own root last. */
static int enter_fs(struct rebuild *r, int cwd, int root)
{
	const FsEntry *fs = r->task->fs;
	struct stat now, then;

	if (stat("/", &now) < 0 || fstat(root, &then) < 0)
		return err_sys(r->e, "task %u: root", r->task->ps->pid);
	if (now.st_dev != then.st_dev || now.st_ino != then.st_ino) {
		if (fchdir(root) < 0 || chroot(".") < 0)
			return err_sys(r->e, "task %u: root", r->task->ps->pid);
	}
	if (fchdir(cwd) < 0)
		return err_sys(r->e, "task %u: working directory", r->task->ps->pid);
	if (fs->has_umask)
		umask(fs->umask);
	return 0;
}

/* Past the C library: its own signals' handlers are the target's too, and the restorer is the target's. */
static int set_handlers(struct rebuild *r)
{
	struct { uint64_t handler, flags, restorer, mask; } act;
	const TaskCoreEntry *tc = r->task->threads[0]->tc;
	size_t at = 0;

	if (tc->n_sigactions != SIGACTIONS)
		return err_set(r->e, ERR_PROTOCOL, 0, "task %u: %zu signal actions instead of %d", r->task->ps->pid, tc->n_sigactions, SIGACTIONS);
	for (int sig = 1; sig <= SIGNALS; sig++) {
		const SaEntry *sa;

		if (sig == SIGKILL || sig == SIGSTOP)
			continue;
		sa = tc->sigactions[at++];
		act.handler = sa->sigaction;
		act.flags = sa->flags;
		act.restorer = sa->restorer;
		act.mask = sa->mask;
		if (syscall(SYS_rt_sigaction, sig, &act, NULL, sizeof(act.mask)) < 0)
			return err_sys(r->e, "task %u: action of signal %d", r->task->ps->pid, sig);
	}
	return 0;
}

/* The first thread's stack grew in the rounds already. What else does is told by the flags of mappings alone, for which the kernel walks all page tables:
 * too dear for every round, so only the state says it. Such memory is small, and copied. */
static int set_growing(struct rebuild *r)
{
	const MmEntry *mm = r->task->mm;

	for (size_t i = 0; i < mm->n_vmas; i++) {
		const VmaEntry *v = mm->vmas[i];

		if (v->status & VMA_STATUS_ANON_PRIVATE && !rebuild_vma_special(v) &&
		    place_set_growing(r->place, v->start, v->end, v->flags & MAP_GROWSDOWN, r->e) < 0)
			return -1;
	}
	return 0;
}

static int enter_session(struct rebuild *r)
{
	if (r->opt->keep_session) {
		if (r->task->ps->pgid == r->task->ps->pid && setpgid(0, 0) < 0)
			return err_sys(r->e, "task %u: process group of its own", r->task->ps->pid);
		return 0;
	}
	return setsid() < 0 && getsid(0) != getpid() ? err_sys(r->e, "task %u: session of its own", r->task->ps->pid) : 0;
}

static int do_inside(struct rebuild *r, int channel_fd, struct rebuild_handover *out)
{
	int cwd, root, keep[2];

	if (set_growing(r) < 0 || index_files(r) < 0 || make_room(r) < 0)
		return -1;
	out->channel_fd = -1;
	if (channel_fd >= 0) {
		/* A copy: until we succeed the caller says by the old number what went wrong. */
		out->channel_fd = fcntl(channel_fd, F_DUPFD_CLOEXEC, r->base);
		if (out->channel_fd < 0)
			return err_sys(r->e, "line to the session");
	}
	out->exe_fd = open_named(r, r->task->mm->exe_file_id, O_RDONLY, true, "executable");
	if (out->exe_fd < 0)
		return -1;
	cwd = open_named(r, r->task->fs->cwd_id, O_PATH | O_DIRECTORY, false, "working directory");
	root = cwd < 0 ? -1 : open_named(r, r->task->fs->root_id, O_PATH | O_DIRECTORY, false, "root directory");
	if (root < 0 || build_files(r) < 0)
		return -1;
	if (enter_session(r) < 0 || enter_fs(r, cwd, root) < 0)
		return -1;
	keep[0] = out->exe_fd;
	keep[1] = out->channel_fd;
	if (place_files(r, keep, 2) < 0)
		return -1;
	return set_handlers(r);
}

int rebuild_inside(const Drayage__TreeState *tree, struct place *place, const struct rebuild_options *o, int channel_fd, struct rebuild_handover *out,
		   struct err *e)
{
	struct rebuild r = { .tree = tree, .opt = o, .place = place, .e = e };
	sigset_t all;
	int rc;

	err_clear(e);
	if (rebuild_check_tree(tree, e) < 0)
		return -1;
	r.task = tree->tasks[0];
	r.stage_bit = out->stage_bit = place_stage_bit(place);
	sigfillset(&all);
	/* Not the C library's wrapper: it leaves its own signals open, whose handlers are the target's in a moment. */
	if (syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, SIGNALS / 8) < 0)
		return err_sys(e, "block signals");
	rc = do_inside(&r, channel_fd, out);
	vma_list_finish(&r.maps);
	free(r.file);
	return rc;
}
