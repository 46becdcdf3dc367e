/* SPDX-License-Identifier: Apache-2.0 */
/* wp_async.c - userfaultfd write protection that the kernel lifts by itself, and PAGEMAP_SCAN to read and re-arm it in one step.
 *
 * Why no change is lost while the target runs. The target may do anything between our calls; each is atomic for itself.
 *
 *  1. Only mappings that we registered carry SCAN_WPALLOWED. The kernel takes the registration away from what is mapped anew, mapped
 *     over or moved, and keeps it where a mapping is split, grown in place or has its protection changed. So what lacks it at the
 *     start of a collect ("fresh") is new: void at the destination, registered, reported as a whole. What becomes fresh behind
 *     our back is found by the next collect; the last one finds all, since the target stands still. And fresh is what the list of mappings has
 *     as something else than the list before (known.h).
 *  2. A scan reports and protects a page in one step under the page table's lock. A store before it is in what we send, since
 *     pages are read after the scan; a store after it faults, and the next scan reports the page. Nothing is protected without being
 *     reported: scans never leave the listed mappings, and what one reports is kept whatever the mapping turned into.
 *  3. A fresh range is scanned without asking for WRITTEN: pages that were moved here may still carry an old protection.
 *  4. Not there: holes are looked for after the protecting scan and only where something was sent. A page that comes back later comes
 *     without protection. Both orders of giving up and rewriting a page between the two scans end in a page that the next scan
 *     reports, or in a drop that is true. Holes are never protected: that would make page tables for every reservation.
 *  5. Private file mappings: giving up a page that was written leaves a marker in its place that keeps the protection, so it does
 *     not count as written. There the pagemap's words are read, after the scan: what is the file's and was sent is dropped.
 *     Read in the other order, a page written in between would be protected and taken for the file's. And a store to such a place
 *     takes two faults: the first makes the page, a copy of the file's that inherits the protection, the second lifts it. A thread that is
 *     frozen between the two leaves a page that looks like the one that was sent. So the last collect reports all pages of
 *     private file mappings that are the process's own: a few hundred KiB to a few MiB in most processes.
 *  6. exec: the userfaultfd stays with the old address space, all of the new one is fresh and can't be registered: reported
 *     whole by every collect. Dear and right. The same for mappings that carry another userfaultfd.
 *
 * Missed, as by every tracker here: stores by devices and io_uring into pinned pages. Huge pages are split by their first store of a round. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "migrate/track/track_priv.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"

enum { FEATURE_WP_HUGETLBFS_SHMEM = 1 << 12, FEATURE_WP_UNPOPULATED = 1 << 13, FEATURE_WP_ASYNC = 1 << 15 };
#define THERE (SCAN_PRESENT | SCAN_SWAPPED)
#define TOLD (THERE | SCAN_PFNZERO | SCAN_WRITTEN)
/* A scan holds the target's mmap lock for reading. After each this long one others get a turn. */
enum { LONG_SCAN_US = 200, TURN_US = 100 };
enum { UNREGISTER_CALLS = 1024 };

static int uffd_api(int uffd)
{
	struct uffdio_api api = { .api = UFFD_API, .features = FEATURE_WP_ASYNC | FEATURE_WP_UNPOPULATED | FEATURE_WP_HUGETLBFS_SHMEM };

	return ioctl(uffd, UFFDIO_API, &api) < 0 ? -errno : 0;
}

static int uffd_register(int uffd, uint64_t start, uint64_t end)
{
	struct uffdio_register r = { .range = { start, end - start }, .mode = UFFDIO_REGISTER_MODE_WP };

	return ioctl(uffd, UFFDIO_REGISTER, &r) < 0 ? -errno : 0;
}

/* ---- what is not tracked yet ---- */

static int note_region(void *found, const struct scan_region *r)
{
	return run_list_add(found, r->start, bytes_to_pages(r->end - r->start), RUN_DROP);
}

static bool private_pages(const struct vma *v)
{
	return vma_carries_pages(v) && v->kind != VMA_SHMEM;
}

