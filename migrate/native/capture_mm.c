/* SPDX-License-Identifier: Apache-2.0 */
/* The mappings: which can't be carried, and each as a vma_entry. */
#include "migrate/native/capture_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "migrate/track/pagemap.h"
#include "proto/base/cleanup.h"
#include "proto/image/vma_status.h"
#include "proto/base/proc_text.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 8
#endif

static const struct { uint64_t flag; unsigned advice; } advices[] = {
	{ VMF_DONTFORK, MADV_DONTFORK }, { VMF_WIPEONFORK, MADV_WIPEONFORK }, { VMF_DONTDUMP, MADV_DONTDUMP }, { VMF_HUGEPAGE, MADV_HUGEPAGE },
	{ VMF_NOHUGEPAGE, MADV_NOHUGEPAGE }, { VMF_MERGEABLE, MADV_MERGEABLE }, { VMF_SEQ_READ, MADV_SEQUENTIAL }, { VMF_RAND_READ, MADV_RANDOM },
};

static uint32_t status_of(const struct vma *v)
{
	switch (v->kind) {
	case VMA_ANON:
		return VMA_STATUS_REGULAR | VMA_STATUS_ANON_PRIVATE | (v->heap ? VMA_STATUS_HEAP : 0);
	case VMA_FILE_PRIVATE:
		return VMA_STATUS_REGULAR | VMA_STATUS_FILE_PRIVATE;
	case VMA_FILE_SHARED:
		return VMA_STATUS_REGULAR | VMA_STATUS_FILE_SHARED;
	case VMA_SHMEM:
		return VMA_STATUS_REGULAR | VMA_STATUS_FILE_SHARED | VMA_STATUS_MEMFD;
	case VMA_VDSO:
		return VMA_STATUS_REGULAR | VMA_STATUS_VDSO | VMA_STATUS_ANON_PRIVATE;
	case VMA_VVAR:
		return VMA_STATUS_REGULAR | VMA_STATUS_VVAR | VMA_STATUS_ANON_PRIVATE;
	case VMA_VSYSCALL:
		return VMA_STATUS_VSYSCALL | VMA_STATUS_ANON_PRIVATE;
	case VMA_AIO:
	case VMA_HUGETLB:
	case VMA_OTHER:
		break;
	}
	return 0; /* refused before it comes here */
}

static uint32_t map_flags(const struct vma *v)
{
	uint32_t flags = v->shared ? MAP_SHARED : MAP_PRIVATE;

	if (v->vm_flags & VMF_DROPPABLE)
		flags = MAP_DROPPABLE;
	if (v->kind == VMA_ANON || v->kind == VMA_VDSO || v->kind == VMA_VVAR || v->kind == VMA_VSYSCALL)
		flags |= MAP_ANONYMOUS;
	if (v->grows_down)
		flags |= MAP_GROWSDOWN;
	if (v->vm_flags & VMF_NORESERVE)
		flags |= MAP_NORESERVE;
	if (v->vm_flags & VMF_LOCKED)
		flags |= MAP_LOCKED;
	return flags;
}

void capture_vma_entry(const struct vma *v, VmaEntry *out)
{
	vma_entry__init(out);
	out->start = v->start;
	out->end = v->end;
	out->pgoff = v->kind == VMA_FILE_PRIVATE || v->kind == VMA_FILE_SHARED || v->kind == VMA_SHMEM ? v->pgoff : 0;
	out->prot = (uint32_t)v->prot;
	out->flags = map_flags(v);
	out->status = status_of(v);
	out->fd = -1;
	for (size_t i = 0; i < sizeof(advices) / sizeof(advices[0]); i++) {
		if (v->vm_flags & advices[i].flag)
			out->madv |= 1ULL << advices[i].advice;
	}
	out->has_madv = out->madv != 0;
}

/* ---- check ---- */

static void obstacle(struct capture *c, const struct vma *v, const char *what)
{
	capture_obstacle(c, NULL, "task %d mapping %lx-%lx: %s%s%s", c->pid, v->start, v->end, what, v->path[0] ? " " : "", v->path);
}

static int map_file_stat(struct capture *c, const struct vma *v, struct stat *st, bool follow)
{
	char path[64];

	snprintf(path, sizeof(path), "map_files/%lx-%lx", v->start, v->end);
	return fstatat(c->procfd, path, st, follow ? 0 : AT_SYMLINK_NOFOLLOW);
}

static struct mapped_file *mapped_file(struct capture *c, const struct vma *v, uint32_t flags)
{
	uint64_t dev = makedev(v->dev_major, v->dev_minor);
	struct mapped_file *grown;

