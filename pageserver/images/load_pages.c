/* SPDX-License-Identifier: Apache-2.0 */
/* Extents that follow each other in a pages file are read by one call, wherever they belong: small ones are as cheap as large ones then. Such a
 * stretch is a job; the threads take jobs in the file's order. */
#include "pageserver/images/load_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "pageserver/images/pagemap.h"
#include "proto/base/cleanup.h"
#include "proto/base/grow.h"
#include "proto/image/image.h"
#include "proto/wire/runs.h"

enum { JOB_BYTES = 4 << 20, JOB_PIECES = 256, THREADS_MAX = 16 };

struct piece { uint64_t addr, bytes; };
struct job { int fd; uint64_t offset, bytes; size_t first, pieces; };

struct load {
	struct place *place;
	char *base;         /* of shared memory; NULL: addresses are the task's */
	uint64_t base_bytes;
	bool punch;
	struct piece *piece;
	size_t pieces, piece_room;
	struct job *job;
	size_t jobs, job_room;
	_Atomic size_t next;
	/* The first that failed. */
	_Atomic int error;
	_Atomic uint64_t failed_at;
};

/* ---- from extents to jobs ---- */

static int add_piece(struct load *l, uint64_t addr, uint64_t bytes, int fd, uint64_t offset)
{
	struct job *j = l->jobs ? &l->job[l->jobs - 1] : NULL;

	if (!j || j->fd != fd || j->offset + j->bytes != offset || j->bytes == JOB_BYTES || j->pieces == JOB_PIECES) {
		if (!array_room(&l->job, l->jobs, &l->job_room, sizeof(*l->job), 64))
			return -ENOMEM;
		j = &l->job[l->jobs++];
		*j = (struct job){ .fd = fd, .offset = offset, .first = l->pieces };
	}
	if (!array_room(&l->piece, l->pieces, &l->piece_room, sizeof(*l->piece), 64))
		return -ENOMEM;
	l->piece[l->pieces++] = (struct piece){ addr, bytes };
	j->bytes += bytes;
	j->pieces++;
	return 0;
}

/* Pieces end where a job is full, and where a huge page may begin: no job makes half of one. */
static int add_range(struct load *l, uint64_t addr, uint64_t bytes, int fd, uint64_t offset)
{
	while (bytes) {
		const struct job *j = l->jobs ? &l->job[l->jobs - 1] : NULL;
		uint64_t room = JOB_BYTES, n;

		if (j && j->fd == fd && j->offset + j->bytes == offset && j->bytes < JOB_BYTES)
			room = JOB_BYTES - j->bytes;
		n = (addr | (JOB_BYTES - 1)) + 1 - addr;
		n = n < room ? n : room;
		n = n < bytes ? n : bytes;
		if (add_piece(l, addr, n, fd, offset) < 0)
			return -ENOMEM;
		addr += n, offset += n, bytes -= n;
	}
	return 0;
}

/* What lies between the ranges to skip, which are few. */
static int add_extent(struct load *l, const struct page_extent *x, const struct load_options *o)
{
	uint64_t at = x->vaddr, end = x->vaddr + pages_to_bytes(x->nr);

	while (at < end) {
		uint64_t stop = end, skip_to = at;

		for (size_t i = 0; !l->base && i < o->skips; i++) {
			if (o->skip[i].start <= at && at < o->skip[i].end)
				skip_to = o->skip[i].end;
			else if (o->skip[i].start > at && o->skip[i].start < stop)
				stop = o->skip[i].start;
		}
		if (skip_to > at)
			stop = skip_to;
		else if (add_range(l, at, stop - at, x->fd, x->offset + (at - x->vaddr)) < 0)
			return -ENOMEM;
		at = stop;
	}
	return 0;
}

static int add_map(struct load *l, struct pagemap_reader *r, const struct load_options *o, struct err *e)
{
	struct page_extent x;
	int rc;

	while ((rc = pagemap_next(r, &x, e)) == 1) {
		if (o->leave_lazy && x.flags & PAGE_LAZY)
			continue;
		if (!(x.flags & PAGE_PRESENT))
			return err_set(e, ERR_UNSUPPORTED, 0, "the pages at 0x%" PRIx64 " are still where they were dumped (lazy): restore with lazy-pages",
				       x.vaddr);
		if (add_extent(l, &x, o) < 0)
			return err_set(e, ERR_SYSTEM, ENOMEM, "page map");
	}
	return rc;
}

/* ---- jobs ---- */

static int where(const struct load *l, const struct piece *p, struct iovec *iov)
{
	struct page_run run = { .addr = p->addr, .pages = (uint32_t)bytes_to_pages(p->bytes), .kind = RUN_DATA };

	if (!l->base)
		return place_iovec(l->place, &run, iov);
	if (p->addr > l->base_bytes || p->bytes > l->base_bytes - p->addr)
		return -EFAULT;
	*iov = (struct iovec){ l->base + p->addr, p->bytes };
	return 0;
}

