/* SPDX-License-Identifier: Apache-2.0 */
/* What one change makes of a report, change by change. The target is the test itself: nothing else happens to the pages looked at. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migrate/track/track.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"

enum { PAGE = 4096, PAGES = 8, HUGE = 2 << 20, NOTHING = -1 };

static enum tracker_kind kind;
static struct tracker *tracker;
static struct collected got;
static int failures;

static void list(struct vma_list *vmas)
{
	struct err e = { 0 };

	if (vma_list_read(vmas, getpid(), VMA_READ_MAPS, &e) < 0) {
		fprintf(stderr, "%s\n", e.text);
		failures++;
	}
}

static void collect_by(const struct vma_list *vmas, bool last)
{
	struct err e = { 0 };

	if (tracker_collect(tracker, vmas, true, last, &got, &e) < 0) {
		fprintf(stderr, "%s: %s\n", tracker_name(kind), e.text);
		failures++;
	}
}

static void collect(bool last)
{
	struct vma_list vmas = { 0 };

	list(&vmas);
	collect_by(&vmas, last);
	vma_list_finish(&vmas);
}

static int reported_in(const struct run_list *l, const char *page)
{
	for (size_t i = 0; i < l->count; i++)
		if ((uintptr_t)page >= l->run[i].addr && (uintptr_t)page < run_end(&l->run[i]))
			return (int)l->run[i].kind;
	return NOTHING;
}

static void expect_(const char *page, int want, const char *what, int line)
{
	int is = reported_in(&got.runs, page);

	if (is == want)
		return;
	fprintf(stderr, "%s, line %d: %s: reported %d, not %d\n", tracker_name(kind), line, what, is, want);
	failures++;
}
#define expect(page, want, what) expect_(page, want, what, __LINE__)

static void expect_void(const char *page, const char *what)
{
	if (reported_in(&got.reset, page) == RUN_DROP)
		return;
	fprintf(stderr, "%s: %s: no reset\n", tracker_name(kind), what);
	failures++;
}

/* Where the kernel tells of a new mapping that lies where one of its kind lay. */
static void expect_reset(const char *page, const char *what)
{
	if (kind == TRACKER_WP_ASYNC)
		expect_void(page, what);
}

static char *map(size_t len, int prot, int flags, int fd, void *at)
{
	char *m = mmap(at, len, prot, flags | (at ? MAP_FIXED : 0), fd, 0);

	if (m == MAP_FAILED) {
		perror("mmap");
		_exit(1);
	}
	return m;
}

static void anonymous_memory(void)
{
	char *m = map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, NULL);

	m[0] = m[PAGE] = m[2 * PAGE] = 1;
	*(volatile char *)(m + 3 * PAGE);
	collect(false);
	expect_reset(m, "a new mapping");
	expect(m, RUN_DATA, "a page of a new mapping");
	expect(m + 3 * PAGE, NOTHING, "a page that was only read");
	expect(m + 4 * PAGE, NOTHING, "a page that was never touched");
	m[PAGE]++;
	madvise(m + 2 * PAGE, PAGE, MADV_DONTNEED);
	collect(false);
	expect(m, NOTHING, "a page that did not change");
	expect(m + PAGE, RUN_DATA, "a page that was written");
	expect(m + 2 * PAGE, RUN_DROP, "a page that was given up");
	m[2 * PAGE] = 5;
	madvise(m, PAGE, MADV_DONTNEED);
	*(volatile char *)m;
	collect(false);
	expect(m, RUN_DROP, "a page that was given up and read");
	expect(m + PAGE, NOTHING, "a page that did not change since");
	expect(m + 2 * PAGE, RUN_DATA, "a page that was given up and written");
	mprotect(m + PAGE, PAGE, PROT_NONE);
	collect(false);
	expect(m + PAGE, NOTHING, "a page whose protection changed");
	munmap(m, PAGES * PAGE);
}

static void moved_and_replaced(void)
{
	char *m = map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, NULL);
	char *to = map(PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, NULL);

	memset(m, 1, PAGES * PAGE);
	collect(false);
	if (mremap(m, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
		failures++;
	collect(false);
	expect_reset(to, "a mapping that was moved");
	expect(to, RUN_DATA, "a page that was moved");
	map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, to);
	to[PAGE] = 2;
	collect(false);
	expect_reset(to, "a mapping over another");
	expect(to + PAGE, RUN_DATA, "a page of a mapping over another");
	if (kind != TRACKER_WP_ASYNC)
		expect(to, RUN_DROP, "a page that another mapping took away");
	munmap(to, PAGES * PAGE);
}

