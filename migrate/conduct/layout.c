/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/conduct/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "migrate/native/capture.h"
#include "proto/base/build_id.h"
#include "proto/base/cleanup.h"

#define HUGE_SIZE (2ul << 20)

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

/* The file behind a mapping, through the mapping itself: its path may lead elsewhere by now. */
static void map_file(char link[96], pid_t pid, const struct vma *v)
{
	snprintf(link, 96, "/proc/%d/map_files/%lx-%lx", (int)pid, (unsigned long)v->start, (unsigned long)v->end);
}

/* In bytes; of one that vanished meanwhile 0: the next layout is without it. */
static uint64_t file_size(pid_t pid, const struct vma *v)
{
	char link[96];
	struct stat st;

	map_file(link, pid, v);
	return stat(link, &st) == 0 && st.st_size > 0 ? (uint64_t)st.st_size : 0;
}

/* A program that differs at the destination would be another program behind the same addresses. */
static int tell_build_id(pid_t pid, const struct vma *v, Drayage__MappedFile *m)
{
	uint8_t id[BUILD_ID_MAX];
	char link[96];
	cleanup_fd int fd = -1;

	map_file(link, pid, v);
	fd = open(link, O_RDONLY | O_CLOEXEC);
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
static void tell_memfd(pid_t pid, const struct vma *v, Drayage__MappedFile *m)
{
	char link[96];
	cleanup_fd int fd = -1;

	if (strncmp(m->path, "/memfd:", 7) != 0)
		return;
	map_file(link, pid, v);
	fd = open(link, O_RDONLY | O_CLOEXEC);
	m->has_memfd_flags = 1;
	m->memfd_flags = fd >= 0 && fcntl(fd, F_GET_SEALS) == F_SEAL_SEAL ? 0 : MFD_ALLOW_SEALING;
}

/* Names the file behind a mapping; the destination is told when it is new or, being memory, has changed its size. */
static int tell_file(struct layout *l, pid_t pid, const struct vma *v, uint64_t *id, struct err *e)
{
	struct layout_file *f = find_file(l, v);
	Drayage__MappedFile *m;
	uint64_t size;

	if (!f && !(f = add_file(l, v)))
		return out_of_memory(e);
	*id = f->id;
	if (f->told_size != UINT64_MAX && v->kind != VMA_SHMEM)
		return 0;
	size = file_size(pid, v);
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
	if (!m->path || (!m->shmem && tell_build_id(pid, v, m) < 0))
		return out_of_memory(e);
	if (m->shmem)
		tell_memfd(pid, v, m);
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
