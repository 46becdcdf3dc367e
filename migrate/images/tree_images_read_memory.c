/* SPDX-License-Identifier: Apache-2.0 */
/* Shared memory, and whether the parts of the set fit together. */
#include "migrate/images/tree_images_read_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "proto/image/vma_status.h"

static MemfdInodeEntry *inode(const struct tree_read *r, uint64_t id)
{
	for (size_t i = 0; i < r->tree->n_memfds; i++)
		if (r->tree->memfds[i]->inode_id == id)
			return r->tree->memfds[i];
	return NULL;
}

static int check_memfds(struct tree_read *r)
{
	for (size_t i = 0; i < r->tree->n_memfds; i++) {
		const MemfdInodeEntry *m = r->tree->memfds[i];

		if (inode(r, m->inode_id) != m || m->inode_id > UINT32_MAX || m->size >= 1ull << 47)
			return err_set(r->e, ERR_PROTOCOL, 0, "memfd.img: memory %llu of %llu bytes, or it is there twice",
				       (unsigned long long)m->inode_id, (unsigned long long)m->size);
		if (m->has_hugetlb_flag && m->hugetlb_flag)
			return err_set(r->e, ERR_UNSUPPORTED, 0, "task %u: memfd %s of huge pages (hugetlb)", r->task->ps->pid, m->name);
	}
	return 0;
}

/* ---- segments that are known by a number only (criu before 3.15): they get an object and a file like the others ---- */

static MemfdInodeEntry *segment_inode(struct tree_read *r, const VmaEntry *v)
{
	Drayage__TreeState *t = r->tree;
	uint64_t last = 0;
	MemfdInodeEntry *m;

	for (size_t i = 0; i < t->n_memfds; i++) {
		if (t->memfds[i]->shmid == v->shmid)
			return t->memfds[i];
		last = t->memfds[i]->inode_id > last ? t->memfds[i]->inode_id : last;
	}
	m = TREE_NEW(r, memfd_inode_entry);
	if (tree_push(r, &t->memfds, &t->n_memfds, m) < 0)
		return NULL;
	m->inode_id = last + 1;
	m->shmid = (uint32_t)v->shmid;
	m->seals = 1; /* F_SEAL_SEAL */
	m->name = strdup("/dev/zero");
	if (!m->name)
		err_set(r->e, ERR_SYSTEM, ENOMEM, "shared memory");
	return m->name ? m : NULL;
}

static int segment_file(struct tree_read *r, uint32_t inode_id, uint64_t *id)
{
	Drayage__TreeState *t = r->tree;
	FileEntry *f;

	for (size_t i = 0; i < t->n_files; i++) {
		if (t->files[i]->memfd && t->files[i]->memfd->inode_id == inode_id) {
			*id = t->files[i]->id;
			return 0;
		}
	}
	f = TREE_NEW(r, file_entry);
	if (f)
		f->id = t->n_files ? t->files[t->n_files - 1]->id + 1 : 1; /* ascending */
	if (tree_push(r, &t->files, &t->n_files, f) < 0 || !(f->memfd = TREE_NEW(r, memfd_file_entry)) ||
	    !(f->memfd->fown = TREE_NEW(r, fown_entry)))
		return -1;
	f->type = FD_TYPES__FD_MEMFD;
	f->memfd->id = f->id;
	f->memfd->flags = O_RDWR;
	f->memfd->inode_id = inode_id;
	*id = f->id;
	return f->id ? 0 : err_set(r->e, ERR_PROTOCOL, 0, "files.img: no file number is left");
}

static int name_segment(struct tree_read *r, VmaEntry *v)
{
	MemfdInodeEntry *m;

	if (v->shmid > UINT32_MAX || v->pgoff >= 1ull << 47 || v->end < v->start || v->end > 1ull << 47)
		return err_set(r->e, ERR_PROTOCOL, 0, "mm-%u.img: mapping %llx-%llx makes no sense", r->task->ps->pid, (unsigned long long)v->start,
			       (unsigned long long)v->end);
	m = segment_inode(r, v);
	if (!m)
		return -1;
	if (m->size < v->pgoff + (v->end - v->start))
		m->size = v->pgoff + (v->end - v->start);
	v->status = (v->status & ~(uint32_t)VMA_STATUS_ANON_SHARED) | VMA_STATUS_FILE_SHARED | VMA_STATUS_MEMFD;
	return segment_file(r, (uint32_t)m->inode_id, &v->shmid);
}

