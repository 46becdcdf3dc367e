/* SPDX-License-Identifier: Apache-2.0 */
/* shmem.c - what a memory file holds. A process's page table knows only the pages that this process touched; those that came by write(2), by
 * another process or that went to swap are in the file. So the file is asked, through /proc/PID/map_files, where its data is. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "migrate/track/track_priv.h"
#include "proto/base/cleanup.h"

static int open_map_file(pid_t pid, const struct vma *v)
{
	char path[96];

	snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", pid, (unsigned long long)v->start, (unsigned long long)v->end);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* The next stretch of data at or after from: 1 found, 0 none before the file's end. */
static int next_extent(int fd, off_t from, off_t *start, off_t *end)
{
	*start = lseek(fd, from, SEEK_DATA);
	if (*start < 0)
		return errno == ENXIO ? 0 : -errno;
	*end = lseek(fd, *start, SEEK_HOLE);
	return *end < 0 ? -errno : 1;
}

static int mark_extents(int fd, struct window *w, unsigned from, unsigned to, off_t offset)
{
	off_t at = offset, limit = offset + (off_t)pages_to_bytes(to - from), start = 0, end = 0;
	int rc;

	page_bits_set(&w->gone, from, to);
	while (at < limit && (rc = next_extent(fd, at, &start, &end)) != 0) {
		if (rc < 0)
			return rc;
		if (start >= limit)
			break;
		at = end < limit ? end : limit;
		page_bits_set(&w->data, from + (unsigned)bytes_to_pages((uint64_t)(start - offset)),
			      from + (unsigned)bytes_to_pages((uint64_t)(at - offset) + DRAY_PAGE_SIZE - 1));
	}
	return 0;
}

int shmem_fill(pid_t pid, const struct vma *v, struct window *w, uint64_t start, uint64_t end)
{
	cleanup_fd int fd = open_map_file(pid, v);
	unsigned from = window_page(w, start), to = window_page(w, end);

	/* Not to be opened: no permission, or a running process changed the mapping since the list was read. All of it is data then: holes read as
	 * zeros, and what can't be read any more is the next collect's matter. */
	if (fd < 0 || mark_extents(fd, w, from, to, (off_t)(v->pgoff + (start - v->start))) < 0)
		page_bits_set(&w->data, from, to);
	return 0;
}
