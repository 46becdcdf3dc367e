/* SPDX-License-Identifier: Apache-2.0 */
/* Witnesses: clean pages that stand where they stood are believed, those of a page table that came from elsewhere are not; where nobody can tell, nobody is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "migrate/track/witness.h"

enum { ZERO = 7, SOME = 40 };

static const struct zero_pages zero = { .small = ZERO };
static witness_t witness[WITNESS_BLOCK];
static uint64_t words[WITNESS_BLOCK];

/* A block of clean pages that nobody remembers. */
static int block(void **state)
{
	(void)state;
	memset(witness, 0, sizeof(witness));
	for (unsigned i = 0; i < WITNESS_BLOCK; i++)
		words[i] = PM_PRESENT | PM_EXCLUSIVE | (1000 + i);
	return 0;
}

static bool agree(void)
{
	return witnesses_agree(witness, words, WITNESS_BLOCK, &zero);
}

static void call(void)
{
	witnesses_call(witness, words, WITNESS_BLOCK, &zero);
}

static void pages_that_stand_where_they_stood_are_believed(void **state)
{
	(void)state;
	call();
	assert_true(agree());
	for (unsigned i = 0; i < WITNESS_BLOCK; i++) /* of those that are clean one is enough; what was written may stand anywhere */
		if (i != SOME)
			words[i] = (words[i] + i % 2) | PM_SOFT_DIRTY;
	assert_true(agree());
}

static void a_table_that_came_is_not(void **state)
{
	(void)state;
	call();
	for (unsigned i = 0; i < WITNESS_BLOCK; i++)
		words[i] += 5000;
	assert_false(agree());
	call();
	assert_true(agree());
	words[SOME]++; /* one that stands elsewhere is enough */
	assert_false(agree());
}

static void where_nobody_can_tell_nobody_is(void **state)
{
	(void)state;
	assert_false(agree());
	call();
	for (unsigned i = 0; i < WITNESS_BLOCK; i++)
		words[i] |= PM_SOFT_DIRTY;
	assert_false(agree());
	for (unsigned i = 0; i < WITNESS_BLOCK; i++)
		words[i] = i % 2 ? 0 : PM_PRESENT | ZERO;
	assert_false(agree());
	call();
	assert_false(agree());
}

static void pages_of_two_processes_may_come_to_stand_elsewhere(void **state)
{
	(void)state;
	for (unsigned i = 0; i < WITNESS_BLOCK; i++)
		words[i] &= ~PM_EXCLUSIVE;
	call();
	assert_true(agree());
	for (unsigned i = 0; i < WITNESS_BLOCK; i++)
		if (i != SOME)
			words[i] = (words[i] + 5000) | PM_EXCLUSIVE;
	assert_true(agree());
	words[SOME] += 5000;
	assert_false(agree());
}

static void swap_is_a_place_too(void **state)
{
	(void)state;
	for (unsigned i = 0; i < WITNESS_BLOCK; i++)
		words[i] = PM_SWAP | (uint64_t)(1000 + i) << 5 | 1;
	call();
	assert_true(agree());
	words[SOME] = PM_PRESENT | PM_EXCLUSIVE | (1000 + SOME) << 5 | 1; /* it was read back: it can't tell, the others can */
	assert_true(agree());
	words[SOME + 1] += 1 << 5;
	assert_false(agree());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(pages_that_stand_where_they_stood_are_believed, block),
		cmocka_unit_test_setup(a_table_that_came_is_not, block),
		cmocka_unit_test_setup(where_nobody_can_tell_nobody_is, block),
		cmocka_unit_test_setup(pages_of_two_processes_may_come_to_stand_elsewhere, block),
		cmocka_unit_test_setup(swap_is_a_place_too, block),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
