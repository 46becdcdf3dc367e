/* SPDX-License-Identifier: Apache-2.0 */
/* A chain of page maps that is walked is the chain that is read; and who checks holes against it, folds it or punches it takes no more memory for long page
 * maps than for short ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "images.pb-c.h"
#include "pageserver/images/pagemap_walk.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/image/image.h"
#include "tests/lib/page_sets.h"

enum { PAGE = PAGE_SETS_PAGE, BASE = PAGE_SETS_BASE, PAGES = 300, SEEDS = 20 };

static const int *const set = page_sets.set;

/* ---- a walk and a reader ---- */

static void put_letters(struct page_sink *s, unsigned n, char letter, unsigned nr)
{
	char letters[PAGES + 1];

	memset(letters, letter, nr);
	letters[nr] = 0;
	set_put(s, n, letters);
}

/* A set over the one before: stretches of pages that it stores, leaves to its parent as far as that has them, or does not speak of. */
static void write_random(unsigned level, char model[PAGES])
{
	struct page_sink *s = set_begin(set[level], level ? (const char *[]){ "", "../0", "../1", "../2" }[level] : NULL);
	unsigned nr;

	set_open(s, PAGEMAP_TASK, 41);
	for (unsigned n = 0; n < PAGES; n += nr) {
		unsigned what = (unsigned)rand() % 3;

		nr = 1 + (unsigned)rand() % 9;
		nr = nr < PAGES - n ? nr : PAGES - n;
		if (what == 0)
			put_letters(s, n, (char)('a' + rand() % 26), nr);
		for (unsigned i = n; i < n + nr; i++) {
			char here = (char)('a' + (int)level);

			if (what == 1 && model[i] != '.')
				set_hole(s, i, 1);
			else
				model[i] = what ? '.' : here;
		}
	}
	set_finish(s);
}

static void expect_extents(struct pagemap_reader *r, struct pagemap_walk *w)
{
	struct page_extent x, y;
	struct err e = { 0 };
	uint64_t at = 0;
	int more = 0;

	/* A walk does not join what lies side by side in a file. */
	while (pagemap_next(r, &x, &e) == 1) {
		for (at = x.vaddr; at < x.vaddr + x.nr * PAGE; at += y.nr * PAGE) {
			more = pagemap_walk_next(w, &y, &e);
			assert_int_equal(more, 1);
			assert_true(y.vaddr == at && y.nr <= x.nr - (at - x.vaddr) / PAGE);
			assert_true(y.flags == x.flags && y.depth == x.depth && y.offset == x.offset + (at - x.vaddr));
		}
	}
	assert_false(err_is_set(&e));
	for (int twice = 0; twice < 2; twice++)
		assert_int_equal(pagemap_walk_next(w, &y, &e), 0);
}

static void a_walk_is_what_is_read(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= SEEDS; seed++) {
		char model[PAGES];
		struct err e = { 0 };

		srand(seed);
		memset(model, '.', sizeof(model));
		assert_int_equal(page_sets_make(NULL), 0);
		for (unsigned level = 0; level < PAGE_SETS; level++) {
			struct pagemap_reader *r;
			struct pagemap_walk *w;

			write_random(level, model);
			r = set_reader(set[level], 41);
			w = pagemap_walk_open(set[level], PAGEMAP_TASK, 41, &e);
			assert_non_null(w);
			expect_extents(r, w);
			pagemap_walk_close(w);
			w = pagemap_walk_open(set[level], PAGEMAP_TASK, 41, &e);
			for (unsigned n = 0; n < PAGES; n += 3)
				assert_int_equal(pagemap_walk_covers(w, BASE + n * PAGE, 3, &e), pagemap_covers(r, BASE + n * PAGE, 3));
			pagemap_walk_close(w);
			pagemap_close(r);
		}
		assert_int_equal(page_sets_remove(NULL), 0);
	}
}

