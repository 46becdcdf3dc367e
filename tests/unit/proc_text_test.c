/* SPDX-License-Identifier: Apache-2.0 */
/* Fields of the kernel's texts are found by their whole name at the start of a line; a process's name, which it chooses, hides nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/proc_stat.h"
#include "proto/base/proc_text.h"

static const char status[] = "Name:\tUmask:\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t71\nNSpid:\t4711\t82\t7\nSigPnd:\t0000000000000100\nNStgid:\n";

static void fields_are_found_by_their_whole_name(void **state)
{
	(void)state;
	assert_int_equal(text_number(status, "Umask", 8, 1), 022);
	assert_int_equal(text_number(status, "SigPnd", 16, 1), 0x100);
	assert_int_equal(*text_field(status, "State"), 'S');
	assert_null(text_field(status, "pid"));
	assert_null(text_field(status, "Tgi"));
	assert_int_equal(text_number(status, "Seccomp", 10, 5), 5);
	assert_null(text_field("", "Tgid"));
}

static void the_last_of_a_list_is_the_innermost(void **state)
{
	(void)state;
	assert_int_equal(text_last_number(status, "NSpid"), 7);
	assert_int_equal(text_last_number(status, "Tgid"), 71);
	assert_int_equal(text_last_number(status, "NStgid"), -1);
	assert_int_equal(text_last_number(status, "NSsid"), -1);
}

static void a_name_hides_nothing_in_stat(void **state)
{
	static const char text[] = "4711 (a) Z 1 (2) R) T 1 2 3 4 5 4194308 7 8 9 10 11 12 13 14 15 16 17 18 987654321 20\n";
	struct proc_stat s = { 0 };

	(void)state;
	assert_int_equal(proc_stat_parse(text, &s), 0);
	assert_int_equal(s.state, 'T');
	assert_true(s.exiting);
	assert_int_equal(s.start_time, 987654321);
	assert_int_equal(text_stat_number(text, 4), 1);
	assert_int_equal(text_stat_number(text, 60), 0);
	assert_int_equal(proc_stat_parse("no process", &s), -1);
	assert_int_equal(proc_stat_parse("1 (x)", &s), -1);
}

static void we_find_ourselves(void **state)
{
	struct proc_stat s;
	struct err e = { 0 };
	char *text = status_text(getpid(), getpid(), &e);

	(void)state;
	assert_non_null(text);
	assert_int_equal(text_number(text, "Tgid", 10, 0), getpid());
	free(text);
	assert_int_equal(proc_stat_read(getpid(), getpid(), &s), 0);
	assert_int_equal(s.state, 'R');
	assert_false(s.exiting || proc_stat_ended(&s));
	assert_true(s.start_time > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_are_found_by_their_whole_name),
		cmocka_unit_test(the_last_of_a_list_is_the_innermost),
		cmocka_unit_test(a_name_hides_nothing_in_stat),
		cmocka_unit_test(we_find_ourselves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
