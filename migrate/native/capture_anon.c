/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors without a file whose state fdinfo tells: eventfd, epoll, timerfd, signalfd, inotify. */
#include "migrate/native/capture_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/proc_text.h"

static const char *next_line(const char *at)
{
	at = strchr(at, '\n');
	return at ? at + 1 : NULL;
}

int eventfd_save(struct capture *c, struct fd_desc *d, FileEntry *f)
{
	cleanup_fd int local = capture_fd_open(c, d);
	EventfdFileEntry *x;
	Drayage__FileExt *ext;

	if (local < 0)
		return -1;
	f->efd = x = CAPTURE_NEW(c, eventfd_file_entry);
	if (!x || !(x->fown = capture_fown(c, d, local)) || !(ext = capture_file_ext(c, f->id)))
		return -1;
	x->id = f->id;
	x->flags = d->flags;
	x->counter = text_number(d->info, "eventfd-count", 16, 0);
	ext->has_eventfd_semaphore = true;
	ext->eventfd_semaphore = text_number(d->info, "eventfd-semaphore", 10, 0) != 0;
	return 0;
}

int signalfd_save(struct capture *c, struct fd_desc *d, FileEntry *f)
{
	cleanup_fd int local = capture_fd_open(c, d);
	SignalfdEntry *x;

	if (local < 0)
		return -1;
	f->sgfd = x = CAPTURE_NEW(c, signalfd_entry);
	if (!x || !(x->fown = capture_fown(c, d, local)))
		return -1;
	x->id = f->id;
	x->flags = d->flags;
	x->sigmask = text_number(d->info, "sigmask", 16, 0);
	return 0;
}

static bool two_numbers(const char *text, const char *key, uint64_t *s, uint64_t *ns)
{
	const char *v = text_field(text, key);
	unsigned long long a, b;

	if (!v || sscanf(v, "(%llu, %llu)", &a, &b) != 2)
		return false;
	*s = a;
	*ns = b;
	return true;
}

int timerfd_save(struct capture *c, struct fd_desc *d, FileEntry *f)
{
	cleanup_fd int local = capture_fd_open(c, d);
	TimerfdEntry *x;
	Drayage__FileExt *ext;

	if (local < 0)
		return -1;
	f->tfd = x = CAPTURE_NEW(c, timerfd_entry);
	if (!x || !(x->fown = capture_fown(c, d, local)) || !(ext = capture_file_ext(c, f->id)))
		return -1;
	x->id = f->id;
	x->flags = d->flags;
	x->clockid = (uint32_t)text_number(d->info, "clockid", 10, 0);
	x->ticks = text_number(d->info, "ticks", 10, 0);
	x->settime_flags = (uint32_t)text_number(d->info, "settime flags", 8, 0);
	ext->has_timerfd_ticks = true;
	ext->timerfd_ticks = x->ticks;
	if (!two_numbers(d->info, "it_value", &x->vsec, &x->vnsec) || !two_numbers(d->info, "it_interval", &x->isec, &x->insec))
		return err_set(c->e, ERR_SYSTEM, EPROTO, "task %d fd %d: state of a timerfd", c->pid, d->fd);
	return 0;
}

/* ---- epoll ---- */

struct watch { int fd; unsigned events; unsigned long long data; long long pos; unsigned long ino; unsigned dev; };

static const char *next_watch(const char *at, struct watch *w)
{
	for (; at && *at; at = next_line(at)) {
		if (sscanf(at, "tfd: %d events: %x data: %llx pos:%lli ino:%lx sdev:%x", &w->fd, &w->events, &w->data, &w->pos, &w->ino, &w->dev) == 6)
			return at;
	}
	return NULL;
}

static long epoll_watches(const struct capture *c, const struct fd_desc *d, int fd, uint32_t nth)
{
	struct kcmp_epoll_slot where = { .efd = (uint32_t)d->fd, .tfd = (uint32_t)fd, .toff = nth };

	return syscall(SYS_kcmp, c->pid, c->pid, KCMP_EPOLL_TFD, (unsigned long)fd, &where);
}

/* An epoll watches descriptions, remembered by the number they had: it must still be that one. A socket is known by its inode; of the
 * rest the kernel is asked, also whether it remembers a second one by that number. */