static void a_walk_ends_where_a_set_lies(void **state)
{
	struct page_extent x;
	struct err e = { 0 };
	struct pagemap_walk *w;

	(void)state;
	assert_null(pagemap_walk_open(set[0], PAGEMAP_TASK, 41, &e));
	assert_int_equal(e.kind, ERR_GONE);
	set_chain_of_three();
	cleanup_fd int pages = openat(set[1], "pages-1.img", O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(pages, 4 * PAGE), 0);
	w = pagemap_walk_open(set[2], PAGEMAP_TASK, 41, &e);
	assert_non_null(w);
	while (pagemap_walk_next(w, &x, &e) == 1)
		;
	assert_non_null(strstr(e.text, "1 set back: pages-1.img is truncated: its page map speaks of 5 pages, 4 are there"));
	pagemap_walk_close(w);
}

/* ---- memory ---- */

#ifdef __SANITIZE_ADDRESS__
enum { ROOM = 256 << 20 };
#else
enum { ROOM = 4 << 20 }; /* less than a table of MANY ranges takes */
#endif
enum { MANY = 300 * 1000 };

static void put_message(struct image_out *o, const ProtobufCMessage *m)
{
	struct err e = { 0 };

	if (image_put(o, m, &e) < 0)
		fail_msg("%s", e.text);
}

/* Every second page, of MANY; its pages file has no blocks. */
static void write_many(int dir, uint32_t flags)
{
	struct err e = { 0 };
	struct image_out *o = image_create(dir, IMAGE_PAGEMAP, 41, &e);
	cleanup_fd int pages = openat(dir, "pages-1.img", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	PagemapHead head = PAGEMAP_HEAD__INIT;

	head.pages_id = 1;
	assert_non_null(o);
	assert_int_equal(ftruncate(pages, (off_t)MANY * PAGE), 0);
	put_message(o, &head.base);
	for (uint64_t n = 0; n < MANY; n++) {
		PagemapEntry m = PAGEMAP_ENTRY__INIT;

		m.vaddr = BASE + 2 * n * PAGE;
		m.compat_nr_pages = 1;
		m.has_flags = true;
		m.flags = flags;
		put_message(o, &m.base);
	}
	assert_int_equal(image_close(o, false, &e), 0);
}

static uint64_t data_bytes(void)
{
	struct err e = { 0 };
	cleanup_free char *text = file_read(AT_FDCWD, "/proc/self/status", 1 << 16, NULL, &e);
	const char *at = text ? strstr(text, "VmData:") : NULL;

	assert_non_null(at);
	return strtoull(at + 7, NULL, 10) << 10;
}

/* A round of nothing but holes, each in the parent, but for the first page. */
static bool take_round(const struct image_set_options *o)
{
	static char page[PAGE];
	struct err e = { 0 };
	struct page_sink *s = image_set_create(o, &e);
	bool parent, ok = s && s->ops->open(s, PAGEMAP_TASK, 41, &parent, &e) == 0 && s->ops->pages(s, BASE, 1, PAGE_PRESENT, page, &e) == 0;

	for (uint64_t n = 1; ok && n < MANY; n++)
		ok = s->ops->hole(s, BASE + 2 * n * PAGE, 1, PAGE_IN_PARENT, &e) == 0;
	ok = ok && s->ops->finish(s, &e) == 0;
	if (s)
		s->ops->destroy(s);
	if (!ok)
		fprintf(stderr, "%s\n", e.text);
	return ok;
}

static void in_little_memory(const struct image_set_options *o)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		struct rlimit l = { data_bytes() + ROOM, data_bytes() + ROOM };

		if (setrlimit(RLIMIT_DATA, &l) < 0)
			_exit(2);
		_exit(!take_round(o));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void long_page_maps_take_no_memory(void **state)
{
	struct image_set_options round = { .dirfd = set[1], .first_pages_id = 1, .parent = "../0", .check_holes = true, .auto_dedup = true };
	struct image_set_options flat = { .dirfd = set[3], .first_pages_id = 1, .parent = "../2", .flat = true };

	(void)state;
	write_many(set[0], PAGE_PRESENT);
	in_little_memory(&round);
	write_many(set[2], PAGE_LAZY); /* so that nothing is to be copied */
	in_little_memory(&flat);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_walk_is_what_is_read),
		IN_SETS(a_walk_ends_where_a_set_lies),
		IN_SETS(long_page_maps_take_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
