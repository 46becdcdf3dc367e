/* SPDX-License-Identifier: Apache-2.0 */
/* A set is published whole or not at all: wherever giving names stops, the directory is as it was, empty or with the set before in it. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/page_sets.h"

static const int *const set = page_sets.set;
/* A file that does not get its name, or the directory whose names don't reach the disk ("."). NULL: none */
static const char *doomed;
static bool exchanges = true; /* what filesystem this is */

/* In place of the C library's. Names are taken back by moves out of the image directory: those succeed. */
int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	int (*real)(int, const char *, int, const char *, unsigned);

	*(void **)&real = dlsym(RTLD_NEXT, "renameat2");
	if (doomed && from_dir != set[0] && !strcmp(from, doomed)) {
		errno = ENOSPC;
		return -1;
	}
	if (!exchanges && flags & RENAME_EXCHANGE) {
		errno = EINVAL;
		return -1;
	}
	return real(from_dir, from, to_dir, to, flags);
}

int fsync(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	if (doomed && !strcmp(doomed, ".") && S_ISDIR(st.st_mode)) {
		errno = EIO;
		return -1;
	}
	return 0;
}

static const char *const names[] = { "pages-1.img", "pages-2.img", "pagemap-41.img", "pagemap-shmem-7.img", "." };
enum { NAMES = sizeof(names) / sizeof(names[0]) };

/* letters: of task 41; the memory of shared memory 7 is its first. Returns what finish does. */
static int write_set(const char *letters, const char *parent)
{
	struct image_set_options o = { .dirfd = set[0], .first_pages_id = 1, .durable = true, .parent = parent };
	char first[2] = { letters[0], 0 };
	struct err e = { 0 };
	struct page_sink *s = image_set_create(&o, &e);
	int rc;

	assert_non_null(s);
	set_open(s, PAGEMAP_TASK, 41);
	set_put(s, 0, letters);
	set_open(s, PAGEMAP_SHMEM, 7);
	set_put(s, 0, first);
	rc = s->ops->finish(s, &e);
	if (rc < 0)
		assert_non_null(strstr(e.text, !doomed ? "pagemap-41.img" : doomed[0] == '.' ? "to disk" : doomed));
	s->ops->destroy(s);
	return rc;
}

static bool is_there(const char *name)
{
	return faccessat(set[0], name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void nothing_is_there_of_half_a_set(void **state)
{
	(void)state;
	for (int i = 0; i < NAMES; i++) {
		doomed = names[i];
		assert_int_equal(write_set("ab", "../1"), -1);
		assert_int_equal(files_in(set[0]), 0);
	}
	doomed = NULL;
	assert_int_equal(write_set("ab", "../1"), 0);
	assert_int_equal(files_in(set[0]), 5);
	assert_true(is_there("parent"));
}

static void the_set_before_is_there_again(void **state)
{
	static const char *const later[NAMES] = { "pages-3.img", "pages-4.img", "pagemap-41.img", "pagemap-shmem-7.img", "." };

	(void)state;
	assert_int_equal(write_set("ab", NULL), 0);
	for (int i = 0; i < NAMES; i++) {
		doomed = later[i];
		assert_int_equal(write_set("cd", "../1"), -1);
		assert_int_equal(files_in(set[0]), 4);
		assert_true(is_there("pages-1.img") && is_there("pages-2.img"));
		expect_set(set[0], 41, "ab");
	}
	doomed = NULL;
	assert_int_equal(write_set("cd", NULL), 0);
	assert_int_equal(files_in(set[0]), 4);
	expect_set(set[0], 41, "cd");
}

/* There the set before can be lost, but never be taken for one with the other's pages. */
static void without_exchange_nothing_is_mixed(void **state)
{
	(void)state;
	exchanges = false;
	assert_int_equal(write_set("ab", NULL), 0);
	doomed = "pagemap-shmem-7.img";
	assert_int_equal(write_set("cd", NULL), -1);
	assert_false(is_there("pagemap-41.img"));
	assert_false(is_there("pages-3.img"));
	doomed = NULL;
	assert_int_equal(write_set("ef", NULL), 0);
	expect_set(set[0], 41, "ef");
	exchanges = true;
}

/* Somebody's directory of a page map's name is neither replaced nor removed. */
static void a_directory_is_not_replaced(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(mkdirat(set[0], "pagemap-41.img", 0700), 0);
	assert_int_equal(mkdirat(set[0], "pagemap-41.img/in-it", 0700), 0);
	assert_int_equal(write_set("ab", NULL), -1);
	assert_int_equal(files_in(set[0]), 1);
	assert_int_equal(fstatat(set[0], "pagemap-41.img/in-it", &st, 0), 0);
	assert_int_equal(unlinkat(set[0], "pagemap-41.img/in-it", AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(set[0], "pagemap-41.img", AT_REMOVEDIR), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_SETS(nothing_is_there_of_half_a_set),
		IN_SETS(the_set_before_is_there_again),
		IN_SETS(without_exchange_nothing_is_mixed),
		IN_SETS(a_directory_is_not_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
