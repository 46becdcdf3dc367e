/* SPDX-License-Identifier: Apache-2.0 */
/* Memory files: memfds, and shared anonymous memory. Where a mapping has one, its contents were staged with that mapping, and the way to the
 * object is through our own staged mapping; otherwise it is made and filled here. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migrate/native/rebuild_priv.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"

enum { MAPS_MAX = 64 << 20 };

static const MemfdInodeEntry *inode_of(const struct rebuild *r, uint32_t inode_id)
{
	for (size_t i = 0; i < r->tree->n_memfds; i++)
		if (r->tree->memfds[i]->inode_id == inode_id)
			return r->tree->memfds[i];
	return NULL;
}

static int read_own_maps(struct rebuild *r)
{
	size_t len;
	cleanup_free char *text = NULL;

	if (r->maps.count)
		return 0;
	text = file_read(AT_FDCWD, "/proc/self/maps", MAPS_MAX, &len, r->e);
	return text ? vma_list_parse(&r->maps, text, len, VMA_READ_MAPS, r->e) : -1;
}

static bool maps_object(const struct rebuild *r, const VmaEntry *v, uint64_t inode_id)
{
	const struct built *b = v->shmid && v->shmid <= UINT32_MAX && !rebuild_vma_special(v) ? rebuild_find(r, (uint32_t)v->shmid) : NULL;

	return b && b->f->memfd && b->f->memfd->inode_id == inode_id;
}

static const VmaEntry *mapping_of(const struct rebuild *r, uint32_t inode_id)
{
	for (size_t i = 0; i < r->task->mm->n_vmas; i++) {
		if (maps_object(r, r->task->mm->vmas[i], inode_id))
			return r->task->mm->vmas[i];
	}
	return NULL;
}

/* Through the staged mapping. Plain descriptor, or -1 with the error. */
static int open_staged(struct rebuild *r, const VmaEntry *v, int flags)
{
	const struct vma *own;
	char path[96];
	int fd;

	if (read_own_maps(r) < 0)
		return -1;
	own = vma_list_find(&r->maps, v->start ^ r->stage_bit);
	if (!own)
		return err_set(r->e, ERR_INTERNAL, 0, "shared memory at %#llx was not staged", (unsigned long long)v->start);
	snprintf(path, sizeof(path), "/proc/self/map_files/%llx-%llx", (unsigned long long)own->start, (unsigned long long)own->end);
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? err_sys(r->e, "shared memory at %#llx", (unsigned long long)v->start) : fd;
}

static int fill(struct rebuild *r, const MemfdInodeEntry *m, int fd)
{
	for (size_t i = 0; i < r->tree->n_memfd_data; i++) {
		const Drayage__MemfdData *d = r->tree->memfd_data[i];

		if (d->inode_id != m->inode_id)
			continue;
		for (size_t done = 0; done < d->data.len;) {
			ssize_t n = pwrite(fd, d->data.data + done, d->data.len - done, (off_t)(d->offset + done));

			if (n <= 0)
				return err_sys(r->e, "contents of shared memory %s", m->name);
			done += (size_t)n;
		}
	}
	return 0;
}

/* Size, contents outside mappings, owner, mode; for a staged object too. */
static int finish_object(struct rebuild *r, const MemfdInodeEntry *m, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(r->e, "shared memory %s", m->name);
	if ((uint64_t)st.st_size != m->size && ftruncate(fd, (off_t)m->size) < 0)
		return err_sys(r->e, "size of shared memory %s", m->name);
	if (fill(r, m, fd) < 0)
		return -1;
	if ((st.st_uid != m->uid || st.st_gid != m->gid) && fchown(fd, m->uid, m->gid) < 0)
		return err_sys(r->e, "owner of shared memory %s", m->name);
	if (m->has_mode && (m->mode & 07777) != (st.st_mode & 07777) && fchmod(fd, m->mode & 07777) < 0)
		return err_sys(r->e, "mode of shared memory %s", m->name);
	return 0;
}

