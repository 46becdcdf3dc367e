/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/images/huge_room.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include "proto/wire/runs.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum {
	HUGE = 2 << 20,
	WINDOW = HUGE_ROOM_AHEAD + HUGE, /* so that it begins at a multiple of HUGE */
	MANY = HUGE / 2,                 /* bytes that a first block of huge pages is worth its while for */
	LEAVE = 4,                       /* times as much as is taken ahead stays free, for everybody else */
	SLOW_US = 16 * 1000,             /* of processor time, for 2 MiB: memory is in pieces; small pages take some 3 ms even where they are cold */
};

static uint64_t cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static uint64_t up(uint64_t offset)
{
	return (offset + HUGE - 1) / HUGE * HUGE;
}

static uint8_t *aligned(uint8_t *window)
{
	return (uint8_t *)up((uintptr_t)window);
}

/* Takes the addresses, or takes them back from a mapping of the file. */
static bool reserve(struct huge_room *r)
{
	void *p = mmap(r->window, WINDOW, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (r->window ? MAP_FIXED : 0), -1, 0);

	r->mapped = 0;
	if (p != MAP_FAILED)
		r->window = p;
	return p != MAP_FAILED;
}

static bool is_tmpfs(int fd)
{
	struct statfs f;

	return fstatfs(fd, &f) == 0 && f.f_type == TMPFS_MAGIC;
}

/* A file that grows past that limit ahead of its bytes would end the process. */
static bool may_grow(void)
{
	struct rlimit l;

	return getrlimit(RLIMIT_FSIZE, &l) == 0 && l.rlim_cur == RLIM_INFINITY;
}

void huge_room_begin(struct huge_room *r, uint64_t offset)
{
	r->wanted = true;
	r->known = r->extended = false;
	r->end = offset < HUGE ? HUGE : up(offset);
}

void huge_room_expect(struct huge_room *r, uint64_t offset, uint64_t len)
{
	if (!r->extended && offset < HUGE && r->end == HUGE && len >= MANY)
		r->end = 0;
}

static bool has_room(int fd, uint64_t bytes)
{
	struct statfs f;

	return fstatfs(fd, &f) == 0 && (f.f_blocks == 0 /* no limit */ || f.f_bavail * (uint64_t)f.f_bsize / LEAVE >= bytes);
}

/* A page in each block, since one that has none is taken for cut off, then all of them collapsed: one call, since each has every processor empty its
 * lists of pages first. */
static int make_huge(uint8_t *at, int fd, uint64_t start, uint64_t len)
{
	if (ftruncate(fd, (off_t)(start + len)) < 0)
		return -errno;
	for (uint64_t b = start; b < start + len; b += HUGE)
		if (fallocate(fd, 0, (off_t)b, DRAY_PAGE_SIZE) < 0)
			return -errno;
	if (mmap(at, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, (off_t)start) == MAP_FAILED)
		return -errno;
	return madvise(at, len, MADV_COLLAPSE) < 0 ? -errno : 0;
}

/* Asked when the first are wanted: most files stay small, and somebody may wait for the next. */
static bool may_have(struct huge_room *r, int fd)
{
	if (!r->known)
		r->wanted = is_tmpfs(fd) && may_grow() && reserve(r);
	r->known = true;
	return r->wanted;
}

/* Whether more of it may be asked for. */
static bool extend(struct huge_room *r, int fd, uint64_t len)
{
	uint64_t begin = cpu_us();
	int rc = make_huge(aligned(r->window), fd, r->end, len);

	r->extended = true;
	r->end += len;
	r->mapped = rc == 0 ? len : 0;
	return (rc == 0 || rc == -EAGAIN) && cpu_us() - begin < SLOW_US * (len / HUGE);
}

void huge_room_make(struct huge_room *r, int fd, uint64_t end)
{
	uint64_t len = r->end < HUGE_ROOM_AHEAD ? r->end : HUGE_ROOM_AHEAD;

	len = len ? len : HUGE;
	if (r->wanted && end > r->end && may_have(r, fd))
		r->wanted = has_room(fd, len) && extend(r, fd, len);
}

uint8_t *huge_room_at(const struct huge_room *r, uint64_t offset, uint64_t *len)
{
	uint64_t start = r->end - r->mapped;

	if (!r->mapped || offset < start || offset >= r->end)
		return NULL;
	*len = r->end - offset;
	return aligned(r->window) + (offset - start);
}

int huge_room_end(struct huge_room *r, int fd, uint64_t size)
{
	int rc = r->extended && ftruncate(fd, (off_t)size) < 0 ? -errno : 0;

	if (r->extended)
		reserve(r);
	r->wanted = r->extended = false;
	return rc;
}

void huge_room_finish(struct huge_room *r)
{
	if (r->window)
		munmap(r->window, WINDOW);
	*r = (struct huge_room){ 0 };
}
