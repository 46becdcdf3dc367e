/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/extract/sample.h"

#include <string.h>
#include <sys/random.h>
#include <sys/uio.h>

#include "migrate/track/track.h"

enum { CONTENT_PAGES = 512 }; /* a share of a quarter is told to within 2 % of all pages */

size_t sample_choose(const struct run_list *runs, uint64_t *addr, size_t n)
{
	uint64_t step, start = 0;
	size_t run = 0, found = 0;

	if (n > runs->data_pages)
		n = runs->data_pages;
	step = n ? runs->data_pages / n : 0;
	for (size_t i = 0; i < n; i++) {
		uint64_t want = i * step, random = 0;

		if (getrandom(&random, sizeof(random), 0) == (ssize_t)sizeof(random))
			want += random % step;
		while (run < runs->count && (runs->run[run].kind != RUN_DATA || start + runs->run[run].pages <= want)) {
			start += runs->run[run].kind == RUN_DATA ? runs->run[run].pages : 0;
			run++;
		}
		if (run < runs->count)
			addr[found++] = runs->run[run].addr + pages_to_bytes(want - start);
	}
	return found;
}

bool sample_read(pid_t pid, uint64_t addr, void *page)
{
	struct iovec here = { page, DRAY_PAGE_SIZE }, there = { (void *)(uintptr_t)addr, DRAY_PAGE_SIZE };

	return process_vm_readv(pid, &here, 1, &there, 1, 0) == (ssize_t)DRAY_PAGE_SIZE;
}

static void look(pid_t pid, const struct run_list *runs, struct sample_facts *f)
{
	static const unsigned char zeros[DRAY_PAGE_SIZE];
	unsigned char page[DRAY_PAGE_SIZE];
	uint64_t addr[CONTENT_PAGES];
	size_t n = sample_choose(runs, addr, CONTENT_PAGES), zero = 0;

	for (size_t i = 0; i < n; i++) {
		if (!sample_read(pid, addr[i], page))
			continue;
		f->pages++;
		zero += memcmp(page, zeros, sizeof(zeros)) == 0;
	}
	f->zero_percent = f->pages ? (unsigned)(zero * 100 / f->pages) : 0;
}

int sample_contents(pid_t pid, const struct vma_list *vmas, struct sample_facts *f, struct err *e)
{
	struct tracker *all = tracker_open(TRACKER_NONE, pid, -1, e);
	struct collected c = { 0 };
	int rc = all ? tracker_collect(all, vmas, false, false, &c, e) : -1;

	*f = (struct sample_facts){ 0 };
	if (rc == 0)
		look(pid, &c.runs, f);
	collected_finish(&c);
	tracker_close(all);
	return rc;
}
