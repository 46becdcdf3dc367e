/* SPDX-License-Identifier: Apache-2.0 */
/* Memory without a file behind it that can be shared: memfd and shared anonymous mappings. One object, any number of descriptors and mappings. */
#include "migrate/native/capture_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "proto/base/cleanup.h"

enum { REST_MAX = 8 << 20, HUGETLBFS = 0x958458f6, PIECE = 4096 };

struct shm_object *capture_shm(struct capture *c, uint64_t dev, uint64_t ino, const char *name, int fd)
{
	struct shm_object *s, *grown;
	MemfdInodeEntry *m;
	struct stat st;
	int seals;

	for (size_t i = 0; i < c->shms; i++) {
		if (c->shm[i].dev == dev && c->shm[i].ino == ino) {
			cleanup_fd_(&fd);
			return &c->shm[i];
		}
	}
	if (fd < 0)
		return NULL;
	grown = realloc(c->shm, (c->shms + 1) * sizeof(*grown));
	m = CAPTURE_NEW(c, memfd_inode_entry);
	if (grown)
		c->shm = grown;
	if (!grown || fstat(fd, &st) < 0 || capture_push(c, &c->tree->memfds, &c->tree->n_memfds, m) < 0) {
		err_set(c->e, ERR_SYSTEM, grown ? errno : ENOMEM, "shared memory %s", name);
		close(fd);
		return NULL;
	}
	s = &c->shm[c->shms++];
	*s = (struct shm_object){ .dev = dev, .ino = ino, .inode_id = (uint32_t)c->shms, .fd = fd };
	seals = fcntl(fd, F_GET_SEALS);
	m->name = strdup(name);
	m->uid = st.st_uid, m->gid = st.st_gid, m->size = (uint64_t)st.st_size;
	m->shmid = s->inode_id;
	m->inode_id = s->inode_id;
	m->seals = seals > 0 ? (uint32_t)seals : 0;
	m->has_mode = true;
	m->mode = st.st_mode;
	if (!m->name) {
		err_set(c->e, ERR_SYSTEM, ENOMEM, "description");
		return NULL;
	}
	return s;
}

int memfd_check(struct capture *c, struct fd_desc *d)
{
	cleanup_fd int local = -1;
	struct statfs fs;

	if (d->flags & O_PATH) {
		capture_fd_obstacle(c, d, NULL, "memfd opened with O_PATH");
		return 0;
	}
	local = capture_fd_open(c, d);
	if (local < 0)
		return -1;
	if (fstatfs(local, &fs) == 0 && fs.f_type == HUGETLBFS)
		capture_fd_obstacle(c, d, NULL, "memfd %s of huge pages (hugetlb)", d->link);
	return 0;
}

int memfd_save(struct capture *c, struct fd_desc *d, FileEntry *f)
{
	cleanup_fd int local = capture_fd_open(c, d);
	struct shm_object *s;
	MemfdFileEntry *m;
	int keep;

	if (local < 0)
		return -1;
	f->memfd = m = CAPTURE_NEW(c, memfd_file_entry);
	if (!m || !(m->fown = capture_fown(c, d, local)))
		return -1;
	m->id = f->id;
	m->flags = d->flags;
	m->pos = d->pos;
	keep = fcntl(local, F_DUPFD_CLOEXEC, 0);
	if (keep < 0)
		return err_sys(c->e, "task %d fd %d", c->pid, d->fd);
	s = capture_shm(c, d->st.st_dev, d->st.st_ino, d->link + strlen("/memfd:"), keep);
	if (!s)
		return -1;
	m->inode_id = s->inode_id;
	return 0;
}

/* ---- what no mapping covers goes into the description, for pages only travel by address ---- */

static bool mapped_at(const struct capture *c, const struct shm_object *s, uint64_t offset, uint64_t *until)
{
	*until = UINT64_MAX;
	for (size_t i = 0; i < c->vmas.count; i++) {
		const struct vma *v = &c->vmas.vma[i];
		uint64_t end = v->pgoff + (v->end - v->start);

		if (v->kind != VMA_SHMEM || v->inode != s->ino || v->scratch)
			continue;
		if (offset >= v->pgoff && offset < end) {
			*until = end;
			return true;
		}
		if (v->pgoff > offset && v->pgoff < *until)
			*until = v->pgoff;
	}
	return false;
}

static int save_piece(struct capture *c, const struct shm_object *s, uint64_t from, uint64_t to)
{
	Drayage__MemfdData *m = CAPTURE_NEW(c, drayage__memfd_data);
	const char *name = c->tree->memfds[s->inode_id - 1]->name;

	if (capture_push(c, &c->tree->memfd_data, &c->tree->n_memfd_data, m) < 0)
		return -1;
	c->memfd_bytes += to - from;
	if (c->memfd_bytes > REST_MAX) {
		capture_obstacle(c, NULL, "task %d: memfd %s holds more than %d MiB that is not mapped", c->pid, name, REST_MAX >> 20);
		return 0;
	}
	m->inode_id = s->inode_id;
	m->offset = from;
	m->data.data = malloc(to - from);
	if (!m->data.data)
		return err_set(c->e, ERR_SYSTEM, ENOMEM, "contents of memfd %s", name);
	m->data.len = to - from;
	for (uint64_t at = from; at < to;) {
		ssize_t got = pread(s->fd, m->data.data + (at - from), to - at, (off_t)at);

		if (got <= 0)
			return err_set(c->e, ERR_SYSTEM, got < 0 ? errno : EIO, "contents of memfd %s", name);
		at += (uint64_t)got;
	}
	return 0;
}

static int save_uncovered(struct capture *c, const struct shm_object *s, uint64_t from, uint64_t to)
{
	while (from < to) {
		off_t data = lseek(s->fd, (off_t)from, SEEK_DATA), hole;
		uint64_t end;

		if (data < 0)
			return errno == ENXIO ? 0 : err_sys(c->e, "contents of shared memory");
		if ((uint64_t)data >= to)
			return 0;
		hole = lseek(s->fd, data, SEEK_HOLE);
		end = hole < 0 || (uint64_t)hole > to ? to : (uint64_t)hole;
		if (save_piece(c, s, (uint64_t)data, end) < 0)
			return -1;
		from = end;
	}
	return 0;
}

/* lseek moves a position: of memory that a descriptor was taken from it is the target's own, so it is put back. */
static int save_rest(struct capture *c, const struct shm_object *s)
{
	uint64_t size = c->tree->memfds[s->inode_id - 1]->size, until;
	off_t position = lseek(s->fd, 0, SEEK_CUR);
	int rc = 0;

	for (uint64_t at = 0; rc == 0 && at < size; at = until) {
		bool mapped = mapped_at(c, s, at, &until);

		if (until > size)
			until = size;
		if (!mapped)
			rc = save_uncovered(c, s, at, until);
	}
	if (position >= 0)
		lseek(s->fd, position, SEEK_SET);
	return rc;
}

int capture_shm_rest(struct capture *c)
{
	for (size_t i = 0; i < c->shms && !c->opt->shared_memory_apart; i++) {
		if (save_rest(c, &c->shm[i]) < 0)
			return -1;
	}
	return 0;
}
