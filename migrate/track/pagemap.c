/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/track/pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/wire/runs.h"

struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
_Static_assert(sizeof(struct scan_arg) == 96, "the kernel's struct pm_scan_arg");
#define PAGEMAP_SCAN_IOCTL _IOWR('f', 16, struct scan_arg)
enum { SCAN_WP_MATCHING = 1 };
enum { HUGE_SIZE = 2 << 20, KPF_ZERO_PAGE = 24 };

int proc_pagemap_open(pid_t pid)
{
	char path[40];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int pagemap_scan(int fd, uint64_t start, uint64_t end, const struct scan_query *q, struct scan_region *vec, scan_visit_fn *visit, void *arg)
{
	while (start < end) {
		struct scan_arg a = {
			.size = sizeof(a), .flags = q->protect ? SCAN_WP_MATCHING : 0, .start = start, .end = end,
			.vec = (uintptr_t)vec, .vec_len = SCAN_VECTOR,
			.category_inverted = q->inverted, .category_mask = q->mask, .category_anyof_mask = q->anyof,
			.return_mask = q->report,
		};
		int n = ioctl(fd, PAGEMAP_SCAN_IOCTL, &a);

		if (n < 0)
			return -errno;
		for (int i = 0; i < n; i++) {
			int rc = visit(arg, &vec[i]);

			if (rc < 0)
				return rc;
		}
		if (a.walk_end <= start)
			return -EIO; /* no progress */
		start = a.walk_end;
	}
	return 0;
}

bool pagemap_can_scan(int fd)
{
	struct scan_arg a = { .size = sizeof(a) }; /* an empty range is valid */

	return ioctl(fd, PAGEMAP_SCAN_IOCTL, &a) == 0;
}

uint64_t pagemap_first(int fd, uint64_t start, uint64_t end)
{
	struct scan_region found;
	struct scan_arg a = {
		.size = sizeof(a), .start = start, .end = end, .vec = (uintptr_t)&found, .vec_len = 1, .max_pages = 1,
		.category_anyof_mask = SCAN_PRESENT | SCAN_SWAPPED, .return_mask = SCAN_PRESENT,
	};
	int n = start < end ? ioctl(fd, PAGEMAP_SCAN_IOCTL, &a) : 0;

	if (n < 0)
		return start;
	return n == 0 ? end : found.start;
}

int proc_pagemap_read(int fd, uint64_t start, uint64_t end, uint64_t *words)
{
	size_t want = bytes_to_pages(end - start) * sizeof(*words), have = 0;
	off_t at = (off_t)(bytes_to_pages(start) * sizeof(*words));

	while (have < want) {
		ssize_t n = pread(fd, (char *)words + have, want - have, at + (off_t)have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0) { /* past the end, or the address space is gone */
			memset((char *)words + have, 0, want - have);
			break;
		}
		have += (size_t)n;
	}
	return 0;
}

uint64_t pagemap_first_by_words(int fd, uint64_t start, uint64_t end)
{
	uint64_t words[512];

	while (start < end) {
		uint64_t n = bytes_to_pages(end - start) < 512 ? bytes_to_pages(end - start) : 512;

		if (proc_pagemap_read(fd, start, start + pages_to_bytes(n), words) < 0)
			return start;
		for (uint64_t i = 0; i < n; i++)
			if (words[i] & (PM_PRESENT | PM_SWAP))
				return start + pages_to_bytes(i);
		start += pages_to_bytes(n);
	}
	return end;
}

uint64_t pagemap_count_by_words(int fd, uint64_t start, uint64_t end)
{
	uint64_t words[512], count = 0;

	while (start < end) {
		uint64_t n = bytes_to_pages(end - start) < 512 ? bytes_to_pages(end - start) : 512;
		bool known = proc_pagemap_read(fd, start, start + pages_to_bytes(n), words) == 0;

		for (uint64_t i = 0; i < n; i++)
			count += !known || words[i] & (PM_PRESENT | PM_SWAP);
		start += pages_to_bytes(n);
	}
	return count;
}

static bool frame_is_zero_page(uint64_t pfn)
{
	cleanup_fd int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	uint64_t flags = 0;

	return fd >= 0 && pread(fd, &flags, sizeof(flags), (off_t)(pfn * sizeof(flags))) == sizeof(flags) && (flags >> KPF_ZERO_PAGE & 1);
}

/* A page that was read and never written maps the zero page; a whole huge page of them, where offered, the huge one. */
int zero_pages_init(struct zero_pages *z)
{
	cleanup_fd int fd = proc_pagemap_open(getpid());
	size_t len = 3ul * HUGE_SIZE;
	uint64_t word = 0, at;
	char *m;

	*z = (struct zero_pages){ 0 };
	if (fd < 0)
		return fd;
	m = mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m == MAP_FAILED)
		return -errno;
	z->hold = m;
	at = ((uintptr_t)m + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1ull);
	madvise((void *)(at + HUGE_SIZE), DRAY_PAGE_SIZE, MADV_NOHUGEPAGE);
	*(volatile char *)(at + HUGE_SIZE);
	if (proc_pagemap_read(fd, at + HUGE_SIZE, at + HUGE_SIZE + DRAY_PAGE_SIZE, &word) == 0)
		z->small = word & PM_PFN_MASK;
	if (!z->small) {
		zero_pages_finish(z);
		return -EPERM;
	}
	madvise((void *)at, HUGE_SIZE, MADV_HUGEPAGE);
	*(volatile char *)at;
	if (proc_pagemap_read(fd, at, at + DRAY_PAGE_SIZE, &word) == 0 && (word & PM_PFN_MASK) != z->small &&
	    frame_is_zero_page(word & PM_PFN_MASK))
		z->huge = word & PM_PFN_MASK;
	return 0;
}

void zero_pages_finish(struct zero_pages *z)
{
	if (z->hold)
		munmap(z->hold, 3ul * HUGE_SIZE);
	*z = (struct zero_pages){ 0 };
}
