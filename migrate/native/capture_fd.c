/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptor table: one list of kinds for what can be carried and what can't, and who shares a description with whom. */
#include "migrate/native/capture_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/proc_text.h"

enum { MAX_FDINFO = 16 << 20, LINK_MAX_ = 4096 };

static bool link_is(const struct fd_desc *d, const char *prefix)
{
	return strncmp(d->link, prefix, strlen(prefix)) == 0;
}

static bool is_socket(const struct fd_desc *d) { return S_ISSOCK(d->st.st_mode); }
static bool is_pipe(const struct fd_desc *d) { return S_ISFIFO(d->st.st_mode) && link_is(d, "pipe:["); }
static bool is_fifo(const struct fd_desc *d) { return S_ISFIFO(d->st.st_mode) && d->link[0] == '/'; }
static bool is_eventfd(const struct fd_desc *d) { return link_is(d, "anon_inode:[eventfd"); }
static bool is_epoll(const struct fd_desc *d) { return link_is(d, "anon_inode:[eventpoll"); }
static bool is_timerfd(const struct fd_desc *d) { return link_is(d, "anon_inode:[timerfd"); }
static bool is_signalfd(const struct fd_desc *d) { return link_is(d, "anon_inode:[signalfd"); }
static bool is_inotify(const struct fd_desc *d) { return link_is(d, "anon_inode:inotify") || link_is(d, "anon_inode:[inotify"); }
static bool is_memfd(const struct fd_desc *d) { return link_is(d, "/memfd:") && d->deleted && S_ISREG(d->st.st_mode); }

static bool is_reg(const struct fd_desc *d)
{
	if (S_ISREG(d->st.st_mode) || S_ISDIR(d->st.st_mode) || S_ISLNK(d->st.st_mode))
		return d->link[0] == '/';
	if (!S_ISCHR(d->st.st_mode) || major(d->st.st_rdev) != 1)
		return false;
	switch (minor(d->st.st_rdev)) {
	case 3: /* null */
	case 5: /* zero */
	case 7: /* full */
	case 8: /* random */
	case 9: /* urandom */
		return true;
	default:
		return false;
	}
}

/* Refused by name. */
static bool is_terminal(const struct fd_desc *d)
{
	unsigned m = major(d->st.st_rdev);

	return S_ISCHR(d->st.st_mode) && (m == 4 || m == 5 || (m >= 128 && m <= 143) || m == 188 || m == 204);
}
static bool is_secret(const struct fd_desc *d) { return link_is(d, "/secretmem"); }
static bool is_uring(const struct fd_desc *d) { return link_is(d, "anon_inode:[io_uring]"); }
static bool is_uffd(const struct fd_desc *d) { return link_is(d, "anon_inode:[userfaultfd]"); }
static bool is_perf(const struct fd_desc *d) { return link_is(d, "anon_inode:[perf_event]"); }
static bool is_fanotify(const struct fd_desc *d) { return link_is(d, "anon_inode:[fanotify]"); }
static bool is_pidfd(const struct fd_desc *d) { return link_is(d, "anon_inode:[pidfd]") || link_is(d, "pidfd:["); }
static bool is_bpf(const struct fd_desc *d) { return link_is(d, "anon_inode:bpf") || link_is(d, "anon_inode:[bpf"); }
static bool is_kvm(const struct fd_desc *d) { return link_is(d, "anon_inode:kvm") || link_is(d, "anon_inode:[kvm"); }
static bool is_namespace(const struct fd_desc *d)
{
	static const char *const names[] = { "mnt:[", "net:[", "ipc:[", "uts:[", "user:[", "cgroup:[", "time:[", "pid:[", "time_for_children:[", "pid_for_children:[" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (link_is(d, names[i]))
			return true;
	}
	return false;
}
static bool is_device(const struct fd_desc *d) { return S_ISCHR(d->st.st_mode) || S_ISBLK(d->st.st_mode); }
static bool is_anything(const struct fd_desc *d) { (void)d; return true; }

