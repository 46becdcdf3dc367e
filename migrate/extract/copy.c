/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/extract/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proto/base/cleanup.h"

enum { IOV_LIMIT = 1024, RETRIES = 8 };
#define PAGEMAP_THERE (3ull << 62) /* present or swapped */

int copy_source_open(struct copy_source *s, pid_t pid, struct err *e)
{
	char path[40];

	*s = COPY_SOURCE_NONE;
	s->pid = pid;
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	s->mem = open(path, O_RDONLY | O_CLOEXEC);
	if (s->mem < 0)
		return err_sys(e, "%s", path);
	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	s->pagemap = open(path, O_RDONLY | O_CLOEXEC);
	if (s->pagemap < 0) {
		err_sys(e, "%s", path);
		copy_source_close(s);
		return -1;
	}
	return 0;
}

void copy_source_close(struct copy_source *s)
{
	cleanup_fd_(&s->mem);
	cleanup_fd_(&s->pagemap);
	*s = COPY_SOURCE_NONE;
}

/* One page that process_vm_readv refused. 0 read, 1 not there, -errno. A page may come and go under our hands: look again. */
static int read_stubborn(const struct copy_source *s, uint64_t addr, uint8_t *to)
{
	for (int i = 0; i < RETRIES; i++) {
		uint64_t entry = 0;

		if (pread(s->mem, to, DRAY_PAGE_SIZE, (off_t)addr) == (ssize_t)DRAY_PAGE_SIZE)
			return 0;
		if (pread(s->pagemap, &entry, sizeof(entry), (off_t)(bytes_to_pages(addr) * sizeof(entry))) != (ssize_t)sizeof(entry) ||
		    !(entry & PAGEMAP_THERE))
			return 1;
	}
	return -EIO;
}

/* Where in the list the page number `page` (counted over data runs, from run *at whose first page is number *base) lies. */
static uint64_t address_of(const struct page_run *runs, size_t *at, uint64_t *base, uint64_t page)
{
	while (runs[*at].kind != RUN_DATA || page >= *base + runs[*at].pages) {
		if (runs[*at].kind == RUN_DATA)
			*base += runs[*at].pages;
		++*at;
	}
	return runs[*at].addr + pages_to_bytes(page - *base);
}

int copy_pages(const struct copy_source *s, const struct page_run *runs, size_t count, void *buf, uint64_t *gone, uint64_t *bad_addr)
{
	uint64_t total = 0, done = 0, base = 0;
	size_t at = 0;
	int missing = 0;

	for (size_t i = 0; i < count; i++)
		total += runs[i].kind == RUN_DATA ? runs[i].pages : 0;
	memset(gone, 0, (total + 63) / 64 * 8);
	while (done < total) {
		struct iovec from[IOV_LIMIT], to = { (uint8_t *)buf + pages_to_bytes(done), pages_to_bytes(total - done) };
		uint64_t addr = address_of(runs, &at, &base, done);
		unsigned long n = 0;
		ssize_t got;
		int rc;

		for (size_t i = at; i < count && n < IOV_LIMIT; i++) {
			if (runs[i].kind != RUN_DATA)
				continue;
			from[n++] = (struct iovec){ .iov_base = (void *)(uintptr_t)(i == at ? addr : runs[i].addr),
						    .iov_len = i == at ? run_end(&runs[i]) - addr : pages_to_bytes(runs[i].pages) };
		}
		got = process_vm_readv(s->pid, &to, 1, from, n, 0);
		if (got >= (ssize_t)DRAY_PAGE_SIZE) {
			done += bytes_to_pages((uint64_t)got);
			continue;
		}
		if (got < 0 && errno != EFAULT && errno != ENOMEM)
			return -errno;
		rc = read_stubborn(s, addr, (uint8_t *)buf + pages_to_bytes(done));
		if (rc < 0) {
			*bad_addr = addr;
			return rc;
		}
		if (rc == 1) {
			gone[done / 64] |= 1ull << (done % 64);
			missing++;
		}
		done++;
	}
	return missing;
}

bool page_is_zero(const void *page)
{
	const uint8_t *p = page;
	uint64_t first;

	/* Nearly every page that isn't zero shows it in its first word; memcmp of the page with itself, shifted, is the C library's
	 * vector loop for the others. */
	memcpy(&first, p, sizeof(first));
	return first == 0 && memcmp(p, p + sizeof(first), DRAY_PAGE_SIZE - sizeof(first)) == 0;
}
