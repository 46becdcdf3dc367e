/* SPDX-License-Identifier: Apache-2.0 */
/* Who is refused hears of every object in the way, each with its way out, in a line of bounded length; the last that have no room are counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "migrate/native/obstacles.h"
#include "proto/base/log.h"

static const char otherwise[] = "there may be another way";

static void all_are_named_with_their_ways_out(void **state)
{
	struct obstacle v[] = { { "task 4: mnt namespace", "" }, { "task 4 fd 7: TCP connection", "--tcp-close" } };
	const struct obstacles o = { .v = v, .count = 2 };
	struct err e = { 0 };

	(void)state;
	assert_int_equal(obstacles_refuse(&o, otherwise, &e), -1);
	assert_int_equal(e.kind, ERR_UNSUPPORTED);
	assert_string_equal(e.text, "task 4: mnt namespace; task 4 fd 7: TCP connection (would go with --tcp-close); there may be another way");
	obstacles_refuse(&o, NULL, &e);
	assert_string_equal(e.text, "task 4: mnt namespace; task 4 fd 7: TCP connection (would go with --tcp-close)");
}

static void what_one_look_alone_has_seen_is_dropped(void **state)
{
	struct obstacle v[] = { { "task 4 fd 6: socket of family 0", "" }, { "task 4 fd 7: AF_NETLINK socket", "" }, { "task 4 fd 8: a pipe", "" } };
	struct obstacle w[] = { { "task 4 fd 9: a pipe", "" }, { "task 4 fd 7: AF_NETLINK socket", "" } };
	struct obstacles o = { .v = v, .count = 3 };
	const struct obstacles again = { .v = w, .count = 2 };

	(void)state;
	obstacles_keep(&o, &again);
	assert_int_equal(o.count, 1);
	assert_string_equal(o.v[0].what, "task 4 fd 7: AF_NETLINK socket");
	obstacles_keep(&o, &(struct obstacles){ 0 });
	assert_int_equal(o.count, 0);
}

static void who_has_ways_out_needs_no_other(void **state)
{
	struct obstacle v[] = { { "task 4 fd 7: TCP connection", "--tcp-close" } };
	const struct obstacles o = { .v = v, .count = 1 };
	struct err e = { 0 };

	(void)state;
	obstacles_refuse(&o, otherwise, &e);
	assert_string_equal(e.text, "task 4 fd 7: TCP connection (would go with --tcp-close)");
}

/* However long their names: the first is whole, and the text's end is not lost. */
static void what_has_no_room_is_counted(void **state)
{
	static struct obstacle v[100];
	const struct obstacles o = { .v = v, .count = 100 };
	struct err e = { 0 };
	char first[sizeof(v[0].what)];

	(void)state;
	for (size_t i = 0; i < 100; i++) {
		memset(v[i].what, 'a' + (int)(i % 26), sizeof(v[i].what) - 1);
		memset(v[i].way_out, '-', sizeof(v[i].way_out) - 1);
	}
	v[99].way_out[0] = '\0';
	memcpy(first, v[0].what, sizeof(first));
	obstacles_refuse(&o, otherwise, &e);
	assert_memory_equal(e.text, first, strlen(first));
	assert_non_null(strstr(e.text, "--); and 99 more, which the log names; there may be another way"));
	assert_in_range(strlen(e.text), 1, 599);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_are_named_with_their_ways_out),
		cmocka_unit_test(what_one_look_alone_has_seen_is_dropped),
		cmocka_unit_test(who_has_ways_out_needs_no_other),
		cmocka_unit_test(what_has_no_room_is_counted),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