/* First match counts. */
static const struct fd_kind kinds[] = {
	{ "socket", FD_TYPES__FD_INETSK, is_socket, socket_check, socket_save },
	{ "pipe", FD_TYPES__FD_PIPE, is_pipe, pipe_check, pipe_save },
	{ "FIFO", FD_TYPES__FD_FIFO, is_fifo, fifo_check, fifo_save },
	{ "eventfd", FD_TYPES__FD_EVENTFD, is_eventfd, NULL, eventfd_save },
	{ "epoll", FD_TYPES__FD_EVENTPOLL, is_epoll, epoll_check, epoll_save },
	{ "timerfd", FD_TYPES__FD_TIMERFD, is_timerfd, NULL, timerfd_save },
	{ "signalfd", FD_TYPES__FD_SIGNALFD, is_signalfd, NULL, signalfd_save },
	{ "inotify", FD_TYPES__FD_INOTIFY, is_inotify, inotify_check, inotify_save },
	{ "memfd", FD_TYPES__FD_MEMFD, is_memfd, memfd_check, memfd_save },
	{ "secret memory", FD_TYPES__FD_UND, is_secret, NULL, NULL },
	{ "file", FD_TYPES__FD_REG, is_reg, reg_check, reg_save },
	{ "terminal", FD_TYPES__FD_TTY, is_terminal, NULL, NULL },
	{ "device", FD_TYPES__FD_UND, is_device, NULL, NULL },
	{ "io_uring", FD_TYPES__FD_UND, is_uring, NULL, NULL },
	{ "userfaultfd", FD_TYPES__FD_UND, is_uffd, NULL, NULL },
	{ "perf event", FD_TYPES__FD_UND, is_perf, NULL, NULL },
	{ "fanotify", FD_TYPES__FD_FANOTIFY, is_fanotify, NULL, NULL },
	{ "pidfd", FD_TYPES__FD_PIDFD, is_pidfd, NULL, NULL },
	{ "BPF object", FD_TYPES__FD_BPFMAP, is_bpf, NULL, NULL },
	{ "KVM", FD_TYPES__FD_UND, is_kvm, NULL, NULL },
	{ "namespace", FD_TYPES__FD_NS, is_namespace, NULL, NULL },
	{ "object of an unknown kind", FD_TYPES__FD_UND, is_anything, NULL, NULL },
};

/* ---- reading the table ---- */

/* 1 read, 0 it was closed meanwhile, -1 error. */
static int read_one(struct capture *c, int links, int infos, const char *name, struct fd_desc *d)
{
	static const char suffix[] = " (deleted)";
	char link[LINK_MAX_];
	ssize_t len = readlinkat(links, name, link, sizeof(link) - 1);
	size_t info_len;
	uint64_t flags;

	*d = (struct fd_desc){ .fd = atoi(name) };
	if (len < 0 || fstatat(links, name, &d->st, 0) < 0)
		return errno == ENOENT ? 0 : err_sys(c->e, "task %d fd %s", c->pid, name);
	link[len] = '\0';
	if (len > (ssize_t)strlen(suffix) && strcmp(link + len - strlen(suffix), suffix) == 0) {
		d->deleted = true;
		link[len - (ssize_t)strlen(suffix)] = '\0';
	}
	d->info = file_read(infos, name, MAX_FDINFO, &info_len, c->e);
	if (!d->info) {
		if (c->e->num != ENOENT)
			return -1;
		err_clear(c->e);
		return 0;
	}
	d->link = strdup(link);
	if (!d->link) {
		free(d->info);
		return err_set(c->e, ERR_SYSTEM, ENOMEM, "descriptors");
	}
	flags = text_number(d->info, "flags", 8, 0);
	d->pos = text_number(d->info, "pos", 10, 0);
	d->flags = (uint32_t)flags & ~(uint32_t)O_CLOEXEC;
	d->cloexec = flags & O_CLOEXEC;
	for (d->kind = kinds; !d->kind->is(d); d->kind++)
		;
	return 1;
}

static int by_number(const void *a, const void *b)
{
	const struct fd_desc *x = a, *y = b;

	return (x->fd > y->fd) - (x->fd < y->fd);
}

static int read_table(struct capture *c, DIR *dir, int infos)
{
	size_t room = 0;
	struct dirent *entry;

	while ((entry = readdir(dir))) {
		int rc;

		if (entry->d_name[0] == '.')
			continue;
		if (c->fds == room) {
			struct fd_desc *grown = realloc(c->fd, (room = room ? room * 2 : 32) * sizeof(*grown));

			if (!grown)
				return err_set(c->e, ERR_SYSTEM, ENOMEM, "descriptors");
			c->fd = grown;
		}
		rc = read_one(c, dirfd(dir), infos, entry->d_name, &c->fd[c->fds]);
		if (rc < 0)
			return -1;
		c->fds += (size_t)rc;
	}
	if (c->fds)
		qsort(c->fd, c->fds, sizeof(*c->fd), by_number);
	return 0;
}

/* ---- sharing ---- */

static int compare_keys(const struct fd_desc *a, const struct fd_desc *b)
{
	if (a->st.st_dev != b->st.st_dev)
		return a->st.st_dev < b->st.st_dev ? -1 : 1;
	if (a->st.st_ino != b->st.st_ino)
		return a->st.st_ino < b->st.st_ino ? -1 : 1;
	return (a->flags > b->flags) - (a->flags < b->flags);
}