static bool still_watched(const struct capture *c, const struct fd_desc *d, const struct watch *w)
{
	const struct fd_desc *target = capture_fd_find(c, w->fd);

	if (!target)
		return false;
	if (S_ISSOCK(target->st.st_mode))
		return target->st.st_ino == w->ino;
	return epoll_watches(c, d, w->fd, 0) == 0 && epoll_watches(c, d, w->fd, 1) < 0;
}

int epoll_check(struct capture *c, struct fd_desc *d)
{
	struct watch w;

	/* While it runs, descriptors come and go between two looks. */
	for (const char *at = c->r ? next_watch(d->info, &w) : NULL; at; at = next_watch(next_line(at), &w)) {
		if (!still_watched(c, d, &w))
			capture_fd_obstacle(c, d, NULL, "epoll that still watches what was descriptor %d before it was closed", w.fd);
	}
	return 0;
}

int epoll_save(struct capture *c, struct fd_desc *d, FileEntry *f)
{
	cleanup_fd int local = capture_fd_open(c, d);
	EventpollFileEntry *x;
	struct watch w;

	if (local < 0)
		return -1;
	f->epfd = x = CAPTURE_NEW(c, eventpoll_file_entry);
	if (!x || !(x->fown = capture_fown(c, d, local)))
		return -1;
	x->id = f->id;
	x->flags = d->flags;
	for (const char *at = next_watch(d->info, &w); at; at = next_watch(next_line(at), &w)) {
		EventpollTfdEntry *t = CAPTURE_NEW(c, eventpoll_tfd_entry);

		if (capture_push(c, &x->tfd, &x->n_tfd, t) < 0)
			return -1;
		t->tfd = (uint32_t)w.fd;
		t->events = w.events;
		t->data = w.data;
		t->has_dev = t->has_inode = t->has_pos = true;
		t->dev = w.dev, t->inode = w.ino, t->pos = (uint64_t)w.pos;
	}
	return 0;
}

/* ---- inotify: the kernel tells inodes and their file handles; a handle opened tells a path again ---- */

enum { HANDLE_MAX = 128, KERNEL_MINOR_BITS = 20 };
struct mark { unsigned wd, dev, mask; unsigned long ino; unsigned bytes; int type; char hex[HANDLE_MAX * 2 + 2]; };

static const char *next_mark(const char *at, struct mark *m)
{
	for (; at && *at; at = next_line(at)) {
		const char *handle;

		m->bytes = 0;
		m->hex[0] = '\0';
		if (sscanf(at, "inotify wd:%x ino:%lx sdev:%x mask:%x", &m->wd, &m->ino, &m->dev, &m->mask) != 4)
			continue;
		handle = strstr(at, "fhandle-bytes:");
		if (handle && (!next_line(at) || handle < next_line(at)) &&
		    sscanf(handle, "fhandle-bytes:%x fhandle-type:%x f_handle:%256[0-9a-f]", &m->bytes, (unsigned *)&m->type, m->hex) != 3)
			m->bytes = 0;
		return at;
	}
	return NULL;
}

