/* SPDX-License-Identifier: Apache-2.0 */
/* A page of the workload that is stale, misplaced or torn is told from a right one, whatever its kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <lz4.h>
#include <stdlib.h>

#include "tests/lib/page_data.h"

enum { PAGE = 4096, BLOCK = 64 * 1024 };

static void tells_wrong_pages_from_right_ones(void **state)
{
	unsigned char page[PAGE];

	(void)state;
	for (int kind = PAGE_ZERO; kind <= PAGE_HEAP; kind++) {
		struct page_data *d = page_data_create((enum page_data_kind)kind, 5);

		assert_non_null(d);
		assert_true(page_data_intact(d));
		for (uint32_t generation = 0; generation < 4; generation++) {
			page_data_write(d, page, 77, generation);
			assert_true(page_data_check(d, page, 77, generation));
			assert_false(page_data_check(d, page, 77, generation + 1));
			if (kind != PAGE_ZERO || generation > 0) {
				assert_false(page_data_check(d, page, 78, generation));
			}
			page[4095] ^= 1;
			assert_false(page_data_check(d, page, 77, generation));
		}
		page_data_destroy(d);
	}
}

static int stored(enum page_data_kind kind)
{
	unsigned char *raw = malloc(BLOCK);
	char *out = malloc(LZ4_COMPRESSBOUND(BLOCK));
	struct page_data *d = page_data_create(kind, 9);
	int n;

	assert_true(raw && out && d);
	for (unsigned i = 0; i < BLOCK / PAGE; i++)
		page_data_write(d, raw + i * PAGE, i, 1);
	n = LZ4_compress_default((char *)raw, out, BLOCK, LZ4_COMPRESSBOUND(BLOCK));
	page_data_destroy(d);
	free(raw);
	free(out);
	return n;
}

static void compresses_as_its_kind_says(void **state)
{
	(void)state;
	assert_in_range(stored(PAGE_ZERO), 1, BLOCK / 20);
	assert_in_range(stored(PAGE_TEXT), BLOCK / 5, BLOCK / 3 * 2);
	assert_in_range(stored(PAGE_HEAP), BLOCK / 8, BLOCK / 2);
	assert_true(stored(PAGE_RANDOM) >= BLOCK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_wrong_pages_from_right_ones),
		cmocka_unit_test(compresses_as_its_kind_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