/* Descriptors of one description have equal inode and flags; only among such is the kernel asked, whose answer is an order too. */
static int by_description(const void *a, const void *b, void *pid)
{
	const struct fd_desc *x = *(const struct fd_desc *const *)a, *y = *(const struct fd_desc *const *)b;
	pid_t p = *(pid_t *)pid;
	int keys = compare_keys(x, y);
	long rc;

	if (keys || x == y)
		return keys;
	rc = syscall(SYS_kcmp, p, p, KCMP_FILE, (unsigned long)x->fd, (unsigned long)y->fd);
	if (rc == 1 || rc == 2)
		return rc == 1 ? -1 : 1;
	return (x->fd > y->fd) - (x->fd < y->fd); /* equal: the lower number leads */
}

static bool same_description(pid_t pid, const struct fd_desc *a, const struct fd_desc *b)
{
	return compare_keys(a, b) == 0 && syscall(SYS_kcmp, pid, pid, KCMP_FILE, (unsigned long)a->fd, (unsigned long)b->fd) == 0;
}

static int find_sharing(struct capture *c)
{
	cleanup_free struct fd_desc **order = calloc(c->fds ? c->fds : 1, sizeof(struct fd_desc *));
	struct fd_desc *leader = NULL;

	if (!order)
		return err_set(c->e, ERR_SYSTEM, ENOMEM, "descriptors");
	for (size_t i = 0; i < c->fds; i++)
		order[i] = &c->fd[i];
	qsort_r(order, c->fds, sizeof(*order), by_description, &c->pid);
	for (size_t i = 0; i < c->fds; i++) {
		order[i]->again = leader && same_description(c->pid, leader, order[i]);
		if (!order[i]->again) {
			leader = order[i];
			leader->file_id = ++c->last_id;
		}
		order[i]->file_id = leader->file_id;
	}
	return 0;
}

int capture_fds_read(struct capture *c)
{
	int links = openat(c->procfd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *dir = links >= 0 ? fdopendir(links) : NULL;
	cleanup_fd int infos = openat(c->procfd, "fdinfo", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (!dir || infos < 0)
		return err_sys(c->e, "descriptors of task %d", c->pid);
	if (read_table(c, dir, infos) < 0 || find_sharing(c) < 0)
		return -1;
	for (size_t i = 0; i < c->fds; i++) {
		if (is_socket(&c->fd[i]) && !c->fd[i].again && socket_read(c, &c->fd[i]) < 0)
			return -1;
	}
	return 0;
}

/* ---- check and save ---- */

static void check_lock(struct capture *c, const struct fd_desc *d)
{
	const char *lock = text_field(d->info, "lock");
	char kind[16];

	if (lock && sscanf(lock, "%*s %15s", kind) == 1)
		capture_fd_obstacle(c, d, NULL, "file lock (%s) on %s", kind, d->link);
}

int capture_fds_check(struct capture *c)
{
	for (size_t i = 0; i < c->fds; i++) {
		struct fd_desc *d = &c->fd[i];

		if (d->again)
			continue;
		if (!d->kind->save) {
			capture_fd_obstacle(c, d, NULL, "%s%s%s", d->kind->name, d->link[0] ? " " : "", d->link);
			continue;
		}
		check_lock(c, d);
		if (d->kind->check && d->kind->check(c, d) < 0) {
			struct err closed;

			/* Of a running process any descriptor may be gone by now; what takes its number is seen in the freeze. */
			if (c->r || c->e->num != EBADF)
				return -1;
			err_clear(&closed);
			*c->e = closed;
		}
	}
	return 0;
}

static int save_descriptor(struct capture *c, const struct fd_desc *d)
{
	FdinfoEntry *f = CAPTURE_NEW(c, fdinfo_entry);

	if (capture_push(c, &c->task->fds, &c->task->n_fds, f) < 0)
		return -1;
	f->id = d->file_id;
	f->fd = (uint32_t)d->fd;
	f->flags = d->cloexec ? 1 : 0; /* FD_CLOEXEC */
	f->type = is_socket(d) ? FD_TYPES__FD_INETSK : d->kind->type;
	return 0;
}

/* Sockets share one kind here but not in the images; who leads a description knows. */
static void settle_types(struct capture *c)
{
	for (size_t i = 0; i < c->task->n_fds; i++) {
		FdinfoEntry *f = c->task->fds[i];

		for (size_t k = 0; f->type == FD_TYPES__FD_INETSK && k < c->tree->n_files; k++) {
			if (c->tree->files[k]->id == f->id) {
				f->type = c->tree->files[k]->type;
				break;
			}
		}
	}
}

int capture_fds_save(struct capture *c)
{
	for (size_t i = 0; i < c->fds; i++) {
		struct fd_desc *d = &c->fd[i];
		FileEntry *f;

		if (save_descriptor(c, d) < 0)
			return -1;
		if (d->again)
			continue;
		f = capture_file(c, d->kind->type, d->file_id);
		if (!f || d->kind->save(c, d, f) < 0)
			return -1;
	}
	settle_types(c);
	return 0;
}
