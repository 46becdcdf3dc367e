/* SPDX-License-Identifier: Apache-2.0 */
/* What threads did to their mappings is put into the order in which they did it, or said to be not to be told. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "pageserver/late/late_order.h"

#define P(n) ((uint64_t)(n) << DRAY_PAGE_SHIFT)
enum { MEMORY = 1000, N = 16 };

/* What is where in the process, by page. */
struct world { enum late_there at[MEMORY]; unsigned threads; };

static int there(void *arg, uint64_t at)
{
	const struct world *w = arg;

	return w->at[at >> DRAY_PAGE_SHIFT];
}

static unsigned threads(void *arg)
{
	return ((const struct world *)arg)->threads;
}

static void set(struct world *w, unsigned from, unsigned pages, enum late_there what)
{
	for (unsigned i = from; i < from + pages; i++)
		w->at[i] = what;
}

static struct late_change moved(unsigned from, unsigned to)
{
	return (struct late_change){ .kind = LATE_MOVED, .from = P(from), .to = P(to), .pages = N };
}

static struct late_change unmapped(unsigned from, unsigned pages)
{
	return (struct late_change){ .kind = LATE_UNMAPPED, .from = P(from), .pages = pages };
}

static struct late_change discarded(unsigned from, unsigned pages)
{
	return (struct late_change){ .kind = LATE_DISCARDED, .from = P(from), .pages = pages };
}

/* Blocks of N pages, all missing. */
static struct late_map blocks_at(const unsigned *at, size_t count)
{
	struct late_map m = { 0 };

	for (size_t i = 0; i < count; i++) {
		assert_int_equal(late_map_add(&m, P(at[i]), N), 0);
		late_map_mark(&m, P(at[i]), N);
	}
	return m;
}

static uint64_t place_of(const struct late_map *m, unsigned block)
{
	struct late_cursor c = { 0 };
	struct late_stretch s;

	return late_map_next(m, P(block), 1, &c, &s) ? s.at >> DRAY_PAGE_SHIFT : 0;
}

static int sort(const struct late_change *told, size_t count, struct late_map *m, struct world *w)
{
	const struct late_look look = { .there = there, .threads = threads, .arg = w };
	struct late_order o = { 0 };
	int rc = 0;

	for (size_t i = 0; i < count; i++)
		assert_int_equal(late_order_note(&o, &told[i]), 0);
	rc = late_order_sort(&o, m, &look);
	if (rc == 0)
		rc = late_order_apply(&o, m);
	late_order_finish(&o);
	return rc;
}
#define SORT(m, w, ...) \
	sort((const struct late_change[]){ __VA_ARGS__ }, sizeof((struct late_change[]){ __VA_ARGS__ }) / sizeof(struct late_change), m, w)

static void who_lands_where_another_one_left_came_after_it(void **state)
{
	struct late_map m = blocks_at((const unsigned[]){ 100, 200 }, 2);
	struct world w = { .threads = 2 };

	(void)state;
	set(&w, 100, N, LATE_ABSENT);
	set(&w, 300, N, LATE_ABSENT);
	assert_int_equal(SORT(&m, &w, moved(200, 100), unmapped(200, N), moved(100, 300), unmapped(100, N)), 0);
	assert_int_equal(place_of(&m, 100), 300);
	assert_int_equal(place_of(&m, 200), 100);
	late_map_finish(&m);
	m = blocks_at((const unsigned[]){ 100, 200 }, 2);
	assert_int_equal(SORT(&m, &w, moved(200, 100), unmapped(100, N), unmapped(200, N)), 0);
	assert_int_equal(place_of(&m, 100), 0);
	assert_int_equal(place_of(&m, 200), 100);
	late_map_finish(&m);
}

static void the_unmap_of_an_old_place_takes_nothing_new(void **state)
{
	struct late_map m = blocks_at((const unsigned[]){ 100, 200 }, 2);
	struct world w = { .threads = 2 };

	(void)state;
	set(&w, 100, N, LATE_ABSENT);
	set(&w, 300, N, LATE_ABSENT);
	assert_int_equal(SORT(&m, &w, moved(100, 300), moved(200, 100), unmapped(100, N), unmapped(200, N)), 0);
	assert_int_equal(place_of(&m, 100), 300);
	assert_int_equal(place_of(&m, 200), 100);
	late_map_finish(&m);
}

static void part_of_a_hole_is_one_too(void **state)
{
	struct late_map m = blocks_at((const unsigned[]){ 100, 200 }, 2);
	struct world w = { .threads = 5 };

	(void)state;
	set(&w, 97, N, LATE_ABSENT);
	set(&w, 300, N, LATE_ABSENT);
	assert_int_equal(SORT(&m, &w, moved(100, 300), unmapped(100, N), moved(200, 97), unmapped(200, N), unmapped(113, 4)), 0);
	assert_int_equal(place_of(&m, 100), 300);
	assert_int_equal(place_of(&m, 200), 97);
	late_map_finish(&m);
}

/* A block that is moved thrice is not taken for three of which two were not known of, though all the places are watched in the end. */
static void what_is_known_moves_rather_than_what_is_not(void **state)
{
	struct late_map m = blocks_at((const unsigned[]){ 100, 200 }, 2);
	struct world w = { .threads = 5 };

	(void)state;
	set(&w, 400, N + 4, LATE_ABSENT);
	w.at[100] = w.at[300] = LATE_ABSENT; /* others have grown to there */
	assert_int_equal(SORT(&m, &w, moved(100, 403), unmapped(100, N), unmapped(200, N), moved(403, 214), unmapped(403, N), moved(214, 400),
			      unmapped(214, N)), 0);
	assert_int_equal(place_of(&m, 100), 400);
	assert_int_equal(place_of(&m, 200), 0);
	late_map_finish(&m);
}