/* One look at each stretch of neighbouring mappings. */
static int find_untracked(struct tracker *t, const struct vma_list *vmas, struct run_list *found)
{
	static const struct scan_query untracked = { .mask = SCAN_WPALLOWED, .inverted = SCAN_WPALLOWED, .report = SCAN_WPALLOWED };

	for (size_t i = 0; i < vmas->count; i++) {
		uint64_t start = vmas->vma[i].start;
		int rc;

		if (!private_pages(&vmas->vma[i]))
			continue;
		while (i + 1 < vmas->count && private_pages(&vmas->vma[i + 1]) && vmas->vma[i + 1].start == vmas->vma[i].end)
			i++;
		rc = pagemap_scan(t->pagemap, start, vmas->vma[i].end, &untracked, t->vec, note_region, found);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Registers [start, end), of which some may be registered. One call is all or nothing, so where it fails each mapping is tried for itself; what can't be is
 * read without protection and found untracked again. Mappings that vanished meanwhile fail too, and do no harm. */
static int take_in(struct tracker *t, const struct vma_list *vmas, uint64_t start, uint64_t end)
{
	if (t->rearm && uffd_register(t->uffd, start, end) == 0) {
		int rc = run_list_add(&t->registered, start, bytes_to_pages(end - start), RUN_DATA);

		return rc < 0 ? rc : run_list_add(&t->fresh, start, bytes_to_pages(end - start), RUN_DATA);
	}
	while (start < end) {
		const struct vma *v = vma_list_find(vmas, start);
		uint64_t stop = v && v->end < end ? v->end : end;
		bool done = t->rearm && uffd_register(t->uffd, start, stop) == 0;
		int rc = run_list_add(&t->fresh, start, bytes_to_pages(stop - start), done ? RUN_DATA : RUN_DROP);

		if (rc == 0 && done)
			rc = run_list_add(&t->registered, start, bytes_to_pages(stop - start), RUN_DATA);
		if (rc < 0)
			return rc;
		start = stop;
	}
	return 0;
}

/* Before our first registration nothing can be tracked, unless the process does it for itself: two can't share a mapping's bits. What is
 * tracked when we resume was registered with the userfaultfd that was left to us. */
static int refuse_foreign(struct tracker *t, const struct vma_list *vmas, struct err *e)
{
	static const struct scan_query tracked = { .mask = SCAN_WPALLOWED, .report = SCAN_WPALLOWED };
	struct run_list found = { 0 };
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < vmas->count; i++)
		if (private_pages(&vmas->vma[i]))
			rc = pagemap_scan(t->pagemap, vmas->vma[i].start, vmas->vma[i].end, &tracked, t->vec, note_region, &found);
	if (rc < 0)
		err_set(e, ERR_SYSTEM, -rc, "scan the mappings of process %d", t->pid);
	else if (t->resumed) {
		t->registered = found;
		return 0;
	} else if (found.count)
		rc = err_set(e, ERR_UNSUPPORTED, 0, "task %d: mapping at %llx is write-protected by a userfaultfd of its own", t->pid,
			     (unsigned long long)found.run[0].addr);
	run_list_finish(&found);
	return rc < 0 ? -1 : 0;
}

static int unite(struct run_list *l, const struct run_list *with)
{
	struct run_list all = { 0 };
	uint64_t end = 0;
	int rc = 0;

	for (size_t i = 0, k = 0; rc == 0 && (i < l->count || k < with->count);) {
		const struct page_run *r = k == with->count || (i < l->count && l->run[i].addr <= with->run[k].addr) ? &l->run[i++] : &with->run[k++];
		uint64_t start = r->addr > end ? r->addr : end;

		if (start >= run_end(r))
			continue;
		end = run_end(r);
		rc = run_list_add(&all, start, bytes_to_pages(end - start), RUN_DROP);
	}
	run_list_finish(l);
	*l = all;
	return rc;
}

static int wp_begin(struct tracker *t, const struct vma_list *vmas, struct collected *out, struct err *e)
{
	struct run_list untracked = { 0 };
	int rc;

	if (t->registered.count == 0 && refuse_foreign(t, vmas, e) < 0)
		return -1;

	run_list_clear(&t->fresh);
	t->fresh_cursor = 0;
	rc = find_untracked(t, vmas, &untracked);
	if (rc == 0)
		rc = unite(&out->reset, &untracked);
	run_list_finish(&untracked);
	for (size_t i = 0; rc == 0 && i < out->reset.count; i++)
		rc = take_in(t, vmas, out->reset.run[i].addr, run_end(&out->reset.run[i]));
	return rc < 0 ? err_set(e, ERR_SYSTEM, -rc, "find new mappings of process %d", t->pid) : 0;
}

/* ---- pages ---- */

struct marking {
	struct window *w;
	struct page_bits *there; /* where pages with contents go */
	struct page_bits *gone;  /* zero pages and holes, NULL: nowhere */
};

static int mark_region(void *arg, const struct scan_region *r)
{
	struct marking *m = arg;
	unsigned from = window_page(m->w, r->start), to = window_page(m->w, r->end);

	if (!(r->categories & THERE) || (r->categories & SCAN_PFNZERO)) {
		if (m->gone)
			page_bits_set(m->gone, from, to);
	} else {
		page_bits_set(m->there, from, to);
	}
	return 0;
}

static int scan(struct tracker *t, uint64_t start, uint64_t end, const struct scan_query *q, struct marking *m)
{
	uint64_t began = clock_us();
	int rc = pagemap_scan(t->pagemap, start, end, q, t->vec, mark_region, m);

	if (t->rearm && clock_us() - began > LONG_SCAN_US)
		nanosleep(&(struct timespec){ .tv_nsec = TURN_US * 1000L }, NULL);
	return rc;
}

/* Pages written since the last collect into there; with rearm they are protected. */
static int scan_written(struct tracker *t, uint64_t start, uint64_t end, struct marking *m)
{
	static const struct scan_query q = { .protect = true, .mask = SCAN_WPALLOWED | SCAN_WRITTEN, .anyof = THERE, .report = TOLD };
	static const struct scan_query peek = { .mask = SCAN_WPALLOWED | SCAN_WRITTEN, .anyof = THERE, .report = TOLD };

	return scan(t, start, end, t->rearm ? &q : &peek, m);
}

static int scan_holes(struct tracker *t, uint64_t start, uint64_t end, struct marking *m)
{
	static const struct scan_query q = { .mask = THERE, .inverted = THERE, .report = THERE };

	return scan(t, start, end, &q, m);
}

struct few_regions {
	struct scan_region region[32];
	unsigned count; /* may be more than there is room for */
};

static int note_few(void *arg, const struct scan_region *r)
{
	struct few_regions *f = arg;

	if (f->count < sizeof(f->region) / sizeof(f->region[0]))
		f->region[f->count] = *r;
	f->count++;
	return 0;
}

/* The frozen round protects nothing: a hole of anonymous memory counts as written (the probe has checked it). Asked for WRITTEN and
 * nothing else, the kernel takes a way that is some three times as fast as any other; in most of a process's memory that is all there is
 * to ask. Where it finds little, that little is looked at; where it finds much, all of the piece is. */
static int scan_frozen(struct tracker *t, uint64_t start, uint64_t end, struct marking *m)
{
	static const struct scan_query written = { .mask = SCAN_WRITTEN, .report = SCAN_WRITTEN };
	static const struct scan_query q = { .mask = SCAN_WPALLOWED | SCAN_WRITTEN, .report = TOLD };
	struct few_regions few = { .count = 0 };
	int rc = pagemap_scan(t->pagemap, start, end, &written, t->vec, note_few, &few);

	if (rc == 0 && few.count > sizeof(few.region) / sizeof(few.region[0]))
		return scan(t, start, end, &q, m);
	for (unsigned i = 0; rc == 0 && i < few.count; i++)
		rc = scan(t, few.region[i].start, few.region[i].end, &q, m);
	return rc;
}

static int fill_anon(struct tracker *t, struct window *w, uint64_t start, uint64_t end)
{
	struct marking m = { .w = w, .there = &w->data, .gone = &w->gone };
	int rc;

	if (!t->rearm)
		return scan_frozen(t, start, end, &m);
	rc = scan_written(t, start, end, &m);
	if (rc == 0 && page_bits_any(w->sent, window_page(w, start), window_page(w, end)))
		rc = scan_holes(t, start, end, &m);
	return rc;
}

/* A swap word that does not tell whether it is a page in swap as it was, or a marker where one was given up: frame numbers are hidden
 * from us, or the entry is of a kind that we don't know. Its contents are sent again, which is right in both cases. */
static bool may_be_marker(uint64_t word)
{
	return (word & PM_SWAP) && ((word & PM_SWAP_TYPE_MASK) >= PM_MAX_SWAP_AREAS || !(word & PM_PFN_MASK));
}

/* written: NULL for all. */
static int classify_words(struct tracker *t, struct window *w, uint64_t start, uint64_t end, const struct page_bits *written)
{
	unsigned from = window_page(w, start), to = window_page(w, end);
	int rc = proc_pagemap_read(t->pagemap, start, end, t->words);

	for (unsigned page = from; rc == 0 && page < to; page++) {
		uint64_t word = t->words[page - from];
		bool changed = !written || page_bits_has(written, page);

		if (!word_is_own(&t->zero, word))
			page_bits_set(&w->gone, page, page + 1);
		else if (changed || t->last || (may_be_marker(word) && page_bits_has(w->sent, page)))
			page_bits_set(&w->data, page, page + 1);
	}
	return rc;
}

static int fill_file(struct tracker *t, struct window *w, uint64_t start, uint64_t end)
{
	struct page_bits written = { { 0 } };
	struct marking m = { .w = w, .there = &written };
	unsigned from = window_page(w, start), to = window_page(w, end);
	int rc = scan_written(t, start, end, &m);

	if (rc < 0 || (!page_bits_any(&written, from, to) && !page_bits_any(w->sent, from, to)))
		return rc;
	return classify_words(t, w, start, end, &written);
}

static int fill_fresh(struct tracker *t, struct window *w, uint64_t start, uint64_t end, bool file, bool protect)
{
	struct scan_query q = { .protect = protect, .anyof = THERE, .report = TOLD };
	struct page_bits unused;
	struct marking m = { .w = w, .there = file ? &unused : &w->data };
	int rc = 0;

	if (protect || !file)
		rc = scan(t, start, end, &q, &m);
	return rc == 0 && file ? classify_words(t, w, start, end, NULL) : rc;
}

/* The part of the list of fresh runs that concerns `at`; pieces come in ascending order. */
static const struct page_run *next_fresh(struct tracker *t, uint64_t at)
{
	while (t->fresh_cursor < t->fresh.count && run_end(&t->fresh.run[t->fresh_cursor]) <= at)
		t->fresh_cursor++;
	return t->fresh_cursor < t->fresh.count ? &t->fresh.run[t->fresh_cursor] : NULL;
}

static uint64_t lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static int wp_fill(struct tracker *t, struct window *w, uint64_t start, uint64_t end, bool file)
{
	while (start < end) {
		const struct page_run *fresh = next_fresh(t, start);
		uint64_t stop;
		int rc;

		if (fresh && fresh->addr <= start) {
			stop = lesser(end, run_end(fresh));
			rc = fill_fresh(t, w, start, stop, file, fresh->kind == RUN_DATA);
		} else {
			stop = fresh ? lesser(end, fresh->addr) : end;
			rc = file ? fill_file(t, w, start, stop) : fill_anon(t, w, start, stop);
		}
		if (rc < 0)
			return rc;
		start = stop;
	}
	return 0;
}

/* ---- life ---- */

static int wp_open(struct tracker *t, struct err *e)
{
	int rc;

	if (t->uffd < 0)
		return err_set(e, ERR_INTERNAL, 0, "no userfaultfd of the target");
	rc = t->resumed ? 0 : uffd_api(t->uffd); /* said once for all */
	if (rc < 0)
		return err_set(e, ERR_SYSTEM, -rc, "userfaultfd features");
	zero_pages_init(&t->zero); /* where frame numbers are hidden, zeros of /dev/zero mappings travel */
	return 0;
}

/* Closing the userfaultfd takes all protection back under one hold of the target's mmap lock: 38 ms per GiB. So it goes piece
 * by piece before. The target may be gone, or the range: then there is nothing to give back. */
static void wp_close(struct tracker *t)
{
	for (size_t i = 0; t->uffd >= 0 && i < t->registered.count; i++) {
		uint64_t at = t->registered.run[i].addr, end = run_end(&t->registered.run[i]);
		uint64_t piece = (end - at) / UNREGISTER_CALLS & ~(WINDOW_SIZE - 1); /* a reservation of terabytes is mostly empty */

		piece = piece ? piece : WINDOW_SIZE;
		for (; at < end; at = lesser(at + piece, end)) {
			struct uffdio_range r = { at, lesser(at + piece, end) - at };

			if (ioctl(t->uffd, UFFDIO_UNREGISTER, &r) < 0 && (errno == ENOMEM || errno == ESRCH))
				return;
		}
	}
}

static int ignore_region(void *arg, const struct scan_region *r)
{
	(void)r;
	++*(unsigned *)arg;
	return 0;
}

/* Tries all of it on a page of our own. */
static int probe_page(int uffd, int pagemap, char *page)
{
	static const struct scan_query q = { .protect = true, .mask = SCAN_WPALLOWED | SCAN_WRITTEN, .anyof = THERE, .report = TOLD };
	static const struct scan_query hole = { .mask = SCAN_WPALLOWED | SCAN_WRITTEN, .report = TOLD };
	cleanup_free struct scan_region *vec = malloc(SCAN_VECTOR * sizeof(*vec));
	uint64_t at = (uintptr_t)page;
	unsigned found = 0;
	int rc = vec ? uffd_api(uffd) : -ENOMEM;

	*(volatile char *)page = 1;
	if (rc == 0)
		rc = uffd_register(uffd, at, at + DRAY_PAGE_SIZE);
	if (rc == 0)
		rc = pagemap_scan(pagemap, at, at + DRAY_PAGE_SIZE, &q, vec, ignore_region, &found);
	if (rc == 0)
		rc = pagemap_scan(pagemap, at, at + DRAY_PAGE_SIZE, &q, vec, ignore_region, &found);
	if (rc == 0 && found != 1) /* written once, then clean */
		return -EIO;
	madvise(page, DRAY_PAGE_SIZE, MADV_DONTNEED);
	if (rc == 0)
		rc = pagemap_scan(pagemap, at, at + DRAY_PAGE_SIZE, &hole, vec, ignore_region, &found);
	return rc == 0 && found != 2 ? -EIO : rc; /* a hole counts as written */
}

static bool wp_probe(struct err *e)
{
	cleanup_fd int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	cleanup_fd int pagemap = proc_pagemap_open(getpid());
	char *page;
	int rc;

	if (uffd < 0 || pagemap < 0) {
		err_set(e, ERR_UNSUPPORTED, uffd < 0 ? errno : -pagemap, "wp-async: no userfaultfd or no pagemap");
		return false;
	}
	page = mmap(NULL, DRAY_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED) {
		err_sys(e, "wp-async: mmap");
		return false;
	}
	rc = probe_page(uffd, pagemap, page);
	munmap(page, DRAY_PAGE_SIZE);
	if (rc < 0)
		err_set(e, ERR_UNSUPPORTED, -rc, "wp-async: this kernel lacks it (userfaultfd WP_ASYNC and PAGEMAP_SCAN, Linux 6.7)");
	return rc == 0;
}

const struct tracker_ops track_wp_async = {
	.kind = TRACKER_WP_ASYNC, .probe = wp_probe, .open = wp_open, .begin = wp_begin, .fill = wp_fill, .close = wp_close,
};
