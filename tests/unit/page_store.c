/* SPDX-License-Identifier: Apache-2.0 */
/* Rounds end as one flat set with the newest of each page, each page is held once meanwhile, and a set that is folded reads as before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pageserver/images/store.h"
#include "proto/base/cleanup.h"
#include "tests/lib/page_sets.h"

static const int *const set = page_sets.set;

static struct page_store *store(void)
{
	struct page_store_options o = { .dirfd = set[0], .first_pages_id = 65537 };
	struct err e = { 0 };
	struct page_store *s = page_store_create(&o, &e);

	if (!s)
		fail_msg("%s", e.text);
	return s;
}

static struct page_sink *round_of(struct page_store *s)
{
	struct err e = { 0 };
	struct page_sink *r = page_store_round(s, &e);

	if (!r)
		fail_msg("%s", e.text);
	return r;
}

static void publish(struct page_store *s)
{
	struct err e = { 0 };

	if (page_store_publish(s, &e) < 0)
		fail_msg("%s", e.text);
}

/* Each round: what it writes of pages 0 to 7; '-': a hole; '.': not there any more. */
static void write_round(struct page_sink *r, uint64_t id, const char *letters, bool parent)
{
	assert_int_equal(set_open(r, PAGEMAP_TASK, id), parent);
	for (uint64_t n = 0; letters[n]; n++) {
		if (letters[n] == '-')
			set_hole(r, n, 1);
		else if (letters[n] != '.')
			set_put(r, n, (char[]){ letters[n], 0 });
	}
}

static void one_round(struct page_store *s, const char *letters, bool parent)
{
	struct page_sink *r = round_of(s);

	write_round(r, 41, letters, parent);
	set_finish(r);
}

static void rounds_end_as_one_flat_set(void **state)
{
	struct page_store *s = store();
	struct pagemap_reader *r;

	(void)state;
	one_round(s, "abcd.fgh", false);
	one_round(s, "-BC-E--.", true);
	one_round(s, "1--.-x-H", true);
	publish(s);
	page_store_destroy(s);
	assert_int_equal(files_in(set[0]), 2);
	assert_int_equal(faccessat(set[0], "pages-65537.img", F_OK, 0), 0);
	r = set_reader(set[0], 41);
	expect_letters(r, "1BC.ExgH");
	expect_extent(r, 0, 3, PAGE_PRESENT, 0);
	expect_extent(r, 4, 4, PAGE_PRESENT, 0);
	expect_end(r);
	pagemap_close(r);
}

static void a_page_is_held_once(void **state)
{
	struct page_store *s = store();

	(void)state;
	if (!can_punch(set[1]))
		skip();
	for (int i = 0; i < 5; i++) {
		uint64_t bytes;

		one_round(s, i == 0 ? "abcdefgh" : i % 2 ? "--cdefgh" : "abcd-fgh", i > 0);
		bytes = page_store_bytes(s);
		if (bytes < 8 * 4096 || bytes > 8 * 4096 + 7 * 4096) /* and a page map a round */
			fail_msg("%llu bytes for 8 pages after round %d", (unsigned long long)bytes, i);
	}
	page_store_destroy(s);
}

