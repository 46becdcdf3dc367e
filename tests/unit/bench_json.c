/* SPDX-License-Identifier: Apache-2.0 */
/* A result line is JSON whatever stands in its names and values; sizes are read strictly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/bench_env.h"
#include "tests/lib/bench_json.h"

static void emits_one_line_with_numbers_and_strings_told_apart(void **state)
{
	char text[1024] = "";
	FILE *f = tmpfile();
	int keep = dup(1);

	(void)state;
	assert_non_null(f);
	fflush(stdout);
	dup2(fileno(f), 1);
	bench_json("a\"b", "c\\d", "GB/s", 1.5, "n", "17", "s", "1e", "t", "a\nb", NULL);
	fflush(stdout);
	dup2(keep, 1);
	close(keep);
	assert_true(pread(fileno(f), text, sizeof(text) - 1, 0) > 0);
	fclose(f);
	assert_string_equal(text, "{\"bench\":\"a\\\"b\",\"case\":\"c\\\\d\",\"unit\":\"GB/s\",\"value\":1.5,"
				  "\"params\":{\"n\":17,\"s\":\"1e\",\"t\":\"a\\u000ab\"}}\n");
}

static void cuts_a_string_that_does_not_fit(void **state)
{
	char small[16];

	(void)state;
	json_quote("0123456789abcdefghij", small, sizeof(small));
	assert_string_equal(small, "\"0123456\"");
}

static void reads_sizes_and_refuses_what_is_none(void **state)
{
	size_t v;

	(void)state;
	assert_true(bench_size("4K", &v) && v == 4096);
	assert_true(bench_size("3G", &v) && v == 3ull << 30);
	assert_true(bench_size("17", &v) && v == 17);
	assert_false(bench_size("", &v));
	assert_false(bench_size("-1", &v));
	assert_false(bench_size("4KB", &v));
	assert_false(bench_size("4X", &v));
	assert_false(bench_size("99999999999G", &v));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(emits_one_line_with_numbers_and_strings_told_apart),
		cmocka_unit_test(cuts_a_string_that_does_not_fit),
		cmocka_unit_test(reads_sizes_and_refuses_what_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
