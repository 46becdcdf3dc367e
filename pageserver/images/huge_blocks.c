/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/images/huge_blocks.h"

#include <errno.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "proto/wire/runs.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum { BLOCK = 2 << 20, BEGIN = 4 * BLOCK };

static uint64_t block_from(uint64_t offset)
{
	return (offset + BLOCK - 1) / BLOCK * BLOCK;
}

void huge_blocks_begin(struct huge_blocks *h, int fd, uint64_t offset)
{
	struct statfs fs;
	bool tmpfs = fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;

	*h = (struct huge_blocks){ .next = tmpfs ? block_from(offset < BEGIN ? BEGIN : offset) : UINT64_MAX };
}

size_t huge_blocks_step(const struct huge_blocks *h, uint64_t offset, uint64_t len)
{
	uint64_t most = offset < h->next ? h->next - offset : DRAY_PAGE_SIZE;

	return (size_t)(len < most ? len : most);
}

/* Where the mount gives huge pages by itself, files of this size are told to be read and written in their size. */
static bool is_huge_already(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_blksize >= BLOCK;
}

/* One page of the block is there. A mapping is what a collapse takes; it must lie as the block does in the file. 0 or -errno. */
static int make_huge(int fd, uint64_t at)
{
	char *room = mmap(NULL, (size_t)2 * BLOCK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *block;
	int rc = 0;

	if (room == MAP_FAILED)
		return -errno;
	block = room + (BLOCK - (uintptr_t)room % BLOCK) % BLOCK;
	if (mmap(block, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, (off_t)at) == MAP_FAILED || madvise(block, BLOCK, MADV_COLLAPSE) < 0)
		rc = -errno;
	munmap(room, (size_t)2 * BLOCK);
	return rc;
}

void huge_blocks_reached(struct huge_blocks *h, int fd, uint64_t offset)
{
	int rc;

	if (offset <= h->next)
		return;
	rc = h->made || !is_huge_already(fd) ? make_huge(fd, h->next) : -EEXIST;
	if (rc == 0)
		h->made = true;
	/* Somebody else had hold of the page; any other failure will come again. */
	h->next = rc == 0 || rc == -EAGAIN ? block_from(offset) : UINT64_MAX;
}

void huge_blocks_end(const struct huge_blocks *h, int fd, uint64_t size)
{
	if (h->made)
		(void)!ftruncate(fd, (off_t)size);
}
