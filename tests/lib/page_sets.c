/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/page_sets.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/cleanup.h"

enum { PAGE = PAGE_SETS_PAGE };

static void check(bool right, const char *what)
{
	if (right)
		return;
	fprintf(stderr, "%s\n", what);
	abort();
}

struct page_sets page_sets;

int page_sets_make(void **unused)
{
	struct page_sets *p = &page_sets;

	(void)unused;
	strcpy(p->root, "/tmp/page-sets-XXXXXX");
	if (!mkdtemp(p->root))
		return -1;
	p->at = open(p->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < PAGE_SETS; i++) {
		char name[] = { (char)('0' + i), 0 };

		if (mkdirat(p->at, name, 0700) < 0)
			return -1;
		p->set[i] = openat(p->at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	return 0;
}

static bool is_name(const struct dirent *x)
{
	return strcmp(x->d_name, ".") && strcmp(x->d_name, "..");
}

static DIR *list(int dir)
{
	DIR *d = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));

	check(d, "list a set");
	return d;
}

unsigned files_in(int dir)
{
	cleanup_dir DIR *d = list(dir);
	struct dirent *x;
	unsigned n = 0;

	while ((x = readdir(d)))
		n += is_name(x);
	return n;
}

int page_sets_remove(void **unused)
{
	const struct page_sets *p = &page_sets;

	(void)unused;
	for (int i = 0; i < PAGE_SETS; i++) {
		cleanup_dir DIR *d = list(p->set[i]);
		char name[] = { (char)('0' + i), 0 };
		struct dirent *x;

		while ((x = readdir(d)))
			if (is_name(x))
				unlinkat(p->set[i], x->d_name, 0);
		close(p->set[i]);
		if (unlinkat(p->at, name, AT_REMOVEDIR) < 0)
			return -1;
	}
	close(p->at);
	return rmdir(p->root);
}

bool can_punch(int dir)
{
	cleanup_fd int fd = openat(dir, "probe", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	static const char two[2 * PAGE];
	struct stat st;
	bool yes;

	check(write(fd, two, sizeof(two)) == sizeof(two), "write two pages");
	yes = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE) == 0 && fstat(fd, &st) == 0 && st.st_blocks == 8;
	unlinkat(dir, "probe", 0);
	return yes;
}

struct page_sink *set_begin(int dir, const char *parent)
{
	struct image_set_options o = { .dirfd = dir, .first_pages_id = 1, .parent = parent, .check_holes = true };
	struct err e = { 0 };
	struct page_sink *s = image_set_create(&o, &e);

	check(s, e.text);
	return s;
}

bool set_open(struct page_sink *s, enum pagemap_kind kind, uint64_t id)
{
	struct err e = { 0 };
	bool parent = true;

	check(s->ops->open(s, kind, id, &parent, &e) == 0, e.text);
	return parent;
}

void set_put(struct page_sink *s, uint64_t n, const char *letters)
{
	size_t nr = strlen(letters);
	cleanup_free char *data = malloc(nr * PAGE);
	struct err e = { 0 };

	check(data, "memory");
	for (size_t i = 0; i < nr; i++)
		memset(data + i * PAGE, letters[i], PAGE);
	check(s->ops->pages(s, PAGE_SETS_BASE + n * PAGE, nr, PAGE_PRESENT, data, &e) == 0, e.text);
}

void set_hole(struct page_sink *s, uint64_t n, uint64_t nr)
{
	struct err e = { 0 };

	check(s->ops->hole(s, PAGE_SETS_BASE + n * PAGE, nr, PAGE_IN_PARENT, &e) == 0, e.text);
}

void set_finish(struct page_sink *s)
{
	struct err e = { 0 };

	check(s->ops->finish(s, &e) == 0, e.text);
	s->ops->destroy(s);
}

void set_chain_of_three(void)
{
	struct page_sink *s = set_begin(page_sets.set[0], NULL);

	check(!set_open(s, PAGEMAP_TASK, 41), "the first set has no parent");
	set_put(s, 0, "abcdefgh");
	set_put(s, 10, "kl");
	set_finish(s);
	s = set_begin(page_sets.set[1], "../0");
	check(set_open(s, PAGEMAP_TASK, 41), "the second set has a parent");
	set_hole(s, 0, 2);
	set_put(s, 2, "CD");
	set_hole(s, 4, 4);
	set_put(s, 9, "JKL");
	set_finish(s);
	s = set_begin(page_sets.set[2], "../1");
	check(set_open(s, PAGEMAP_TASK, 41), "the third set has a parent");
	set_hole(s, 0, 3);
	set_put(s, 3, "4");
	set_hole(s, 4, 1);
	set_hole(s, 6, 1);
	set_hole(s, 9, 3);
	set_put(s, 12, "x");
	set_finish(s);
}

struct pagemap_reader *set_reader(int dir, uint64_t id)
{
	struct err e = { 0 };
	struct pagemap_reader *r = pagemap_open(dir, PAGEMAP_TASK, id, &e);

	check(r, e.text);
	return r;
}

static void expect_letter(struct pagemap_reader *r, uint64_t n, char letter)
{
	bool there = pagemap_covers(r, PAGE_SETS_BASE + n * PAGE, 1);
	char page[PAGE], what[96] = "";
	struct err e = { 0 };

	snprintf(what, sizeof(what), "page %" PRIu64 " is %s, '%c' expected", n, there ? "there" : "not there", letter);
	check(there == (letter != '.'), what);
	if (!there)
		return;
	check(pagemap_read(r, PAGE_SETS_BASE + n * PAGE, 1, page, &e) == 0, e.text);
	snprintf(what, sizeof(what), "page %" PRIu64 " is '%c', '%c' expected", n, page[0], letter);
	check(page[0] == letter && page[PAGE - 1] == letter, what);
}

void expect_letters(struct pagemap_reader *r, const char *letters)
{
	for (size_t i = 0; letters[i]; i++)
		expect_letter(r, i, letters[i]);
}

void expect_set(int dir, uint64_t id, const char *letters)
{
	struct pagemap_reader *r = set_reader(dir, id);

	expect_letters(r, letters);
	pagemap_close(r);
}

void expect_extent(struct pagemap_reader *r, uint64_t n, uint64_t nr, uint32_t flags, unsigned depth)
{
	struct page_extent x = { 0 };
	struct err e = { 0 };
	char what[160];

	check(pagemap_next(r, &x, &e) == 1, e.text);
	snprintf(what, sizeof(what), "0x%" PRIx64 ", %" PRIu64 " pages, flags %u, depth %u in place of page %" PRIu64 ", %" PRIu64 " pages, flags %u, depth %u",
		 x.vaddr, x.nr, x.flags, x.depth, n, nr, flags, depth);
	check(x.vaddr == PAGE_SETS_BASE + n * PAGE && x.nr == nr && x.flags == flags && x.depth == depth, what);
}

void expect_end(struct pagemap_reader *r)
{
	struct page_extent x;
	struct err e = { 0 };

	check(pagemap_next(r, &x, &e) == 0, "ranges behind the last");
}