	for (size_t i = 0; i < c->mappeds; i++) {
		struct mapped_file *m = &c->mapped[i];

		if (m->dev == dev && m->ino == v->inode && m->flags == flags && strcmp(m->path, v->path) == 0)
			return m;
	}
	if ((c->mappeds & (c->mappeds - 1)) == 0) {
		grown = realloc(c->mapped, (c->mappeds ? c->mappeds * 2 : 1) * sizeof(*grown));
		if (!grown) {
			err_set(c->e, ERR_SYSTEM, ENOMEM, "mapped files");
			return NULL;
		}
		c->mapped = grown;
	}
	c->mapped[c->mappeds] = (struct mapped_file){ .path = v->path, .dev = dev, .ino = v->inode, .flags = flags };
	return &c->mapped[c->mappeds++];
}

/* How it was opened decides what a later mprotect may do; map_files' own mode tells. */
static uint32_t open_flags(struct capture *c, const struct vma *v)
{
	struct stat link;

	if (v->kind == VMA_FILE_SHARED && map_file_stat(c, v, &link, false) == 0 && (link.st_mode & S_IWUSR))
		return O_RDWR;
	return v->kind == VMA_SHMEM ? O_RDWR : O_RDONLY;
}

static int check_file(struct capture *c, const struct vma *v)
{
	struct mapped_file *m;
	struct stat mapped, named;

	if (v->deleted) {
		obstacle(c, v, strncmp(v->path, "/memfd:", 7) == 0 ? "private mapping of memfd" : "deleted file");
		return 0;
	}
	m = mapped_file(c, v, open_flags(c, v));
	if (!m)
		return -1;
	if (m->checked)
		return 0;
	m->checked = true;
	if (map_file_stat(c, v, &mapped, true) < 0)
		return errno == ENOENT && !c->r ? 0 : err_sys(c->e, "task %d mapping %lx-%lx: %s", c->pid, v->start, v->end, v->path);
	if (stat(v->path, &named) < 0)
		obstacle(c, v, "file that can't be reached from here:");
	else if (named.st_dev != mapped.st_dev || named.st_ino != mapped.st_ino)
		obstacle(c, v, "file that was replaced by another of that name:");
	return 0;
}

static void check_flags(struct capture *c, const struct vma *v)
{
	if (v->vm_flags & VMF_SHADOW_STACK)
		obstacle(c, v, "shadow stack");
	if ((v->vm_flags & VMF_SEALED) && v->kind != VMA_VDSO && v->kind != VMA_VVAR && v->kind != VMA_VSYSCALL)
		obstacle(c, v, "sealed memory");
	/* In the freeze it is the tracker's. */
	if ((v->vm_flags & VMF_UFFD) && !c->r && !c->opt->tracked)
		obstacle(c, v, "memory registered with a userfaultfd");
}

static int check_mapping(struct capture *c, const struct vma *v)
{
	check_flags(c, v);
	switch (v->kind) {
	case VMA_FILE_PRIVATE:
	case VMA_FILE_SHARED:
		return check_file(c, v);
	case VMA_SHMEM:
		if (strncmp(v->path, "/SYSV", 5) == 0)
			obstacle(c, v, "System V shared memory");
		break;
	case VMA_AIO:
		obstacle(c, v, "AIO ring");
		break;
	case VMA_HUGETLB:
		obstacle(c, v, "huge pages (hugetlb)");
		break;
	case VMA_OTHER:
		obstacle(c, v, strncmp(v->path, "anon_inode:[io_uring", 20) == 0 ? "io_uring ring" :
			       strcmp(v->path, "/secretmem") == 0 ? "secret memory" : "device or special memory");
		break;
	case VMA_ANON:
	case VMA_VDSO:
	case VMA_VVAR:
	case VMA_VSYSCALL:
		break;
	}
	return 0;
}

/* A directory entry of /proc: does that process map the memory? Those that can't be looked at are passed over. */
static bool maps_it(const char *pid, const struct vma *v)
{
	char path[64], line[4096 + 128];
	cleanup_file FILE *f = NULL;

	snprintf(path, sizeof(path), "/proc/%s/maps", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		unsigned dev_major, dev_minor;
		unsigned long ino;

		if (sscanf(line, "%*s %*s %*s %x:%x %lu", &dev_major, &dev_minor, &ino) == 3 && ino == v->inode && dev_major == v->dev_major &&
		    dev_minor == v->dev_minor)
			return true;
	}
	return false;
}

