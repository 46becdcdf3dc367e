/* SPDX-License-Identifier: Apache-2.0 */
/* How long pages were waited for is told within a sixteenth, whatever the time, and a page that nobody waited for counts nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "pageserver/late/late_waits.h"

enum { PAGE = 4096 };

static void a_time_is_told_within_a_sixteenth(void **state)
{
	(void)state;
	for (uint64_t us = 0; us < 1u << 27; us += us / 7 + 1) {
		struct late_waits w = { 0 };

		late_waits_begin(&w, PAGE, 1000);
		late_waits_placed(&w, 0, 2 * PAGE, 1000 + us);
		assert_in_range(late_waits_us(&w, 500), us - us / 16, us);
		assert_int_equal(w.count, 1);
	}
}

static void percentiles_count_from_the_shortest(void **state)
{
	struct late_waits w = { 0 };

	(void)state;
	assert_int_equal(late_waits_us(&w, 990), 0);
	for (uint64_t i = 0; i < 100; i++) {
		late_waits_begin(&w, i * PAGE, 0);
		late_waits_placed(&w, i * PAGE, (i + 1) * PAGE, i < 98 ? 10 : 1 << 20);
	}
	assert_int_equal(late_waits_us(&w, 500), 10);
	assert_int_equal(late_waits_us(&w, 980), 10);
	assert_int_equal(late_waits_us(&w, 990), 1 << 20);
}

static void waits_end_with_their_page(void **state)
{
	struct late_waits w = { 0 };

	(void)state;
	for (uint64_t i = 0; i < LATE_WAITS_OPEN + 5; i++)
		late_waits_begin(&w, i * PAGE, i);
	late_waits_begin(&w, 0, 1000); /* asked again: it waits since 0 */
	assert_int_equal(w.open_count, LATE_WAITS_OPEN);
	late_waits_placed(&w, 1000 * PAGE, 1001 * PAGE, 2000);
	assert_int_equal(w.count, 0);
	late_waits_placed(&w, 0, PAGE, 15);
	assert_int_equal(w.count, 1);
	assert_int_equal(late_waits_us(&w, 1000), 15);
	late_waits_placed(&w, 0, 1000 * PAGE, LATE_WAITS_OPEN);
	assert_int_equal(w.open_count, 0);
	assert_int_equal(w.count, LATE_WAITS_OPEN);
	late_waits_placed(&w, 0, 1000 * PAGE, LATE_WAITS_OPEN);
	assert_int_equal(w.count, LATE_WAITS_OPEN);
}

/* Since it was asked for first. */
static void a_page_is_waited_for_once(void **state)
{
	struct late_waits w = { 0 };

	(void)state;
	late_waits_begin(&w, PAGE, 0);
	late_waits_begin(&w, PAGE, 5);
	assert_int_equal(w.open_count, 1);
	late_waits_placed(&w, PAGE, 2 * PAGE, 15);
	assert_int_equal(w.count, 1);
	assert_int_equal(late_waits_us(&w, 1000), 15);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_time_is_told_within_a_sixteenth),
		cmocka_unit_test(percentiles_count_from_the_shortest),
		cmocka_unit_test(waits_end_with_their_page),
		cmocka_unit_test(a_page_is_waited_for_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
