/* SPDX-License-Identifier: Apache-2.0 */
/* Shared memory belongs to no task and no tracker sees all who write to it: each object is stored whole, by the file behind it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "migrate/dump/dump_priv.h"
#include "proto/base/cleanup.h"

enum { PIECE = 1 << 20 };

/* The object as a description of our own, so that nobody's file position moves. */
static int open_by_mapping(const struct dump_task *task, const VmaEntry *v, struct err *e)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", task->pid, (unsigned long long)v->start, (unsigned long long)v->end);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "shared memory %s", path) : fd;
}

static int open_by_descriptor(const struct dump_task *task, const FdinfoEntry *f, struct err *e)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/fd/%u", task->pid, f->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "shared memory %s", path) : fd;
}

static const FileEntry *file_of(const Drayage__TreeState *tree, uint32_t id)
{
	for (size_t i = 0; i < tree->n_files; i++)
		if (tree->files[i]->id == id)
			return tree->files[i];
	return NULL;
}

static bool is_object(const Drayage__TreeState *tree, uint64_t file_id, const MemfdInodeEntry *m)
{
	const FileEntry *f = file_of(tree, (uint32_t)file_id);

	return f && f->memfd && f->memfd->inode_id == m->inode_id;
}

static int open_object(const struct dump_task *task, const Drayage__TreeState *tree, const MemfdInodeEntry *m, struct err *e)
{
	const Drayage__TaskState *t = tree->tasks[0];

	for (size_t i = 0; i < t->n_fds; i++)
		if (t->fds[i]->type == FD_TYPES__FD_MEMFD && is_object(tree, t->fds[i]->id, m))
			return open_by_descriptor(task, t->fds[i], e);
	for (size_t i = 0; i < t->mm->n_vmas; i++) {
		const VmaEntry *v = t->mm->vmas[i];

		if ((v->flags & MAP_SHARED) && v->shmid && is_object(tree, v->shmid, m))
			return open_by_mapping(task, v, e);
	}
	return err_set(e, ERR_INTERNAL, 0, "shared memory %s: nothing leads to it", m->name);
}

/* [from, to) of the file; the last page may end behind it. */
static int write_extent(int fd, struct page_sink *sink, uint64_t from, uint64_t to, uint8_t *buf, struct err *e)
{
	while (from < to) {
		uint64_t len = to - from < PIECE ? to - from : PIECE, pages = bytes_to_pages(len + DRAY_PAGE_SIZE - 1), got = 0;

		while (got < len) {
			ssize_t n = pread(fd, buf + got, len - got, (off_t)(from + got));

			if (n < 0)
				return err_sys(e, "contents of shared memory");
			if (n == 0)
				break; /* made shorter by another of its users */
			got += (uint64_t)n;
		}
		memset(buf + got, 0, pages_to_bytes(pages) - got);
		if (sink->ops->pages(sink, from, pages, PAGE_PRESENT, buf, e) < 0)
			return -1;
		from += pages_to_bytes(pages);
	}
	return 0;
}

static int write_object(int fd, struct page_sink *sink, uint64_t size, uint8_t *buf, struct err *e)
{
	off_t at = 0;

	while ((uint64_t)at < size) {
		off_t data = lseek(fd, at, SEEK_DATA), hole;

		if (data < 0)
			return errno == ENXIO ? 0 : err_sys(e, "contents of shared memory");
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return err_sys(e, "contents of shared memory");
		data &= ~(off_t)(DRAY_PAGE_SIZE - 1);
		if (write_extent(fd, sink, (uint64_t)data, (uint64_t)hole, buf, e) < 0)
			return -1;
		at = (off_t)(((uint64_t)hole + DRAY_PAGE_SIZE - 1) & ~(DRAY_PAGE_SIZE - 1));
	}
	return 0;
}

int dump_shared_memory(const struct dump_task *task, const Drayage__TreeState *tree, struct page_sink *sink, struct err *e)
{
	cleanup_free uint8_t *buf = tree->n_memfds ? malloc(PIECE) : NULL;

	if (tree->n_memfds && !buf)
		return err_set(e, ERR_SYSTEM, ENOMEM, "buffer for shared memory");
	for (size_t i = 0; i < tree->n_memfds; i++) {
		const MemfdInodeEntry *m = tree->memfds[i];
		cleanup_fd int fd = open_object(task, tree, m, e);
		bool parent;

		if (fd < 0 || sink->ops->open(sink, PAGEMAP_SHMEM, m->shmid, &parent, e) < 0 || write_object(fd, sink, m->size, buf, e) < 0)
			return err_wrap(e, "shared memory %s", m->name);
	}
	return 0;
}