/* mremap moves what is aligned as a whole, page table by page table, and marks no page of it. */
static void whole_page_tables_moved(void)
{
	char *m = map(4 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, NULL);
	char *from = (char *)(((uintptr_t)m + HUGE - 1) & ~(HUGE - 1ul)), *to = from + 2 * HUGE;

	for (int i = 0; i < 2; i++) {
		map(HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, i ? to : from);
		madvise(i ? to : from, HUGE, MADV_NOHUGEPAGE);
		memset(i ? to : from, 1 + i, HUGE);
	}
	collect(false);
	collect(false);
	expect(to, NOTHING, "a page that did not change, before another comes there");
	munmap(to, HUGE);
	if (mremap(from, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
		failures++;
	collect(false);
	expect_reset(to, "a page table that was moved");
	expect(to, RUN_DATA, "the first page of a page table that was moved to where pages were sent");
	expect(to + HUGE - PAGE, RUN_DATA, "the last page of it");
	collect(false);
	expect(to, NOTHING, "a page that did not change since its table was moved");
	munmap(m, 4 * HUGE);
}

static int file_of_text(void)
{
	char name[] = "/tmp/tracker-XXXXXX", text[PAGES * PAGE];
	int fd = mkstemp(name);

	memset(text, 'f', sizeof(text));
	if (fd < 0 || unlink(name) < 0 || write_full(fd, text, sizeof(text)) < 0) {
		perror(name);
		_exit(1);
	}
	return fd;
}

/* Nothing else of the mapping changes: giving a page up leaves no sign that would count as written. */
static void private_file_memory(void)
{
	cleanup_fd int fd = file_of_text();
	char *m = map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, NULL);

	memset(m, 1, 2 * PAGE);
	*(volatile char *)(m + 5 * PAGE);
	collect(false);
	expect(m, RUN_DATA, "a private file page that was written");
	expect(m + 5 * PAGE, NOTHING, "a private file page that was read");
	collect(false);
	expect(m, NOTHING, "a private file page that did not change");
	madvise(m, PAGE, MADV_DONTNEED);
	collect(false);
	expect(m, RUN_DROP, "a private file page that was given up");
	expect(m + PAGE, NOTHING, "its neighbour");
	m[0] = 7;
	m[5 * PAGE] = 7;
	collect(false);
	expect(m, RUN_DATA, "a private file page that was given up and written");
	expect(m + 5 * PAGE, RUN_DATA, "a private file page that was read, then written");
	munmap(m, PAGES * PAGE);
}

/* The list is read while the process runs. What comes behind it goes to the destination as what is listed there, and the next list makes the destination
 * begin anew with it. */
static void what_came_behind_the_list(void)
{
	cleanup_fd int fd = file_of_text();
	char *m = map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, NULL);
	struct vma_list listed = { 0 };

	m[0] = 1;
	collect(false);
	list(&listed);
	map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, m);
	memset(m, 2, (PAGES - 1) * PAGE);
	collect_by(&listed, false);
	vma_list_finish(&listed);
	collect(false);
	expect_void(m, "what was listed as a file's");
	expect(m, RUN_DATA, "the first page of what was listed as a file's");
	expect(m + (PAGES - 2) * PAGE, RUN_DATA, "its last page");
	collect(false);
	expect(m, NOTHING, "a page of what is listed as before");
	munmap(m, PAGES * PAGE);
}

static void as_it_is(struct vma *v) { (void)v; }
static void as_a_files(struct vma *v) { v->kind = VMA_FILE_PRIVATE; }
static void as_growing(struct vma *v) { v->grows_down = true; }
static void as_shared(struct vma *v) { v->kind = VMA_SHMEM; }
static void as_elsewhere_in_it(struct vma *v) { v->pgoff += PAGE; }
static void as_of_another_name(struct vma *v) { v->path = "/another"; }
static void as_of_another_file(struct vma *v) { v->inode++; }
static void as_of_another_device(struct vma *v) { v->dev_minor++; }

static void collect_listed(const char *m, void (*how)(struct vma *))
{
	struct vma_list vmas = { 0 };

	list(&vmas);
	how(&vmas.vma[vma_list_find(&vmas, (uintptr_t)m) - vmas.vma]);
	collect_by(&vmas, false);
	vma_list_finish(&vmas);
}

