/* SPDX-License-Identifier: Apache-2.0 */
/* soft_dirty.c - bit 55 of /proc/PID/pagemap, cleared by writing 4 to clear_refs. Between the two the target must stand still: a write
 * that falls in between is lost.
 *
 * The bit alone is not the truth. Taken together it is:
 *   - a page of the process's own is unchanged if its bit is clear, it was sent before, and witnesses say that it is the one that was (witness.h).
 *     The kernel sets the bit when it makes a page for a write, for all of a mapping that is new, and when it moves a page (mremap), but not when it
 *     moves a page table.
 *   - a zero page says nothing by its bit: memory given up (MADV_DONTNEED, munmap and mmap merged with an old neighbour) and then only
 *     read maps the zero page with a clear bit over what was sent. Zero pages are known by their frame and count as not there.
 *   - not there, or a private file's own page, and sent before: dropped. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "migrate/track/track_priv.h"
#include "proto/base/io.h"

/* Pages [from, to) of one block. An estimate knows neither what was sent nor witnesses, and leaves none. */
static void fill_block(const struct tracker *t, struct window *w, unsigned from, unsigned to, const uint64_t *words)
{
	bool bits_tell = t->estimating || t->unwitnessed || witnesses_agree(w->witness + from, words, to - from, &t->zero);

	for (unsigned page = from; page < to; page++) {
		uint64_t word = words[page - from];

		if (!word_is_own(&t->zero, word))
			page_bits_set(&w->gone, page, page + 1);
		else if ((word & PM_SOFT_DIRTY) || !bits_tell || (!t->estimating && !page_bits_has(w->sent, page)))
			page_bits_set(&w->data, page, page + 1);
	}
	if (!t->estimating)
		witnesses_call(w->witness + from, words, to - from, &t->zero);
}

static int soft_dirty_fill(struct tracker *t, struct window *w, uint64_t start, uint64_t end, bool file)
{
	unsigned from = window_page(w, start), to = window_page(w, end), stop;
	int rc = proc_pagemap_read(t->pagemap, start, end, t->words);

	(void)file; /* the words tell */
	for (unsigned page = from; rc == 0 && page < to; page = stop) {
		stop = (page / WITNESS_BLOCK + 1) * WITNESS_BLOCK;
		stop = stop < to ? stop : to;
		fill_block(t, w, page, stop, t->words + (page - from));
	}
	return rc;
}

static int soft_dirty_end(struct tracker *t, struct err *e)
{
	char path[40];

	if (!t->estimating)
		t->unwitnessed = false; /* from now on there are some */
	if (!t->rearm)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/clear_refs", t->pid);
	return file_write(AT_FDCWD, path, "4", e);
}

static int soft_dirty_open(struct tracker *t, struct err *e)
{
	int rc = zero_pages_init(&t->zero);

	t->sent.witnessed = true;
	return rc < 0 ? err_set(e, ERR_PERMISSION, -rc, "page frame numbers can't be read (CAP_SYS_ADMIN)") : 0;
}

/* A page of a new mapping that was just written is soft-dirty where there is such a thing. */
static bool soft_dirty_probe(struct err *e)
{
	char *m = mmap(NULL, DRAY_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = proc_pagemap_open(getpid());
	uint64_t word = 0;
	int rc = m == MAP_FAILED ? -ENOMEM : fd < 0 ? fd : 0;

	if (rc == 0) {
		*(volatile char *)m = 1;
		rc = proc_pagemap_read(fd, (uintptr_t)m, (uintptr_t)m + DRAY_PAGE_SIZE, &word);
	}
	if (fd >= 0)
		close(fd);
	if (m != MAP_FAILED)
		munmap(m, DRAY_PAGE_SIZE);
	if (rc < 0)
		err_set(e, ERR_SYSTEM, -rc, "probe for soft-dirty bits");
	else if (!(word & PM_SOFT_DIRTY))
		err_set(e, ERR_UNSUPPORTED, 0, "this kernel has no soft-dirty bits (CONFIG_MEM_SOFT_DIRTY)");
	else if (!(word & PM_PFN_MASK))
		err_set(e, ERR_PERMISSION, 0, "soft-dirty tracking reads page frame numbers (CAP_SYS_ADMIN)");
	else
		return true;
	return false;
}

const struct tracker_ops track_soft_dirty = {
	.kind = TRACKER_SOFT_DIRTY, .needs_stop = true, .probe = soft_dirty_probe, .open = soft_dirty_open,
	.fill = soft_dirty_fill, .end = soft_dirty_end,
};