/* What a child had of it, when its parent had told `told` of them. */
static int born(const struct late_change *c, size_t count, size_t told, struct late_map *m, struct world *child)
{
	const struct late_look look = { .there = there, .threads = threads, .arg = child };
	struct late_order o = { 0 };
	int rc;

	for (size_t i = 0; i < count; i++)
		assert_int_equal(late_order_note(&o, &c[i]), 0);
	rc = late_order_sort(&o, m, &look);
	if (rc == 0)
		rc = late_order_apply_born(&o, told, m, &look);
	late_order_finish(&o);
	return rc;
}

static void a_child_has_what_its_memory_says(void **state)
{
	static const struct late_change c[] = { { LATE_MOVED, P(100), P(300), N, 0 }, { LATE_UNMAPPED, P(100), 0, N, 0 } };

	(void)state;
	for (size_t told = 0; told <= 2; told++) {
		struct late_map m = blocks_at((const unsigned[]){ 100 }, 1);
		struct world w = { .threads = 2 };

		set(&w, 100, N, LATE_ABSENT); /* forked, then moved */
		assert_int_equal(born(c, 2, told, &m, &w), 0);
		assert_int_equal(place_of(&m, 100), 100);
		late_map_finish(&m);
		m = blocks_at((const unsigned[]){ 100 }, 1);
		set(&w, 100, N, LATE_UNWATCHED);
		set(&w, 300, N, LATE_ABSENT); /* moved, then forked */
		assert_int_equal(born(c, 2, told, &m, &w), 0);
		assert_int_equal(place_of(&m, 100), 300);
		late_map_finish(&m);
	}
}

static void what_is_unmapped_beside_a_fork_is_the_child_s_if_it_has_it(void **state)
{
	static const struct late_change c[] = { { LATE_UNMAPPED, P(100), 0, N, 0 } };
	struct late_map m = blocks_at((const unsigned[]){ 100 }, 1);
	struct world w = { .threads = 2 };

	(void)state;
	set(&w, 100, N, LATE_ABSENT);
	assert_int_equal(born(c, 1, 1, &m, &w), 0);
	assert_int_equal(place_of(&m, 100), 100);
	set(&w, 100, N, LATE_UNWATCHED);
	assert_int_equal(born(c, 1, 0, &m, &w), 0);
	assert_int_equal(place_of(&m, 100), 0);
	late_map_finish(&m);
}

static void a_child_that_is_as_no_order_says_is_not_guessed_at(void **state)
{
	static const struct late_change c[] = { { LATE_MOVED, P(100), P(300), N, 0 } };
	struct late_map m = blocks_at((const unsigned[]){ 100 }, 1);
	struct world w = { .threads = 2 };

	(void)state;
	assert_int_equal(born(c, 1, 1, &m, &w), -EUCLEAN);
	late_map_finish(&m);
}

/* Both end at 300, and whose is there depends on who was first. */
static void what_two_threads_race_for_is_not_guessed_at(void **state)
{
	for (unsigned n = 1; n <= 2; n++) {
		struct late_map m = blocks_at((const unsigned[]){ 100, 200, 300 }, 3);
		struct world w = { .threads = n };

		(void)state;
		set(&w, 300, N, LATE_ABSENT);
		assert_int_equal(SORT(&m, &w, unmapped(300, N), unmapped(300, N), moved(100, 300), moved(200, 300), unmapped(100, N), unmapped(200, N)),
				 n == 1 ? 0 : -EUCLEAN);
		late_map_finish(&m);
	}
}

static void what_memory_tells_decides(void **state)
{
	struct world w = { .threads = 2 };
	struct late_map m;

	(void)state;
	for (unsigned first = 100; first <= 200; first += 100) {
		m = blocks_at((const unsigned[]){ 100, 200, 300 }, 3);
		late_map_clear(&m, P(first + 3), 1); /* is there, and is seen where it went */
		set(&w, 300, N, LATE_ABSENT);
		w.at[303] = LATE_PRESENT;
		assert_int_equal(SORT(&m, &w, unmapped(300, N), unmapped(300, N), moved(100, 300), moved(200, 300), unmapped(100, N), unmapped(200, N)), 0);
		assert_int_equal(place_of(&m, first), 300);
		assert_int_equal(place_of(&m, 300 - first), 0);
		late_map_finish(&m);
	}
}

static void what_is_discarded_is_what_was_there_when_it_was_told(void **state)
{
	struct late_map m = blocks_at((const unsigned[]){ 100, 200 }, 2);
	struct world w = { .threads = 2 };

	(void)state;
	set(&w, 100, N, LATE_ABSENT);
	set(&w, 300, N, LATE_ABSENT);
	assert_int_equal(SORT(&m, &w, moved(200, 100), unmapped(200, N), discarded(100, N), moved(100, 300), unmapped(100, N)), 0);
	assert_int_equal(place_of(&m, 100), 300);
	assert_int_equal(place_of(&m, 200), 0);
	late_map_finish(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_lands_where_another_one_left_came_after_it),
		cmocka_unit_test(the_unmap_of_an_old_place_takes_nothing_new),
		cmocka_unit_test(part_of_a_hole_is_one_too),
		cmocka_unit_test(what_is_known_moves_rather_than_what_is_not),
		cmocka_unit_test(a_child_has_what_its_memory_says),
		cmocka_unit_test(what_is_unmapped_beside_a_fork_is_the_child_s_if_it_has_it),
		cmocka_unit_test(a_child_that_is_as_no_order_says_is_not_guessed_at),
		cmocka_unit_test(what_two_threads_race_for_is_not_guessed_at),
		cmocka_unit_test(what_memory_tells_decides),
		cmocka_unit_test(what_is_discarded_is_what_was_there_when_it_was_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