/* A file that was renamed, a piece of a stack that got a mapping of its own: nothing of the memory is new but its name. */
static void what_is_listed_otherwise(char *m, void (*const *how)(struct vma *), const char *what)
{
	for (memset(m, 3, PAGES * PAGE); *how; how++) {
		collect_listed(m, as_it_is);
		collect_listed(m, as_it_is);
		expect(m, NOTHING, what);
		collect_listed(m, *how);
		collect_listed(m, as_it_is);
		expect_void(m, what);
		expect(m, RUN_DATA, what);
		expect(m + (PAGES - 1) * PAGE, RUN_DATA, what);
	}
	munmap(m, PAGES * PAGE);
}

static void listed_otherwise(void)
{
	static void (*const anon[])(struct vma *) = { as_a_files, as_growing, as_shared, NULL };
	static void (*const file[])(struct vma *) = { as_elsewhere_in_it, as_of_another_name, as_of_another_file, as_of_another_device, as_shared, NULL };
	cleanup_fd int fd = file_of_text();

	what_is_listed_otherwise(map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, NULL), anon, "anonymous memory");
	what_is_listed_otherwise(map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, NULL), file, "a private file mapping");
}

static void shared_memory(void)
{
	cleanup_fd int fd = memfd_create("tracker", MFD_CLOEXEC);
	char *m;

	if (fd < 0 || ftruncate(fd, PAGES * PAGE) < 0) {
		failures++;
		return;
	}
	collect(false); /* nothing was sent where it comes to lie */
	m = map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, NULL);
	if (pwrite(fd, "x", 1, PAGE) != 1)
		failures++;
	collect(false);
	expect(m, NOTHING, "a hole of a memory file");
	expect(m + PAGE, RUN_DATA, "what write(2) put into a memory file");
	if (pwrite(fd, "y", 1, 2 * PAGE) != 1 || fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, PAGE) < 0)
		failures++;
	collect(true);
	expect(m + PAGE, RUN_DROP, "a hole punched into a memory file");
	expect(m + 2 * PAGE, RUN_DATA, "a memory file in the last round");
	munmap(m, PAGES * PAGE);
}

/* The object is the same at the destination too: what came while it lay elsewhere is in it still. */
static void shared_memory_that_moved(void)
{
	char *m, *to;

	collect(false); /* nothing was sent where it comes to lie */
	m = map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, NULL);
	to = map(PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, NULL);
	m[0] = m[PAGE] = 1;
	collect(false);
	expect(m, RUN_DATA, "a page of shared memory");
	if (mremap(m, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to || madvise(to, PAGE, MADV_REMOVE) < 0) {
		perror("mremap");
		failures++;
	}
	collect(true);
	expect(to, RUN_DROP, "a page of shared memory that was moved and given up");
	expect(to + PAGE, RUN_DATA, "a page of shared memory that was moved");
	munmap(to, PAGES * PAGE);
}

static void a_reservation_of_terabytes(void)
{
	size_t len = 1ul << 40;
	char *m = map(len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, NULL);

	madvise(m, len, MADV_NOHUGEPAGE);
	m[len / 2] = 1;
	collect(false);
	expect(m + len / 2, RUN_DATA, "the one page of a reservation");
	expect(m, NOTHING, "the rest of a reservation");
	m[len / 4] = 1;
	madvise(m + len / 2, PAGE, MADV_DONTNEED);
	collect(false);
	expect(m + len / 4, RUN_DATA, "another page of a reservation");
	expect(m + len / 2, RUN_DROP, "the page that was given up");
	munmap(m, len);
}

static void run_all(void)
{
	struct err e = { 0 };
	int uffd = -1;

	if (!tracker_probe(kind, &e)) {
		printf("%s is not tested: %s\n", tracker_name(kind), e.text);
		return;
	}
	if (kind == TRACKER_WP_ASYNC)
		uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	tracker = tracker_open(kind, getpid(), uffd, &e);
	if (!tracker) {
		fprintf(stderr, "%s\n", e.text);
		failures++;
		return;
	}
	collect(false);
	anonymous_memory();
	moved_and_replaced();
	whole_page_tables_moved();
	private_file_memory();
	what_came_behind_the_list();
	listed_otherwise();
	shared_memory();
	shared_memory_that_moved();
	if (kind == TRACKER_WP_ASYNC) /* where there is no PAGEMAP_SCAN every page of it is looked at */
		a_reservation_of_terabytes();
	tracker_close(tracker);
	tracker = NULL;
	printf("%s: done\n", tracker_name(kind));
}

int main(void)
{
	static const enum tracker_kind kinds[] = { TRACKER_WP_ASYNC, TRACKER_SOFT_DIRTY };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		kind = kinds[i];
		run_all();
	}
	collected_finish(&got);
	return failures ? 1 : 0;
}
