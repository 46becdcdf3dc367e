/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/conduct/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migrate/native/capture.h"
#include "proto/base/build_id.h"
#include "proto/base/cleanup.h"

#define HUGE_SIZE (2ul << 20)
enum { LOOKS = 100 };

/* The arrays of pointers that protobuf-c wants, grown one by one. */
static void *append_to(void ***list, size_t *n, size_t size)
{
	void **more;
	void *item;

	if ((*n & (*n + 1)) == 0) { /* at 0, 1, 3, 7, ... there is no room for one more */
		more = realloc(*list, (*n * 2 + 2) * sizeof(*more));
		if (!more)
			return NULL;
		*list = more;
	}
	item = calloc(1, size);
	if (item)
		(*list)[(*n)++] = item;
	return item;
}

static void clear_message(Drayage__RoundBegin *m)
{
	for (size_t i = 0; i < m->n_vmas; i++)
		free(m->vmas[i]);
	for (size_t i = 0; i < m->n_reset; i++)
		free(m->reset[i]);
	for (size_t i = 0; i < m->n_files; i++) {
		free(m->files[i]->path);
		free(m->files[i]->build_id.data);
		free(m->files[i]);
	}
	for (size_t i = 0; i < m->n_populate; i++)
		free(m->populate[i]);
	for (size_t i = 0; i < m->n_late; i++)
		free(m->late[i]);
	free(m->late);
	free(m->vmas);
	free(m->reset);
	free(m->files);
	free(m->populate);
	drayage__round_begin__init(m);
}

static int out_of_memory(struct err *e)
{
	return err_set(e, ERR_SYSTEM, ENOMEM, "layout");
}

static struct layout_file *find_file(struct layout *l, const struct vma *v)
{
	for (size_t i = 0; i < l->files; i++) {
		struct layout_file *f = &l->file[i];

		if (f->inode == v->inode && f->dev_major == v->dev_major && f->dev_minor == v->dev_minor && strcmp(f->path, v->path) == 0)
			return f;
	}
	return NULL;
}

static struct layout_file *add_file(struct layout *l, const struct vma *v)
{
	struct layout_file *f;

	if (l->files == l->file_capacity) {
		size_t cap = l->file_capacity ? l->file_capacity * 2 : 64;

		f = realloc(l->file, cap * sizeof(*f));
		if (!f)
			return NULL;
		l->file = f;
		l->file_capacity = cap;
	}
	f = &l->file[l->files];
	*f = (struct layout_file){ .inode = v->inode, .dev_major = v->dev_major, .dev_minor = v->dev_minor, .id = (uint32_t)l->files + 1,
				   .told_size = UINT64_MAX, .path = strdup(v->path) };
	if (!f->path)
		return NULL;
	l->files++;
	return f;
}

static bool is_same_file(const struct vma *a, const struct vma *b)
{
	return a->inode == b->inode && a->dev_major == b->dev_major && a->dev_minor == b->dev_minor && strcmp(a->path, b->path) == 0;
}

/* The process runs: by now another file may lie between the same two addresses. A name says which one of those on disk it is, for what maps calls their
 * inodes is not what stat does on every file system; memory has no name of its own. */
