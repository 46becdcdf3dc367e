/* SPDX-License-Identifier: Apache-2.0 */
/* Each session of the page server has a directory of its own: its name is the template's, it is new, and no link leads it elsewhere. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "pageserver/stock/session_dir.h"

static const struct session_name name = { .number = 7, .peer = "10.0.0.2", .start = 1795530245 };

static void letters_are_replaced(void **state)
{
	static const struct { const char *template, *path; } cases[] = {
		{ "/srv/%n", "/srv/7" },
		{ "%p/%n", "10.0.0.2/7" },
		{ "/srv/100%%/%t-%n.d", "/srv/100%/20261124T142405Z-7.d" },
		{ "plain", "plain" },
	};
	char path[PATH_MAX];
	struct err e;

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(session_path(cases[i].template, &name, path, &e), 0);
		assert_string_equal(path, cases[i].path);
	}
}

static void templates_without_a_number_are_refused(void **state)
{
	static const char *const good[] = { "%n", "/a/%n", "/a/%p/%t-%n/x", "/a%%/%n" };
	static const char *const bad[] = { "", "/a", "/a/%p", "/a/%%n", "/a/%x/%n", "/a/%n/%" };
	struct err e = { 0 };

	(void)state;
	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_int_equal(session_template_check(good[i], &e), 0);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(session_template_check(bad[i], &e), -1);
		assert_int_equal(e.kind, ERR_USAGE);
	}
}

static char root[64];

static void under_root(char path[PATH_MAX], const char *rest)
{
	snprintf(path, PATH_MAX, "%s/%s", root, rest);
}

static void a_directory_is_always_new(void **state)
{
	struct session_name n = { .number = 1, .peer = "unix" };
	char template[PATH_MAX], want[PATH_MAX];
	struct session_dir a, b;
	struct err e;
	struct stat st;

	(void)state;
	under_root(template, "%p/%n");
	assert_int_equal(session_dir_make(template, &n, &a, &e), 0);
	assert_int_equal(session_dir_make(template, &n, &b, &e), 0);
	assert_int_equal(n.number, 2);
	under_root(want, "unix/2");
	assert_string_equal(b.path, want);
	assert_int_equal(fstat(b.fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	session_dir_close(&b, true);
	assert_int_equal(access(want, F_OK), -1);
	session_dir_close(&b, true);
	session_dir_close(&a, false);
	assert_int_equal(access(a.path, F_OK), 0);
}

static void a_link_is_not_followed(void **state)
{
	struct session_name n = { .number = 1, .peer = "evil" };
	char template[PATH_MAX], link[PATH_MAX];
	struct session_dir d;
	struct err e;

	(void)state;
	under_root(template, "%p/%n");
	under_root(link, "evil");
	assert_int_equal(symlink("/tmp", link), 0);
	assert_int_equal(session_dir_make(template, &n, &d, &e), -1);
	assert_non_null(strstr(e.text, "evil/1"));
	assert_int_equal(d.fd, -1);
}

static void what_is_not_there_is_named(void **state)
{
	struct session_name n = { .number = 1, .peer = "x" };
	char template[PATH_MAX];
	struct session_dir d;
	struct err e;

	(void)state;
	under_root(template, "missing/%n");
	assert_int_equal(session_dir_make(template, &n, &d, &e), -1);
	assert_int_equal(e.num, ENOENT);
}

static void the_way_between_sessions_is_relative(void **state)
{
	static const struct { const char *template, *to, *path; } cases[] = {
		{ "/srv/%n", "/srv/3", "../3" },
		{ "/srv/%p/%n", "/srv/::1/3", "../../::1/3" },
		{ "/srv/%p/set/%n/", "/srv/a/set/4/", "../../../a/set/4/" },
		{ "%n", "5", "../5" },
		{ "x%n", "x5", "../x5" },
	};
	char path[PATH_MAX];
	struct err e;

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(session_dir_relative(cases[i].template, cases[i].to, path, &e), 0);
		assert_string_equal(path, cases[i].path);
	}
}

static int make_root(void **state)
{
	(void)state;
	strcpy(root, "/tmp/session-dir-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
	static const char *const left[] = { "unix/1", "unix", "evil" };
	char path[PATH_MAX];

	(void)state;
	for (unsigned i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
		under_root(path, left[i]);
		remove(path);
	}
	return rmdir(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(letters_are_replaced),
		cmocka_unit_test(templates_without_a_number_are_refused),
		cmocka_unit_test(a_directory_is_always_new),
		cmocka_unit_test(a_link_is_not_followed),
		cmocka_unit_test(what_is_not_there_is_named),
		cmocka_unit_test(the_way_between_sessions_is_relative),
	};

	return cmocka_run_group_tests(tests, make_root, remove_root);
}
