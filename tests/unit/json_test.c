/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever bytes go in, what comes out is JSON that a reader accepts and that means the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/json.h"

static char text[65536];

static FILE *text_open(struct json *j)
{
	FILE *f = fmemopen(text, sizeof(text), "w");

	assert_non_null(f);
	json_begin(j, f);
	return f;
}

static void text_close(struct json *j, FILE *f)
{
	assert_int_equal(json_end(j), 0);
	fclose(f);
}

static void string_is(const char *value, const char *expected)
{
	struct json j;
	FILE *f = text_open(&j);

	json_string(&j, NULL, value);
	text_close(&j, f);
	assert_string_equal(text, expected);
}

static void commas_and_nesting_are_right(void **state)
{
	struct json j;
	FILE *f = text_open(&j);

	(void)state;
	json_object_open(&j, NULL);
	json_u64(&j, "a", UINT64_MAX);
	json_i64(&j, "b", INT64_MIN);
	json_array_open(&j, "c");
	json_array_close(&j);
	json_array_open(&j, "d");
	json_object_open(&j, NULL);
	json_bool(&j, "x", true);
	json_object_close(&j);
	json_object_open(&j, NULL);
	json_object_close(&j);
	json_string(&j, NULL, NULL);
	json_array_close(&j);
	json_ms(&j, "e", 1234005);
	json_real(&j, "f", 2.345, 1);
	json_real(&j, "g", NAN, 1);
	json_object_close(&j);
	text_close(&j, f);
	assert_string_equal(text, "{\"a\":18446744073709551615,\"b\":-9223372036854775808,\"c\":[],"
				  "\"d\":[{\"x\":true},{},null],\"e\":1234.005,\"f\":2.3,\"g\":null}\n");
}

static void control_characters_and_quotes_are_escaped(void **state)
{
	(void)state;
	string_is("a\"b\\c\n\t\x01\x0b\x7f", "\"a\\\"b\\\\c\\n\\t\\u0001\\u000b\\u007f\"\n");
	string_is("\b\f\r", "\"\\b\\f\\r\"\n");
}

static void valid_utf8_passes_unchanged(void **state)
{
	(void)state;
	string_is("\xc3\xa9\xe2\x82\xac\xf0\x9f\x9a\x9a", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x9a\x9a\"\n");
}

static void bytes_that_are_not_utf8_become_replacement_characters(void **state)
{
	(void)state;
	string_is("\xff", "\"\xef\xbf\xbd\"\n");
	string_is("\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\"\n");                 /* overlong */
	string_is("\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"\n"); /* surrogate */
	string_is("\xe2\x82", "\"\xef\xbf\xbd\xef\xbf\xbd\"\n");                 /* cut short by the end */
	string_is("\xf4\x90\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"\n");
	string_is("\xe2\x28\xa1", "\"\xef\xbf\xbd(\xef\xbf\xbd\"\n");
}

static void another_program_reads_every_byte_value(void **state)
{
	char all[256], command[128], path[] = "/tmp/dray-json-XXXXXX";
	int fd = mkstemp(path), status;
	struct json j;
	FILE *f = fdopen(fd, "w");

	(void)state;
	assert_non_null(f);
	for (int i = 1; i < 256; i++)
		all[i - 1] = (char)i;
	all[255] = '\0';
	json_begin(&j, f);
	json_object_open(&j, NULL);
	json_string(&j, all, all);
	json_object_close(&j);
	assert_int_equal(json_end(&j), 0);
	fclose(f);
	snprintf(command, sizeof(command), "python3 -m json.tool < %s > /dev/null", path);
	status = system(command);
	unlink(path);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		skip();
	assert_int_equal(status, 0);
}

static void a_full_device_is_reported(void **state)
{
	FILE *f = fopen("/dev/full", "w");
	struct json j;

	(void)state;
	assert_non_null(f);
	json_begin(&j, f);
	json_bool(&j, NULL, true);
	assert_int_equal(json_end(&j), -ENOSPC);
	fclose(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commas_and_nesting_are_right),
		cmocka_unit_test(control_characters_and_quotes_are_escaped),
		cmocka_unit_test(valid_utf8_passes_unchanged),
		cmocka_unit_test(bytes_that_are_not_utf8_become_replacement_characters),
		cmocka_unit_test(another_program_reads_every_byte_value),
		cmocka_unit_test(a_full_device_is_reported),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