static bool is_behind(const char *link, int fd, const struct vma *v)
{
	size_t len = strlen(v->path);
	char target[PATH_MAX + 16];
	struct stat st;
	ssize_t n;

	if (v->kind == VMA_SHMEM)
		return fstat(fd, &st) == 0 && st.st_ino == v->inode;
	n = readlink(link, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	return strncmp(target, v->path, len) == 0 && (!target[len] || strcmp(target + len, " (deleted)") == 0);
}

/* The file behind a mapping, through the mapping itself: its path may lead elsewhere by now. */
static int open_mapped(pid_t pid, const struct vma *v)
{
	char link[96];
	cleanup_fd int fd = -1;

	snprintf(link, sizeof(link), "/proc/%d/map_files/%lx-%lx", (int)pid, (unsigned long)v->start, (unsigned long)v->end);
	fd = open(link, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return fd >= 0 && is_behind(link, fd, v) ? steal_fd(&fd) : -1;
}

/* Looks for it anew. *there: it is mapped; its addresses may have changed again before it could be opened. */
static int look_for_mapped(pid_t pid, const struct vma *v, bool *there)
{
	struct vma_list now = { 0 };
	struct err ignored = { 0 };
	int fd = -1;

	*there = false;
	if (vma_list_read(&now, pid, VMA_READ_MAPS, &ignored) < 0)
		return -1;
	for (size_t i = 0; i < now.count && fd < 0; i++) {
		if (!is_same_file(&now.vma[i], v))
			continue;
		*there = true;
		fd = open_mapped(pid, &now.vma[i]);
	}
	vma_list_finish(&now);
	return fd;
}

/* A mapping that was split, joined or moved since the list was read has other addresses. */
static int open_mapped_elsewhere(pid_t pid, const struct vma *v)
{
	bool there = true;
	int fd = -1;

	for (int i = 0; i < LOOKS && there && fd < 0; i++)
		fd = look_for_mapped(pid, v, &there);
	return fd;
}

static int open_path(pid_t pid, const struct vma *v)
{
	char path[PATH_MAX + 32];
	int n = snprintf(path, sizeof(path), "/proc/%d/root%s", (int)pid, v->path);

	return v->kind != VMA_SHMEM && n < (int)sizeof(path) ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK) : -1;
}

/* -1: it is mapped no more, and what lay there memory or without a name. */
static int open_file(pid_t pid, const struct vma *v)
{
	int fd = open_mapped(pid, v);

	if (fd < 0)
		fd = open_mapped_elsewhere(pid, v);
	return fd < 0 ? open_path(pid, v) : fd;
}

/* In bytes. What is mapped no more the next layout is without; for this round, memory is as large as its mapping needs it. */
static uint64_t size_of(const struct layout_file *f, int fd, const struct vma *v)
{
	uint64_t needed = v->pgoff + (v->end - v->start);
	struct stat st;

	if (fd >= 0)
		return fstat(fd, &st) == 0 && st.st_size > 0 ? (uint64_t)st.st_size : 0;
	if (v->kind != VMA_SHMEM)
		return 0;
	return f->told_size != UINT64_MAX && f->told_size > needed ? f->told_size : needed;
}

/* A program that differs at the destination would be another program behind the same addresses. */
static int tell_build_id(int fd, Drayage__MappedFile *m)
{
	uint8_t id[BUILD_ID_MAX];

	m->build_id.len = fd >= 0 ? build_id_read(fd, id) : 0;
	if (m->build_id.len == 0)
		return 0;
	m->build_id.data = malloc(m->build_id.len);
	if (!m->build_id.data)
		return -ENOMEM;
	memcpy(m->build_id.data, id, m->build_id.len);
	m->has_build_id = 1;
	return 0;
}

/* One that may not be sealed any further is made so, any other so that it can get the seals that it has. */
static void tell_memfd(int fd, Drayage__MappedFile *m)
{
	if (strncmp(m->path, "/memfd:", 7) != 0)
		return;
	m->has_memfd_flags = 1;
	m->memfd_flags = fd >= 0 && fcntl(fd, F_GET_SEALS) == F_SEAL_SEAL ? 0 : MFD_ALLOW_SEALING;
}

/* Names the file behind a mapping; the destination is told when it is new or, being memory, has changed its size. */
static int tell_file(struct layout *l, pid_t pid, const struct vma *v, uint64_t *id, struct err *e)
{
	struct layout_file *f = find_file(l, v);
	Drayage__MappedFile *m;
	cleanup_fd int fd = -1;
	uint64_t size;

	if (!f && !(f = add_file(l, v)))
		return out_of_memory(e);
	*id = f->id;
	if (f->told_size != UINT64_MAX && v->kind != VMA_SHMEM)
		return 0;
	fd = open_file(pid, v);
	size = size_of(f, fd, v);
	if (size == f->told_size)
		return 0;
	m = append_to((void ***)&l->message.files, &l->message.n_files, sizeof(*m));
	if (!m)
		return out_of_memory(e);
	drayage__mapped_file__init(m);
	m->id = f->id;
	m->path = strdup(f->path);
	m->size = f->told_size = size;
	m->has_shmem = 1;
	m->shmem = v->kind == VMA_SHMEM;
	if (!m->path || (!m->shmem && tell_build_id(fd, m) < 0))
		return out_of_memory(e);
	if (m->shmem)
		tell_memfd(fd, m);
	return 0;
}

static bool is_staged(const struct vma *v)
{
	return !v->scratch && (v->kind == VMA_ANON || v->kind == VMA_FILE_PRIVATE || v->kind == VMA_FILE_SHARED || v->kind == VMA_SHMEM);
}

static int add_vma(struct layout *l, pid_t pid, const struct vma *v, struct err *e)
{
	VmaEntry *entry = append_to((void ***)&l->message.vmas, &l->message.n_vmas, sizeof(*entry));

	if (!entry)
		return out_of_memory(e);
	vma_entry__init(entry);
	capture_vma_entry(v, entry);
	if (v->kind == VMA_ANON)
		return run_list_add(&l->zero_ok, v->start, bytes_to_pages(v->end - v->start), RUN_DATA) < 0 ? out_of_memory(e) : 0;
	return tell_file(l, pid, v, &entry->shmid, e);
}

static int add_range(Drayage__Range ***list, size_t *n, uint64_t start, uint64_t end, struct err *e)
{
	Drayage__Range *r = append_to((void ***)list, n, sizeof(*r));

	if (!r)
		return out_of_memory(e);
	drayage__range__init(r);
	r->start = start;
	r->end = end;
	return 0;
}

/* Whole 2 MiB pieces of private anonymous mappings that a data run covers. Runs and mappings both ascend. */
static int add_populate(struct layout *l, const struct vma_list *vmas, const struct run_list *runs, struct err *e)
{
	size_t i = 0, k = 0;

	while (i < vmas->count && k < runs->count) {
		const struct vma *v = &vmas->vma[i];
		const struct page_run *r = &runs->run[k];
		uint64_t start = v->start > r->addr ? v->start : r->addr, end = v->end < run_end(r) ? v->end : run_end(r);

		start = (start + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1);
		end &= ~(HUGE_SIZE - 1);
		if (v->kind == VMA_ANON && r->kind == RUN_DATA && start < end &&
		    add_range(&l->message.populate, &l->message.n_populate, start, end, e) < 0)
			return -1;
		if (v->end < run_end(r))
			i++;
		else
			k++;
	}
	return 0;
}

int layout_build(struct layout *l, pid_t pid, const struct vma_list *vmas, const struct collected *c, uint32_t round, bool last,
		 struct err *e)
{
	clear_message(&l->message);
	run_list_clear(&l->zero_ok);
	l->message.round = round;
	l->message.last = last;
	for (size_t i = 0; i < vmas->count; i++)
		if (is_staged(&vmas->vma[i]) && add_vma(l, pid, &vmas->vma[i], e) < 0)
			return -1;
	for (size_t i = 0; i < c->reset.count; i++)
		if (add_range(&l->message.reset, &l->message.n_reset, c->reset.run[i].addr, run_end(&c->reset.run[i]), e) < 0)
			return -1;
	return round == 1 ? add_populate(l, vmas, &c->runs, e) : 0;
}

int layout_add_late(struct layout *l, const struct run_list *late, struct err *e)
{
	for (size_t i = 0; i < late->count; i++) {
		uint64_t start = late->run[i].addr, end = run_end(&late->run[i]);

		if (add_range(&l->message.reset, &l->message.n_reset, start, end, e) < 0 ||
		    add_range(&l->message.late, &l->message.n_late, start, end, e) < 0)
			return -1;
	}
	return 0;
}

void layout_finish(struct layout *l)
{
	clear_message(&l->message);
	for (size_t i = 0; i < l->files; i++)
		free(l->file[i].path);
	free(l->file);
	run_list_finish(&l->zero_ok);
	*l = (struct layout){ 0 };
}
