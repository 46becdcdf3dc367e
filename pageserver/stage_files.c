/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stage_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/build_id.h"
#include "proto/base/cleanup.h"
#include "proto/wire/runs.h"

enum { MEMFD_FLAGS_KNOWN = MFD_CLOEXEC | MFD_ALLOW_SEALING | 0x0008 /* MFD_NOEXEC_SEAL */ | 0x0010 /* MFD_EXEC */ };

/* The place of an id: of its entry, or where one would be put. */
static size_t position(const struct stage_files *f, uint64_t id)
{
	size_t low = 0, high = f->count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (f->file[mid].id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct staged_file *stage_files_find(const struct stage_files *f, uint64_t id)
{
	size_t at = position(f, id);

	return at < f->count && f->file[at].id == id ? &f->file[at] : NULL;
}

/* Nothing but a regular file is opened: opening a device or a FIFO may act or block. */
static int open_regular(const char *path, int mode, struct err *e)
{
	cleanup_fd int look = open(path, O_PATH | O_CLOEXEC);
	struct stat st;
	char link[40];
	int fd;

	if (look < 0)
		return err_sys(e, "file %s", path);
	if (fstat(look, &st) < 0)
		return err_sys(e, "file %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_UNSUPPORTED, 0, "file %s: not a regular file here", path);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", look);
	fd = open(link, mode | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? err_sys(e, "open %s", path) : fd;
}

static int check_same(int fd, const Drayage__MappedFile *m, struct err *e)
{
	uint8_t id[BUILD_ID_MAX];
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "file %s", m->path);
	if ((uint64_t)st.st_size != m->size)
		return err_set(e, ERR_MISMATCH, 0, "file %s: %lld bytes here, %llu at the source", m->path, (long long)st.st_size,
			       (unsigned long long)m->size);
	if (m->has_build_id && m->build_id.len > 0) {
		size_t len = build_id_read(fd, id);

		if (len != m->build_id.len || memcmp(id, m->build_id.data, len) != 0)
			return err_set(e, ERR_MISMATCH, 0, "file %s: another build than at the source", m->path);
	}
	return 0;
}

static int open_disk_file(const Drayage__MappedFile *m, struct err *e)
{
	int fd;

	if (m->path[0] != '/')
		return err_set(e, ERR_PROTOCOL, 0, "mapped file %u: its path is not absolute", m->id);
	fd = open_regular(m->path, O_RDONLY, e);
	if (fd >= 0 && check_same(fd, m, e) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* A descriptor for a segment of shared anonymous memory: the kernel gives none, but reopens what a mapping refers to. Mappings made
 * from it look as the first one does: "/dev/zero (deleted)". */
static int make_shared_anonymous(uint64_t size, struct err *e)
{
	char path[64];
	int fd;
	uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return err_sys(e, "shared memory of %llu bytes", (unsigned long long)size);
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)p, (unsigned long)(p + size));
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		err_sys(e, "shared memory: open %s", path);
	munmap(p, size);
	return fd;
}

static int make_memfd(const Drayage__MappedFile *m, struct err *e)
{
	const char *name = m->path;
	unsigned flags = m->has_memfd_flags ? m->memfd_flags : 0;
	int fd;

	if (flags & ~(unsigned)MEMFD_FLAGS_KNOWN)
		return err_set(e, ERR_UNSUPPORTED, 0, "memfd \"%s\": flags %#x", m->path, flags);
	if (strncmp(name, "/memfd:", 7) == 0)
		name += 7;
	fd = memfd_create(name, flags | MFD_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "memfd \"%s\"", name);
	if (ftruncate(fd, (off_t)m->size) < 0) {
		err_sys(e, "memfd \"%s\" of %llu bytes", name, (unsigned long long)m->size);
		close(fd);
		return -1;
	}
	return fd;
}

static int make_memory(const Drayage__MappedFile *m, struct err *e)
{
	uint64_t size = (m->size + DRAY_PAGE_SIZE - 1) & ~(uint64_t)(DRAY_PAGE_SIZE - 1);

	bool anonymous = strcmp(m->path, "/dev/zero") == 0;

	if ((anonymous && m->size == 0) || m->size >= 1ull << 47)
		return err_set(e, ERR_PROTOCOL, 0, "shared memory \"%s\" of %llu bytes", m->path, (unsigned long long)m->size);
	return anonymous ? make_shared_anonymous(size, e) : make_memfd(m, e);
}

/* A memfd changes its size. A segment of shared anonymous memory does not, but more of it may be known than before. */
static int update(struct staged_file *f, const Drayage__MappedFile *m, struct err *e)
{
	bool shmem = m->has_shmem && m->shmem;

	if (f->shmem != shmem || strcmp(f->path, m->path) != 0)
		return err_set(e, ERR_PROTOCOL, 0, "mapped file %u is %s and shall be %s", m->id, f->path, m->path);
	if (!shmem)
		return check_same(f->fd, m, e);
	if (m->size >= 1ull << 47 || ftruncate(f->fd, (off_t)m->size) < 0)
		return err_sys(e, "shared memory \"%s\" of %llu bytes", m->path, (unsigned long long)m->size);
	return 0;
}

static int make_room(struct stage_files *f, struct err *e)
{
	size_t cap = f->capacity ? f->capacity * 2 : 64;
	struct staged_file *more;

	if (f->count < f->capacity)
		return 0;
	more = realloc(f->file, cap * sizeof(*more));
	if (!more)
		return err_set(e, ERR_SYSTEM, ENOMEM, "mapped files");
	f->file = more;
	f->capacity = cap;
	return 0;
}

int stage_files_add(struct stage_files *f, const Drayage__MappedFile *m, struct err *e)
{
	struct staged_file new = { .id = m->id, .shmem = m->has_shmem && m->shmem, .fd = -1 };
	size_t at = position(f, m->id);

	if (at < f->count && f->file[at].id == m->id)
		return update(&f->file[at], m, e);
	if (make_room(f, e) < 0)
		return -1;
	new.writable = new.shmem;
	new.fd = new.shmem ? make_memory(m, e) : open_disk_file(m, e);
	if (new.fd < 0)
		return -1;
	new.path = strdup(m->path);
	if (!new.path) {
		close(new.fd);
		return err_set(e, ERR_SYSTEM, ENOMEM, "mapped file %s", m->path);
	}
	memmove(&f->file[at + 1], &f->file[at], (f->count - at) * sizeof(new));
	f->file[at] = new;
	f->count++;
	return 0;
}

int stage_files_make_writable(struct staged_file *f, struct err *e)
{
	char link[40];
	int fd;

	if (f->writable)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", f->fd);
	fd = open(link, O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return err_sys(e, "open %s for writing", f->path);
	close(f->fd);
	f->fd = fd;
	f->writable = true;
	return 0;
}

void stage_files_finish(struct stage_files *f)
{
	for (size_t i = 0; i < f->count; i++) {
		close(f->file[i].fd);
		free(f->file[i].path);
	}
	free(f->file);
	*f = (struct stage_files){ 0 };
}