/* Only before the freeze, for it reads the mappings of every process: who begins to share later is not seen. */
static void check_sharers(struct capture *c, const struct vma *v)
{
	cleanup_dir DIR *dir = opendir("/proc");
	struct dirent *d;

	while (dir && (d = readdir(dir))) {
		pid_t pid = (pid_t)atoi(d->d_name);

		if (pid > 0 && pid != c->pid && maps_it(d->d_name, v)) {
			char what[64];

			snprintf(what, sizeof(what), "memory shared with process %d:", pid);
			obstacle(c, v, what);
			return;
		}
	}
}

static bool first_of_object(const struct capture *c, size_t index)
{
	for (size_t i = 0; i < index; i++) {
		const struct vma *v = &c->vmas.vma[i];

		if (v->kind == VMA_SHMEM && v->inode == c->vmas.vma[index].inode)
			return false;
	}
	return true;
}

/* ---- reading: with the flags, or with those that were seen before ---- */

/* Of huge pages no discount: tracking splits those that are written to, so what was seen as huge before the rounds is small ones by now. */
static bool walk_is_short(const struct capture *c)
{
	return text_number(c->status, "VmRSS", 10, 0) * 1024 < CAPTURE_WALK_SHORT;
}

/* Returns the bytes locked. */
static uint64_t take_seen_flags(struct capture *c)
{
	uint64_t locked = 0;
	size_t at = 0;

	for (size_t i = 0; i < c->vmas.count; i++) {
		struct vma *v = &c->vmas.vma[i];
		const struct vma *was = vma_list_seen_as(c->seen, v, &at);

		if (was) {
			v->vm_flags = was->vm_flags;
			v->grows_down = was->grows_down;
			v->kind = was->kind == VMA_OTHER ? VMA_OTHER : v->kind;
		}
		if (v->vm_flags & VMF_LOCKED)
			locked += v->end - v->start;
	}
	return locked;
}

static int read_mappings(struct capture *c)
{
	if (!c->seen || c->seen->count == 0 || walk_is_short(c))
		return vma_list_read(&c->vmas, c->pid, VMA_READ_SMAPS, c->e);
	if (vma_list_read(&c->vmas, c->pid, VMA_READ_MAPS, c->e) < 0)
		return -1;
	c->walk_spared = take_seen_flags(c) == text_number(c->status, "VmLck", 10, 0) * 1024;
	if (c->walk_spared)
		return 0;
	return vma_list_read(&c->vmas, c->pid, VMA_READ_SMAPS, c->e);
}

/* Pages that fault by MADV_GUARD_INSTALL: no mapping shows them. One scan of all page tables, so not where the walk is spared. */
static int note_guard(void *arg, const struct scan_region *r)
{
	struct capture *c = arg;

	capture_obstacle(c, NULL, "task %d mapping %lx-%lx: guard region (MADV_GUARD_INSTALL)", c->pid, r->start, r->end);
	return -ECANCELED; /* one says it */
}

static int check_guards(struct capture *c)
{
	struct scan_query q = { .mask = SCAN_GUARD, .report = SCAN_GUARD };
	cleanup_free struct scan_region *room = malloc(SCAN_VECTOR * sizeof(*room));
	size_t last = c->vmas.count;
	cleanup_fd int fd = proc_pagemap_open(c->pid);

	if (!room || fd < 0)
		return err_set(c->e, ERR_SYSTEM, room ? -fd : ENOMEM, "pages of task %d", c->pid);
	while (last && c->vmas.vma[last - 1].kind == VMA_VSYSCALL) /* beyond what can be scanned */
		last--;
	if (last) /* kernels that have no such pages refuse the question */
		pagemap_scan(fd, c->vmas.vma[0].start, c->vmas.vma[last - 1].end, &q, room, note_guard, c);
	return 0;
}

int capture_mm_check(struct capture *c)
{
	if (read_mappings(c) < 0)
		return -1;
	if (!c->walk_spared && check_guards(c) < 0)
		return -1;
	if (c->r && c->r->scratch && vma_list_mark_scratch(&c->vmas, c->r->scratch, c->r->scratch + c->r->scratch_len) < 0)
		return err_set(c->e, ERR_SYSTEM, ENOMEM, "mappings");
	for (size_t i = 0; i < c->vmas.count; i++) {
		const struct vma *v = &c->vmas.vma[i];

		if (v->scratch)
			continue;
		if (check_mapping(c, v) < 0)
			return -1;
		if (v->kind == VMA_SHMEM && !c->r && first_of_object(c, i))
			check_sharers(c, v);
	}
	return 0;
}