/* Any mount of that filesystem will do to open a handle. */
static int open_mount(const struct mark *m)
{
	cleanup_file FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[8192], point[4096];
	unsigned dev_major, dev_minor;

	while (f && fgets(line, sizeof(line), f)) {
		int fd;

		if (sscanf(line, "%*d %*d %u:%u %*s %4095s", &dev_major, &dev_minor, point) != 3 || dev_major != m->dev >> KERNEL_MINOR_BITS ||
		    dev_minor != (m->dev & ((1u << KERNEL_MINOR_BITS) - 1)))
			continue;
		fd = open(point, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
		if (fd >= 0)
			return fd;
	}
	return -1;
}

static bool handle_bytes(const struct mark *m, unsigned char *bytes)
{
	if (m->bytes == 0 || m->bytes > HANDLE_MAX || strlen(m->hex) != 2 * (size_t)m->bytes)
		return false;
	for (unsigned i = 0; i < m->bytes; i++) {
		unsigned byte;

		if (sscanf(m->hex + (size_t)2 * i, "%2x", &byte) != 1)
			return false;
		bytes[i] = (unsigned char)byte;
	}
	return true;
}

static bool mark_path(const struct mark *m, char *path, size_t size)
{
	_Alignas(struct file_handle) unsigned char room[sizeof(struct file_handle) + HANDLE_MAX];
	struct file_handle *h = (struct file_handle *)room;
	cleanup_fd int mount = -1;
	cleanup_fd int fd = -1;
	char link[48];
	struct stat opened, named;
	ssize_t len;

	if (!handle_bytes(m, h->f_handle))
		return false;
	h->handle_bytes = m->bytes;
	h->handle_type = m->type;
	mount = open_mount(m);
	if (mount < 0 || (fd = open_by_handle_at(mount, h, O_PATH | O_CLOEXEC)) < 0)
		return false;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, size - 1);
	if (len <= 0)
		return false;
	path[len] = '\0';
	return path[0] == '/' && fstat(fd, &opened) == 0 && stat(path, &named) == 0 && opened.st_ino == m->ino &&
	       opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

int inotify_check(struct capture *c, struct fd_desc *d)
{
	cleanup_fd int local = capture_fd_open(c, d);
	char path[4096];
	struct mark m;
	int waiting = 0;

	if (local < 0)
		return -1;
	if (c->r && ioctl(local, FIONREAD, &waiting) == 0 && waiting > 0)
		capture_fd_obstacle(c, d, NULL, "inotify with %d bytes of events that were not read", waiting);
	for (const char *at = next_mark(d->info, &m); at; at = next_mark(next_line(at), &m)) {
		if (!mark_path(&m, path, sizeof(path)))
			capture_fd_obstacle(c, d, NULL, "inotify watch %u: inode %lu has no path that can be found", m.wd, m.ino);
	}
	return 0;
}

/* As CRIU has it: the handle in 16 words, and the path for where handles can't be opened. */
static int save_watch(struct capture *c, const struct mark *m, const char *path, InotifyFileEntry *ify)
{
	InotifyWdEntry *w = CAPTURE_NEW(c, inotify_wd_entry);
	unsigned char handle[HANDLE_MAX] = { 0 };
	FhEntry *h;

	if (capture_push(c, &ify->wd, &ify->n_wd, w) < 0 || !(w->f_handle = h = CAPTURE_NEW(c, fh_entry)))
		return -1;
	w->i_ino = m->ino;
	w->mask = m->mask;
	w->s_dev = m->dev;
	w->wd = m->wd;
	handle_bytes(m, handle);
	h->bytes = m->bytes;
	h->type = (uint32_t)m->type;
	h->path = strdup(path);
	h->handle = malloc(sizeof(handle));
	if (!h->path || !h->handle)
		return err_set(c->e, ERR_SYSTEM, ENOMEM, "description");
	memcpy(h->handle, handle, sizeof(handle));
	h->n_handle = sizeof(handle) / sizeof(*h->handle);
	return 0;
}

static int save_watch_ext(struct capture *c, const struct mark *m, const char *path, Drayage__FileExt *x)
{
	Drayage__InotifyWatch *w = CAPTURE_NEW(c, drayage__inotify_watch);

	if (capture_push(c, &x->inotify, &x->n_inotify, w) < 0)
		return -1;
	w->wd = m->wd;
	w->mask = m->mask;
	w->path = strdup(path);
	return w->path ? 0 : err_set(c->e, ERR_SYSTEM, ENOMEM, "description");
}

int inotify_save(struct capture *c, struct fd_desc *d, FileEntry *f)
{
	cleanup_fd int local = capture_fd_open(c, d);
	Drayage__FileExt *x = capture_file_ext(c, f->id);
	char path[4096];
	struct mark m;

	if (local < 0 || !x || !(f->ify = CAPTURE_NEW(c, inotify_file_entry)) || !(f->ify->fown = capture_fown(c, d, local)))
		return -1;
	f->ify->id = f->id;
	f->ify->flags = d->flags;
	x->has_inotify_flags = true;
	x->inotify_flags = d->flags;
	for (const char *at = next_mark(d->info, &m); at; at = next_mark(next_line(at), &m)) {
		if (!mark_path(&m, path, sizeof(path)))
			return err_set(c->e, ERR_UNSUPPORTED, 0, "task %d fd %d: inotify watch %u has no path", c->pid, d->fd, m.wd);
		if (save_watch(c, &m, path, f->ify) < 0 || save_watch_ext(c, &m, path, x) < 0)
			return -1;
	}
	return 0;
}
