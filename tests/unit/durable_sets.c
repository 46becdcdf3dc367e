/* SPDX-License-Identifier: Apache-2.0 */
/* What is durable is on disk before it has its name, and its name before the writer says that it is done; what is not asked to be is not synced. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pageserver/images/store.h"
#include "tests/lib/page_sets.h"

static const int *const set = page_sets.set;
/* What happened, a letter each: s a file synced, D a directory synced, m a file moved into its place. */
static char happened[64];

static void note(char what)
{
	size_t n = strlen(happened);

	if (n + 1 < sizeof(happened))
		happened[n] = what;
}

/* In place of the C library's: the calls are noted, and made. */
int fsync(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	note(S_ISDIR(st.st_mode) ? 'D' : 's');
	return fdatasync(fd);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	int (*real)(int, const char *, int, const char *, unsigned);

	*(void **)&real = dlsym(RTLD_NEXT, "renameat2");
	note('m');
	return real(from_dir, from, to_dir, to, flags);
}

static int make_sets(void **state)
{
	memset(happened, 0, sizeof(happened));
	return page_sets_make(state);
}

static void write_set(bool durable)
{
	struct image_set_options o = { .dirfd = set[0], .first_pages_id = 1, .durable = durable };
	struct err e = { 0 };
	struct page_sink *s = image_set_create(&o, &e);

	assert_non_null(s);
	set_open(s, PAGEMAP_TASK, 41);
	set_put(s, 0, "ab");
	set_open(s, PAGEMAP_SHMEM, 7);
	set_put(s, 0, "c");
	set_finish(s);
}

static void files_are_synced_before_they_have_their_names(void **state)
{
	(void)state;
	write_set(true);
	assert_string_equal(happened, "ssssmmmmD"); /* pages file and page map of each */
}

static void nothing_is_synced_unasked(void **state)
{
	(void)state;
	write_set(false);
	assert_string_equal(happened, "mmmm");
}

static void a_store_syncs_what_it_publishes(void **state)
{
	struct page_store_options o = { .dirfd = set[0], .first_pages_id = 1, .durable = true };
	struct err e = { 0 };
	struct page_store *s = page_store_create(&o, &e);
	struct page_sink *r;

	(void)state;
	assert_non_null(s);
	for (int i = 0; i < 2; i++) {
		r = page_store_round(s, &e);
		assert_non_null(r);
		set_open(r, PAGEMAP_TASK, 41);
		set_put(r, 0, "ab");
		set_finish(r);
	}
	assert_string_equal(happened, "mmmm");
	memset(happened, 0, sizeof(happened));
	assert_int_equal(page_store_publish(s, &e), 0);
	assert_string_equal(happened, "ssmmD");
	page_store_destroy(s);
}

#define NOTED(f) cmocka_unit_test_setup_teardown(f, make_sets, page_sets_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		NOTED(files_are_synced_before_they_have_their_names),
		NOTED(nothing_is_synced_unasked),
		NOTED(a_store_syncs_what_it_publishes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
