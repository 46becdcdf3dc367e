/* SPDX-License-Identifier: Apache-2.0 */
/* pagemap.h - what the kernel says of a process's pages: /proc/PID/pagemap read as words, and its PAGEMAP_SCAN ioctl.
 * The ioctl is declared here since the headers of the oldest supported distribution do not have it.
 * Threads: any. Fails: negative errno. */
#ifndef DRAY_MIGRATE_PAGEMAP_H
#define DRAY_MIGRATE_PAGEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A word of /proc/PID/pagemap. */
#define PM_PFN_MASK ((1ull << 55) - 1)
#define PM_SWAP_TYPE_MASK 0x1full
#define PM_SOFT_DIRTY (1ull << 55)
#define PM_EXCLUSIVE (1ull << 56) /* mapped here only */
#define PM_FILE (1ull << 61) /* of the page cache, or shared anonymous */
#define PM_SWAP (1ull << 62)
#define PM_PRESENT (1ull << 63)
#define PM_UFFD_WP (1ull << 57)
/* The write protection of a page that is not there is kept in its place as an entry of the highest type with the value 1. */
#define PM_MARKER (0x1full | 1ull << 5)
/* Swap areas are numbered below this on every configuration; the kernel's own kinds of entry (a page under migration, a marker that keeps a
 * write protection where no page is) are numbered above. */
enum { PM_MAX_SWAP_AREAS = 23 };

static inline bool pm_is_marker(uint64_t word)
{
	return (word & PM_SWAP) && (word & PM_UFFD_WP) && (word & PM_PFN_MASK) == PM_MARKER;
}

/* PAGEMAP_SCAN. Each bit is a category of pages. */
#define SCAN_WPALLOWED (1ull << 0) /* in a mapping that is registered for asynchronous write protection */
#define SCAN_WRITTEN (1ull << 1)
#define SCAN_PRESENT (1ull << 3)
#define SCAN_SWAPPED (1ull << 4)
#define SCAN_PFNZERO (1ull << 5)
#define SCAN_GUARD (1ull << 8) /* MADV_GUARD_INSTALL; unknown to older kernels */

struct scan_region {
	uint64_t start, end, categories;
};

/* A page matches when (categories ^ inverted) has all of mask, and any of anyof where that is not 0. */
struct scan_query {
	bool protect; /* write-protect what matches, atomically with reporting it */
	uint64_t mask, inverted, anyof, report;
};
typedef int scan_visit_fn(void *arg, const struct scan_region *r); /* negative errno ends the scan */

enum { SCAN_VECTOR = 16384 + 1 }; /* regions that one call may find: every page of 64 MiB its own */

int proc_pagemap_open(pid_t pid); /* descriptor or -errno */
/* Regions of [start, end) in ascending order. vec: SCAN_VECTOR entries of scratch memory. */
int pagemap_scan(int fd, uint64_t start, uint64_t end, const struct scan_query *q, struct scan_region *vec, scan_visit_fn *visit, void *arg);
bool pagemap_can_scan(int fd);
/* The first page of [start, end) that is there or in swap; end if none is, start if the kernel can't say. Steps over holes of any size. */
uint64_t pagemap_first(int fd, uint64_t start, uint64_t end);
/* The same on any kernel, at 8 bytes read a page. */
uint64_t pagemap_first_by_words(int fd, uint64_t start, uint64_t end);
/* Pages of [start, end) that are there or in swap, likewise; all of them if the kernel can't say. */
uint64_t pagemap_count_by_words(int fd, uint64_t start, uint64_t end);
/* A word for each page of [start, end). What lies outside the address space reads as 0. */
int proc_pagemap_read(int fd, uint64_t start, uint64_t end, uint64_t *words);

/* The kernel's pages of zeros, known by their frame numbers. Holds a mapping of each so that they stay what they are. */
struct zero_pages {
	uint64_t small, huge; /* frame numbers; huge: the first of 512, 0 where there is none */
	void *hold;
};
int zero_pages_init(struct zero_pages *z); /* -EPERM: frame numbers are hidden from us (no CAP_SYS_ADMIN) */
void zero_pages_finish(struct zero_pages *z);
static inline bool zero_pages_has(const struct zero_pages *z, uint64_t word)
{
	uint64_t pfn = word & PM_PFN_MASK;

	return (word & PM_PRESENT) && (pfn == z->small || (z->huge && pfn - z->huge < 512));
}

/* Of private memory: is the page the process's own, with contents that travel? */
static inline bool word_is_own(const struct zero_pages *z, uint64_t word)
{
	if (word & PM_SWAP)
		return !pm_is_marker(word);
	return (word & PM_PRESENT) && !(word & PM_FILE) && !zero_pages_has(z, word);
}

#endif