static int make_object(struct rebuild *r, const MemfdInodeEntry *m)
{
	const char *slash = strncmp(m->name, "/memfd:", 7) == 0 ? m->name + 7 : m->name;
	int fd = memfd_create(slash, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	return fd < 0 ? err_sys(r->e, "shared memory %s", m->name) : fd;
}

/* Memory that no mapping has: staged all the same where it came from images, made here otherwise. */
static int open_placed(struct rebuild *r, const MemfdInodeEntry *m)
{
	int fd = -1;

	for (size_t i = 0; r->opt->staged_by_file && fd < 0 && i < r->files; i++)
		if (r->file[i].f->memfd && r->file[i].f->memfd->inode_id == m->inode_id)
			fd = place_file_fd(r->place, r->file[i].f->id);
	if (fd < 0)
		return make_object(r, m);
	fd = rebuild_reopen(fd, O_RDWR);
	return fd < 0 ? err_sys(r->e, "shared memory %s", m->name) : fd;
}

/* Another description of the same memory is at hand when one was built before. */
static int open_object(struct rebuild *r, const MemfdInodeEntry *m, const VmaEntry *v, const struct built *b)
{
	for (size_t i = 0; i < r->files; i++) {
		const struct built *other = &r->file[i];

		if (other != b && other->fd >= 0 && other->f->memfd && other->f->memfd->inode_id == m->inode_id) {
			int fd = rebuild_reopen(other->fd, O_RDWR);

			return fd < 0 ? err_sys(r->e, "shared memory %s", m->name) : fd;
		}
	}
	return v ? open_staged(r, v, O_RDWR) : open_placed(r, m);
}

int rebuild_memfd(struct rebuild *r, struct built *b)
{
	const MemfdFileEntry *f = b->f->memfd;
	const MemfdInodeEntry *m = inode_of(r, f->inode_id);
	int fd;

	if (!m)
		return rebuild_fail(r, b, ERR_PROTOCOL, 0, "shared memory %u is not described", f->inode_id);
	fd = open_object(r, m, mapping_of(r, f->inode_id), b);
	if (fd >= 0 && (f->flags & O_ACCMODE) != O_RDWR) {
		int narrow = rebuild_reopen(fd, f->flags);

		/* The first description must be one that can fill and size the object; the narrow one is its copy. */
		if (finish_object(r, m, fd) < 0) {
			close(fd);
			cleanup_fd_(&narrow);
			return -1;
		}
		close(fd);
		fd = narrow < 0 ? err_sys(r->e, "shared memory %s", m->name) : narrow;
	} else if (fd >= 0 && finish_object(r, m, fd) < 0) {
		close(fd);
		return -1;
	}
	if (fd < 0)
		return err_wrap(r->e, "task %u fd %d", r->task->ps->pid, b->first);
	if (rebuild_take(r, b, fd, m->name) < 0)
		return -1;
	return f->pos && lseek(b->fd, (off_t)f->pos, SEEK_SET) < 0 ? rebuild_fail_sys(r, b, m->name) : 0;
}

static const struct built *description_of(const struct rebuild *r, uint64_t inode_id)
{
	for (size_t i = 0; i < r->files; i++)
		if (r->file[i].fd >= 0 && r->file[i].f->memfd && r->file[i].f->memfd->inode_id == inode_id)
			return &r->file[i];
	return NULL;
}

/* Against writing nothing can be sealed that has a mapping which may be written, as staged ones may: they are made anew behind the seal. The
 * contents are the object's. */
static int seal_and_remap(struct rebuild *r, const MemfdInodeEntry *m, int fd)
{
	const MmEntry *mm = r->task->mm;

	for (size_t i = 0; i < mm->n_vmas; i++)
		if (maps_object(r, mm->vmas[i], m->inode_id))
			munmap((void *)(uintptr_t)(mm->vmas[i]->start ^ r->stage_bit), mm->vmas[i]->end - mm->vmas[i]->start);
	if (fcntl(fd, F_ADD_SEALS, (int)m->seals) < 0)
		return err_sys(r->e, "seals %#x of shared memory %s", m->seals, m->name);
	for (size_t i = 0; i < mm->n_vmas; i++) {
		const VmaEntry *v = mm->vmas[i];
		void *at = (void *)(uintptr_t)(v->start ^ r->stage_bit);

		if (maps_object(r, v, m->inode_id) &&
		    mmap(at, v->end - v->start, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, (off_t)v->pgoff) != at)
			return err_sys(r->e, "sealed shared memory %s at %#llx", m->name, (unsigned long long)v->start);
	}
	return 0;
}

/* Last, since a sealed object can't be filled any more. */
static int seal(struct rebuild *r, const MemfdInodeEntry *m, int fd)
{
	int now = fcntl(fd, F_GET_SEALS);

	if (now < 0 || ((uint32_t)now & m->seals) == m->seals)
		return 0;
	if (fcntl(fd, F_ADD_SEALS, (int)m->seals) == 0)
		return 0;
	if (errno == EBUSY && m->seals & F_SEAL_WRITE)
		return seal_and_remap(r, m, fd);
	return err_sys(r->e, "seals %#x of shared memory %s", m->seals, m->name);
}

int rebuild_memfds_finish(struct rebuild *r)
{
	for (size_t i = 0; i < r->tree->n_memfds; i++) {
		const MemfdInodeEntry *m = r->tree->memfds[i];
		const struct built *b = description_of(r, m->inode_id);
		const VmaEntry *v = m->inode_id <= UINT32_MAX ? mapping_of(r, (uint32_t)m->inode_id) : NULL;
		cleanup_fd int fd = -1;

		if (!b && !v)
			continue;
		/* Through a description of our own, that may write. */
		fd = b ? rebuild_reopen(b->fd, O_RDWR) : open_staged(r, v, O_RDWR);
		if (fd < 0)
			return b ? err_sys(r->e, "shared memory %s", m->name) : -1;
		if (!b && finish_object(r, m, fd) < 0)
			return -1;
		if (m->seals && seal(r, m, fd) < 0)
			return -1;
	}
	return 0;
}
