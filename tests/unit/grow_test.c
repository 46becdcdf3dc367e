/* SPDX-License-Identifier: Apache-2.0 */
/* An array that grows keeps what is in it, and stays what it was where there is no room for more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proto/base/grow.h"

static void what_is_in_it_stays(void **state)
{
	size_t count = 0, capacity = 0;
	uint64_t *v = NULL;

	(void)state;
	for (; count < 1000; count++) {
		assert_true(array_room(&v, count, &capacity, sizeof(*v), 3));
		assert_true(capacity > count && capacity % 3 == 0);
		v[count] = count * 7;
	}
	assert_int_equal(capacity, 3 << 9);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(v[i], i * 7);
	free(v);
}

static void without_memory_nothing_changes(void **state)
{
	static const size_t full[] = { SIZE_MAX / 8, SIZE_MAX / 2 + 1, SIZE_MAX };
	uint64_t one = 1, *v = &one;

	(void)state;
	for (size_t i = 0; i < sizeof(full) / sizeof(full[0]); i++) {
		size_t capacity = full[i];

		assert_false(array_room(&v, capacity, &capacity, sizeof(*v), 3));
		assert_true(v == &one && capacity == full[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_in_it_stays),
		cmocka_unit_test(without_memory_nothing_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