/* ---- save ---- */

static int name_file(struct capture *c, const struct vma *v, VmaEntry *out)
{
	uint32_t flags = open_flags(c, v);
	struct mapped_file *m = mapped_file(c, v, flags);

	if (!m || (!m->file_id && reg_entry(c, v->path, flags, true, &m->file_id) < 0))
		return -1;
	out->shmid = m->file_id;
	out->has_fdflags = true;
	out->fdflags = flags;
	return 0;
}

static struct shm_object *shm_of(struct capture *c, const struct vma *v)
{
	struct shm_object *s = capture_shm(c, makedev(v->dev_major, v->dev_minor), v->inode, NULL, -1);
	char path[64];
	int fd;

	if (s)
		return s;
	snprintf(path, sizeof(path), "map_files/%lx-%lx", v->start, v->end);
	fd = openat(c->procfd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		err_sys(c->e, "task %d mapping %lx-%lx: %s", c->pid, v->start, v->end, v->path);
		return NULL;
	}
	return capture_shm(c, makedev(v->dev_major, v->dev_minor), v->inode,
			   strncmp(v->path, "/memfd:", 7) == 0 ? v->path + 7 : "/dev/zero", fd);
}

static int name_shm(struct capture *c, const struct vma *v, VmaEntry *out)
{
	struct shm_object *s = shm_of(c, v);

	if (!s)
		return -1;
	if (!s->map_file_id) {
		FileEntry *f = capture_file(c, FD_TYPES__FD_MEMFD, ++c->last_id);

		if (!f || !(f->memfd = CAPTURE_NEW(c, memfd_file_entry)) || !(f->memfd->fown = CAPTURE_NEW(c, fown_entry)))
			return -1;
		f->memfd->id = f->id;
		f->memfd->flags = O_RDWR;
		f->memfd->inode_id = s->inode_id;
		s->map_file_id = f->id;
	}
	out->shmid = s->map_file_id;
	out->has_fdflags = true;
	out->fdflags = O_RDWR;
	return 0;
}

static int save_ext(struct capture *c, const struct vma *v)
{
	Drayage__TaskExt *t = c->task->ext;
	Drayage__VmaExt *x;

	if (!(v->vm_flags & (VMF_LOCKED | VMF_LOCKONFAULT)) && v->kind != VMA_SHMEM)
		return 0;
	x = CAPTURE_NEW(c, drayage__vma_ext);
	if (capture_push(c, &t->vmas, &t->n_vmas, x) < 0)
		return -1;
	x->start = v->start;
	x->has_locked = x->has_lock_on_fault = x->has_always_resend = true;
	x->locked = v->vm_flags & VMF_LOCKED;
	x->lock_on_fault = v->vm_flags & VMF_LOCKONFAULT;
	x->always_resend = v->kind == VMA_SHMEM;
	return 0;
}

static int save_mapping(struct capture *c, const struct vma *v)
{
	VmaEntry *out = CAPTURE_NEW(c, vma_entry);

	if (capture_push(c, &c->task->mm->vmas, &c->task->mm->n_vmas, out) < 0)
		return -1;
	capture_vma_entry(v, out);
	if ((v->kind == VMA_FILE_PRIVATE || v->kind == VMA_FILE_SHARED) && name_file(c, v, out) < 0)
		return -1;
	if (v->kind == VMA_SHMEM && name_shm(c, v, out) < 0)
		return -1;
	if (v->kind == VMA_VVAR)
		c->task->ext->vvar_len += v->end - v->start;
	if (v->kind == VMA_VDSO)
		c->task->ext->vdso_len += v->end - v->start;
	return save_ext(c, v);
}

int capture_mm_save(struct capture *c)
{
	Drayage__TaskExt *t = c->task->ext;

	t->has_vvar_len = t->has_vdso_len = true;
	for (size_t i = 0; i < c->vmas.count; i++) {
		if (!c->vmas.vma[i].scratch && save_mapping(c, &c->vmas.vma[i]) < 0)
			return -1;
	}
	if (c->r->scratch) {
		t->scratch = calloc(2, sizeof(*t->scratch));
		if (!t->scratch)
			return err_set(c->e, ERR_SYSTEM, ENOMEM, "description");
		t->scratch[0] = c->r->scratch;
		t->scratch[1] = c->r->scratch + c->r->scratch_len;
		t->n_scratch = 2;
	}
	return capture_shm_rest(c);
}