int tree_read_memory(struct tree_read *r)
{
	Drayage__TreeState *t = r->tree;

	if (tree_read_list(r, IMAGE_MEMFD, 0, &memfd_inode_entry__descriptor, &t->memfds, &t->n_memfds) < 0 || check_memfds(r) < 0)
		return -1;
	for (size_t i = 0; i < r->task->mm->n_vmas; i++) {
		VmaEntry *v = r->task->mm->vmas[i];

		if (v->status & VMA_STATUS_ANON_SHARED && !(v->status & VMA_STATUS_SYSV) && name_segment(r, v) < 0)
			return -1;
	}
	return 0;
}

/* ---- links ---- */

static int need_reg(struct tree_read *r, uint64_t id, const char *file, const char *what)
{
	const FileEntry *f = tree_file(r, id);

	if (f && f->reg)
		return 0;
	return err_set(r->e, ERR_PROTOCOL, 0, "%s-%u.img: %s is file %llu, which files.img lacks", file, r->task->ps->pid, what, (unsigned long long)id);
}

static int check_vma(struct tree_read *r, const VmaEntry *v)
{
	const FileEntry *f = tree_file(r, v->shmid);

	if (!(v->status & (VMA_STATUS_FILE_PRIVATE | VMA_STATUS_FILE_SHARED)))
		return 0;
	if (f && (v->status & VMA_STATUS_MEMFD ? f->memfd != NULL : f->reg != NULL))
		return 0;
	return err_set(r->e, ERR_PROTOCOL, 0, "mm-%u.img: mapping %llx-%llx is of file %llu, which files.img lacks", r->task->ps->pid,
		       (unsigned long long)v->start, (unsigned long long)v->end, (unsigned long long)v->shmid);
}

static bool has_descriptor(const struct tree_read *r, uint32_t fd)
{
	size_t low = 0, high = r->task->n_fds;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (r->task->fds[mid]->fd < fd)
			low = mid + 1;
		else
			high = mid;
	}
	return low < r->task->n_fds && r->task->fds[low]->fd == fd;
}

static int check_file(struct tree_read *r, const FileEntry *f)
{
	char name[64];

	tree_file_name(r, f->id, name);
	if (f->memfd && !inode(r, f->memfd->inode_id))
		return err_set(r->e, ERR_PROTOCOL, 0, "files.img: file %u is memory %u, which memfd.img lacks", f->id, f->memfd->inode_id);
	if (f->fifo && !(f->fifo->has_regf_id && tree_file(r, f->fifo->regf_id) && tree_file(r, f->fifo->regf_id)->reg))
		return err_set(r->e, ERR_PROTOCOL, 0, "files.img: FIFO %u has no path", f->id);
	for (size_t i = 0; f->epfd && i < f->epfd->n_tfd; i++)
		if (!has_descriptor(r, f->epfd->tfd[i]->tfd))
			return err_set(r->e, ERR_UNSUPPORTED, 0, "task %u %s: epoll that watches fd %u, which is closed", r->task->ps->pid, name,
				       f->epfd->tfd[i]->tfd);
	return 0;
}

int tree_check_links(struct tree_read *r)
{
	const Drayage__TaskState *t = r->task;

	if (need_reg(r, t->mm->exe_file_id, "mm", "the executable") < 0 || need_reg(r, t->fs->cwd_id, "fs", "the working directory") < 0 ||
	    need_reg(r, t->fs->root_id, "fs", "the root directory") < 0)
		return -1;
	for (size_t i = 0; i < t->mm->n_vmas; i++)
		if (check_vma(r, t->mm->vmas[i]) < 0)
			return -1;
	for (size_t i = 0; i < r->tree->n_files; i++)
		if (check_file(r, r->tree->files[i]) < 0)
			return -1;
	return 0;
}