static void a_round_that_was_broken_off_has_never_been(void **state)
{
	struct page_store *s = store();
	struct page_sink *r;
	struct err e = { 0 };

	(void)state;
	r = round_of(s);
	r->ops->destroy(r);
	assert_int_equal(page_store_publish(s, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	one_round(s, "abcd", false);
	r = round_of(s);
	write_round(r, 41, "WXYZ", true);
	r->ops->destroy(r);
	one_round(s, "-B--", true);
	publish(s);
	page_store_destroy(s);
	assert_int_equal(files_in(set[0]), 2);
	expect_set(set[0], 41, "aBcd");
}

static void holes_that_no_round_fills_are_refused(void **state)
{
	struct page_store *s = store();
	struct page_sink *r;
	struct err e = { 0 };

	(void)state;
	one_round(s, "ab.d", false);
	one_round(s, "-..-", true);
	r = round_of(s);
	assert_true(set_open(r, PAGEMAP_TASK, 41));
	assert_int_equal(r->ops->hole(r, PAGE_SETS_BASE, 2, PAGE_IN_PARENT, &e), -1);
	assert_non_null(strstr(e.text, "pagemap-41.img: the hole at 0x10000 of 2 pages is in no parent"));
	r->ops->destroy(r);
	page_store_destroy(s);
	assert_int_equal(files_in(set[0]), 0);
}

static void who_ended_is_not_published_nor_kept(void **state)
{
	struct page_store *s = store();
	struct page_sink *r = round_of(s);
	uint64_t before;

	(void)state;
	write_round(r, 41, "ab", false);
	write_round(r, 42, "0123456789abcdefghijklmnopqrstuvwxyz", false);
	set_finish(r);
	one_round(s, "--", true);
	before = page_store_bytes(s);
	r = round_of(s); /* tidies */
	assert_false(set_open(r, PAGEMAP_TASK, 42));
	r->ops->destroy(r);
	if (can_punch(set[1]))
		assert_true(page_store_bytes(s) + 36 * 4096 <= before);
	publish(s);
	page_store_destroy(s);
	assert_int_equal(files_in(set[0]), 2);
	expect_set(set[0], 41, "ab");
}

static void any_number_of_rounds(void **state)
{
	struct page_store *s = store();
	char want[9] = "abcdefgh", round[9];

	(void)state;
	one_round(s, want, false);
	for (int i = 0; i < 70; i++) {
		memset(round, '-', 8);
		round[8] = 0;
		round[i % 8] = want[i % 8] = (char)('A' + i % 26);
		one_round(s, round, true);
	}
	publish(s);
	page_store_destroy(s);
	assert_int_equal(files_in(set[0]), 2);
	expect_set(set[0], 41, want);
}

/* A size limit stands in for a full disk. */
static void what_can_not_be_published_leaves_the_old_set(void **state)
{
	struct page_sink *old = set_begin(set[0], NULL);
	struct page_store *s = store();
	struct rlimit was, small;
	struct err e = { 0 };

	(void)state;
	set_open(old, PAGEMAP_TASK, 41);
	set_put(old, 0, "old");
	set_finish(old);
	one_round(s, "abcdefgh", false);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	small = (struct rlimit){ 3 * 4096, was.rlim_max };
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(page_store_publish(s, &e), -1);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	assert_int_equal(e.num, EFBIG);
	one_round(s, "abcd", false); /* nothing of it is left to build on */
	page_store_destroy(s);
	assert_int_equal(files_in(set[0]), 2);
	expect_set(set[0], 41, "old");
}

static void a_killed_stores_files_are_swept(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		struct page_store *s = store();
		struct page_sink *r;

		one_round(s, "abc", false);
		r = round_of(s);
		write_round(r, 41, "xyz", true);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(files_in(set[0]), 1);
	page_store_destroy(store());
	assert_int_equal(files_in(set[0]), 0);
}

static void flatten(bool consume)
{
	struct image_flatten_options o = { .dirfd = set[2], .first_pages_id = 1, .consume = consume };
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
	flatten(false);
	expect_set(set[1], 41, "abCDefgh.JKL.");
	expect_set(set[0], 41, "abcdefgh..kl.");
}

static void folding_frees_what_it_took(void **state)
{
	struct stat st;

	(void)state;
	set_chain_of_three();
	flatten(true);
	if (!can_punch(set[3]))
		skip();
	assert_int_equal(fstatat(set[1], "pages-1.img", &st, 0), 0);
	assert_int_equal(st.st_blocks, 0);
	assert_int_equal(fstatat(set[0], "pages-1.img", &st, 0), 0);
	assert_int_equal(st.st_blocks, 2 * 8); /* f and h, which the newest set does not have */
}

static void a_broken_chain_is_not_folded(void **state)
{
	struct image_flatten_options o = { .dirfd = set[2], .first_pages_id = 1, .consume = true };
	struct err e = { 0 };

	(void)state;
	set_chain_of_three();
	assert_int_equal(unlinkat(set[0], "pagemap-41.img", 0), 0);
	assert_int_equal(image_set_flatten(&o, NULL, &e), -1);
	assert_non_null(strstr(e.text, "pagemap-41.img: the hole at 0x10000 of 2 pages is in no parent"));
	assert_int_equal(files_in(set[2]), 3);
	expect_set(set[2], 41, "..C4.....JKLx");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_SETS(rounds_end_as_one_flat_set),
		IN_SETS(a_page_is_held_once),
		IN_SETS(a_round_that_was_broken_off_has_never_been),
		IN_SETS(holes_that_no_round_fills_are_refused),
		IN_SETS(who_ended_is_not_published_nor_kept),
		IN_SETS(any_number_of_rounds),
		IN_SETS(what_can_not_be_published_leaves_the_old_set),
		IN_SETS(a_killed_stores_files_are_swept),
		IN_SETS(a_chain_is_folded_where_it_is),
		IN_SETS(folding_frees_what_it_took),
		IN_SETS(a_broken_chain_is_not_folded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
