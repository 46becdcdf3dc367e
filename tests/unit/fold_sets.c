/* SPDX-License-Identifier: Apache-2.0 */
/* A set that is folded with its parents reads as before and needs them no more; they stay as they were; one that can't be folded stays what it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "tests/lib/page_sets.h"

static const int *const set = page_sets.set;

static void flatten(void)
{
	struct image_flatten_options o = { .dirfd = set[2], .first_pages_id = 1 };
	struct pagemap_reader *r;
	struct err e = { 0 };
	uint64_t pages;

	for (int twice = 0; twice < 2; twice++) {
		if (image_set_flatten(&o, &pages, &e) < 0)
			fail_msg("%s", e.text);
		assert_int_equal(pages, twice ? 0 : 10);
		assert_int_equal(files_in(set[2]), 2); /* no link any more */
		r = set_reader(set[2], 41);
		expect_letters(r, CHAIN_OF_THREE);
		expect_extent(r, 0, 5, PAGE_PRESENT, 0);
		pagemap_close(r);
	}
}

static void a_chain_is_folded_where_it_is(void **state)
{
	(void)state;
	set_chain_of_three();
	flatten();
	expect_set(set[1], 41, "abCDefgh.JKL.");
	expect_set(set[0], 41, "abcdefgh..kl.");
}

static void a_broken_chain_is_not_folded(void **state)
{
	struct image_flatten_options o = { .dirfd = set[2], .first_pages_id = 1 };
	struct err e = { 0 };

	(void)state;
	set_chain_of_three();
	assert_int_equal(unlinkat(set[0], "pagemap-41.img", 0), 0);
	assert_int_equal(image_set_flatten(&o, NULL, &e), -1);
	assert_non_null(strstr(e.text, "pagemap-41.img: the hole at 0x10000 of 2 pages is in no parent"));
	assert_int_equal(files_in(set[2]), 3);
	expect_set(set[2], 41, "..C4.....JKLx");
}

static void put_two(int dir, const char *letters)
{
	struct page_sink *s = set_begin(dir, NULL);

	set_open(s, PAGEMAP_TASK, 41);
	set_put(s, 0, letters);
	set_finish(s);
}

/* As when the set is read; and it stays, for whoever put it there. */
static void a_parent_that_is_there_goes_before_one_that_is_named(void **state)
{
	struct image_set_options o = { .dirfd = set[2], .first_pages_id = 1, .parent = "../1", .flat = true };
	struct err e = { 0 };
	struct page_sink *s;

	(void)state;
	put_two(set[0], "ab");
	put_two(set[1], "xy");
	assert_int_equal(symlinkat("../0", set[2], "parent"), 0);
	s = image_set_create(&o, &e);
	assert_non_null(s);
	assert_true(set_open(s, PAGEMAP_TASK, 41));
	set_hole(s, 0, 2);
	set_finish(s);
	expect_set(set[2], 41, "ab");
	assert_int_equal(files_in(set[2]), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_SETS(a_chain_is_folded_where_it_is),
		IN_SETS(a_broken_chain_is_not_folded),
		IN_SETS(a_parent_that_is_there_goes_before_one_that_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