static int read_whole(int fd, struct iovec *iov, int n, uint64_t offset)
{
	while (n > 0) {
		ssize_t got = preadv(fd, iov, n, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EPIPE;
		offset += (uint64_t)got;
		for (; n > 0 && (size_t)got >= iov->iov_len; n--)
			got -= (ssize_t)iov++->iov_len;
		if (n > 0) {
			iov->iov_base = (char *)iov->iov_base + got;
			iov->iov_len -= (size_t)got;
		}
	}
	return 0;
}

/* The reader's descriptors may not write. */
static int give_back(const struct job *j)
{
	char path[40];
	cleanup_fd int fd = -1;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", j->fd);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)j->offset, (off_t)j->bytes) < 0 ? -errno : 0;
}

static int run_job(struct load *l, const struct job *j, uint64_t *at)
{
	struct iovec iov[JOB_PIECES];
	int rc;

	for (size_t i = 0; i < j->pieces; i++) {
		*at = l->piece[j->first + i].addr;
		rc = where(l, &l->piece[j->first + i], &iov[i]);
		if (rc < 0)
			return rc;
	}
	*at = l->piece[j->first].addr;
	rc = read_whole(j->fd, iov, (int)j->pieces, j->offset);
	return rc == 0 && l->punch ? give_back(j) : rc;
}

static void *work(void *arg)
{
	struct load *l = arg;

	while (atomic_load_explicit(&l->error, memory_order_relaxed) == 0) {
		size_t i = atomic_fetch_add(&l->next, 1);
		uint64_t at = 0;
		int rc, none = 0;

		if (i >= l->jobs)
			break;
		rc = run_job(l, &l->job[i], &at);
		if (rc < 0 && atomic_compare_exchange_strong(&l->error, &none, rc))
			atomic_store(&l->failed_at, at);
	}
	return NULL;
}

static void run_jobs(struct load *l, unsigned threads)
{
	pthread_t thread[THREADS_MAX];
	unsigned n = 0;

	/* One that can't be had is done without. */
	while (n + 1 < threads && n < THREADS_MAX && n + 1 < l->jobs && pthread_create(&thread[n], NULL, work, l) == 0)
		n++;
	work(l);
	while (n > 0)
		pthread_join(thread[--n], NULL);
}

static int tell(const struct load *l, struct err *e)
{
	int num = -atomic_load(&l->error);
	uint64_t at = atomic_load(&l->failed_at);

	if (num == 0)
		return 0;
	if (num == EFAULT)
		return err_set(e, ERR_PROTOCOL, 0, "the page at 0x%" PRIx64 " is outside of every %s", at, l->base ? "segment" : "private mapping");
	if (num == EPIPE)
		return err_set(e, ERR_PROTOCOL, 0, "the pages file ends before the page at 0x%" PRIx64, at);
	return err_set(e, num == EDQUOT ? ERR_LIMIT : ERR_SYSTEM, num, "the page at 0x%" PRIx64, at);
}

static int map_shared(struct load *l, uint32_t file_id, struct err *e)
{
	int fd = place_file_fd(l->place, file_id);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(e, ERR_INTERNAL, 0, "shared memory %u is not staged", file_id);
	l->base_bytes = ((uint64_t)st.st_size + DRAY_PAGE_SIZE - 1) & ~(uint64_t)(DRAY_PAGE_SIZE - 1);
	l->base = mmap(NULL, l->base_bytes ? l->base_bytes : DRAY_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (l->base == MAP_FAILED) {
		l->base = NULL;
		return err_sys(e, "map shared memory %u", file_id);
	}
	return 0;
}

static int load_map(struct load *l, struct pagemap_reader *r, const struct load_map *map, const struct load_options *o, uint64_t *pages, struct err *e)
{
	if ((map->kind == PAGEMAP_SHMEM && map_shared(l, map->file_id, e) < 0) || add_map(l, r, o, e) < 0)
		return -1;
	run_jobs(l, o->threads);
	if (tell(l, e) < 0)
		return -1;
	for (size_t i = 0; i < l->jobs; i++)
		*pages += bytes_to_pages(l->job[i].bytes);
	return 0;
}

int load_pages(struct place *p, const struct load_map *map, const struct load_options *o, uint64_t *pages, struct err *e)
{
	struct load l = { .place = p, .punch = o->punch };
	struct pagemap_reader *r = pagemap_open(o->dirfd, map->kind, map->id, e);
	char name[IMAGE_NAME_MAX];
	int rc;

	if (!r)
		return -1;
	rc = load_map(&l, r, map, o, pages, e);
	if (l.base)
		munmap(l.base, l.base_bytes ? l.base_bytes : DRAY_PAGE_SIZE);
	free(l.piece);
	free(l.job);
	pagemap_close(r);
	image_name(map->kind == PAGEMAP_TASK ? IMAGE_PAGEMAP : IMAGE_PAGEMAP_SHMEM, map->id, name);
	return rc < 0 ? err_wrap(e, "%s", name) : 0;
}
