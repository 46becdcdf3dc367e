/* SPDX-License-Identifier: Apache-2.0 */
/* Post-copy's bookkeeping: what is missing follows the process's mappings, what is sent is sent once, hottest first, behind a question next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "migrate/conduct/late_pages.h"
#include "pageserver/late/late_map.h"
#include "proto/wire/late.h"

#define P(n) ((uint64_t)(n) << DRAY_PAGE_SHIFT)

static uint64_t wanted(struct late_map *m, uint64_t at)
{
	bool first;

	return late_map_want(m, at, &first);
}

static struct late_map a_map(void) /* pages 100 to 199; 110 to 119 and 150 are missing */
{
	struct late_map m = { 0 };

	assert_int_equal(late_map_add(&m, P(100), 100), 0);
	late_map_mark(&m, P(110), 10);
	late_map_mark(&m, P(150), 1);
	late_map_mark(&m, P(150), 1);
	assert_int_equal(m.missing, 11);
	return m;
}

static void a_page_is_asked_for_once(void **state)
{
	struct late_map m = a_map();
	bool first;

	(void)state;
	assert_int_equal(late_map_want(&m, P(112), &first), P(112));
	assert_true(first);
	assert_int_equal(late_map_want(&m, P(112), &first), P(112));
	assert_false(first);
	assert_true(wanted(&m, P(109)) == UINT64_MAX && wanted(&m, P(120)) == UINT64_MAX && wanted(&m, P(300)) == UINT64_MAX);
	late_map_finish(&m);
}

static void count_asked(void *arg, uint64_t source)
{
	uint64_t *sum = arg;

	*sum += source >> DRAY_PAGE_SHIFT;
}

static void what_moved_keeps_its_name(void **state)
{
	struct late_map m = a_map(), child = { 0 };
	struct late_cursor c = { 0 };
	struct late_stretch s;
	uint64_t asked = 0;

	(void)state;
	wanted(&m, P(116));
	assert_int_equal(late_map_move(&m, P(115), P(500), 40), 0); /* 115 to 154 */
	assert_int_equal(wanted(&m, P(501)), P(116));
	assert_true(wanted(&m, P(116)) == UINT64_MAX);
	assert_int_equal(wanted(&m, P(114)), P(114));
	assert_int_equal(m.missing, 11);
	late_map_asked(&m, count_asked, &asked);
	assert_int_equal(asked, 116 + 114);
	assert_int_equal(late_map_copy(&m, &child), 0);
	assert_int_equal(child.missing, 11);
	/* By the source's name it is found where it is now. */
	assert_true(late_map_next(&m, P(116), 2, &c, &s));
	assert_true(s.at == P(501) && s.source == P(116) && s.pages == 2);
	assert_false(late_map_next(&m, P(116), 2, &c, &s));
	late_map_clear(&m, P(110), 10);
	assert_int_equal(m.missing, 1);
	assert_int_equal(child.missing, 11);
	late_map_finish(&m);
	late_map_finish(&child);
}

static void what_is_discarded_is_not_missing(void **state)
{
	struct late_map m = a_map();

	(void)state;
	assert_int_equal(late_map_drop(&m, P(112), 2, false), 0);
	assert_int_equal(m.missing, 9);
	assert_int_equal(late_map_drop(&m, P(105), 10, true), 0); /* 105 to 114: of the missing, 110, 111 and 114 */
	assert_int_equal(m.missing, 6);
	assert_true(wanted(&m, P(114)) == UINT64_MAX);
	assert_int_equal(wanted(&m, P(115)), P(115));
	late_map_finish(&m);
}

static struct run_list runs(void)
{
	struct run_list l = { 0 };

	run_list_add(&l, P(512), 3, RUN_DATA);       /* a cool block */
	run_list_add(&l, P(1024), 300, RUN_DATA);    /* a hot one, two pieces */
	run_list_add(&l, P(4096 + 7), 1, RUN_DATA);
	return l;
}

static void hot_blocks_go_first_and_all_go_once(void **state)
{
	static const struct page_run want[] = { { P(1024), 256, 0 }, { P(1280), 44, 0 }, { P(512), 3, 0 }, { P(4103), 1, 0 } };
	struct run_list l = runs();
	struct late_pages p;
	struct page_run r;

	(void)state;
	assert_int_equal(late_pages_init(&p, &l), 0);
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		assert_true(late_pages_take(&p, &r));
		assert_true(r.addr == want[i].addr && r.pages == want[i].pages);
	}
	assert_false(late_pages_take(&p, &r));
	assert_int_equal(p.left, 0);
	late_pages_finish(&p);
	run_list_finish(&l);
}

static void a_question_brings_its_neighbours_and_moves_the_order(void **state)
{
	struct run_list l = runs();
	struct late_pages p;
	struct page_run r;

	(void)state;
	assert_int_equal(late_pages_init(&p, &l), 0);
	assert_true(late_pages_near(&p, P(513), 16, &r));
	assert_true(r.addr == P(512) && r.pages == 3);
	assert_false(late_pages_near(&p, P(515), 16, &r));
	assert_true(late_pages_take(&p, &r)); /* behind the question: its piece is sent, the next one is at 1024 */
	assert_int_equal(r.addr, P(1024));
	assert_true(late_pages_near(&p, P(4103), 16, &r));
	assert_true(late_pages_take(&p, &r));
	assert_int_equal(r.addr, P(1280)); /* nothing lies behind that one: back to the order */
	assert_true(late_pages_near(&p, P(1030), 16, &r)); /* sent already: once more, alone */
	assert_true(r.addr == P(1030) && r.pages == 1);
	assert_int_equal(p.left, 0);
	late_pages_finish(&p);
	run_list_finish(&l);
}

/* Whoever asks goes on from there, more likely than not: before what is hotter. */
static void what_lies_behind_a_question_goes_next(void **state)
{
	struct run_list l = runs();
	struct late_pages p;
	struct page_run r;

	(void)state;
	run_list_add(&l, P(8192), 4, RUN_DATA);
	assert_int_equal(late_pages_init(&p, &l), 0);
	assert_true(late_pages_near(&p, P(4103), 16, &r));
	assert_true(late_pages_take(&p, &r));
	assert_true(r.addr == P(8192) && r.pages == 4);
	assert_true(late_pages_take(&p, &r));
	assert_true(r.addr == P(1024) && r.pages == 256);
	late_pages_finish(&p);
	run_list_finish(&l);
}

static void only_what_a_side_may_say_is_understood(void **state)
{
	static const struct { struct late_message m; bool from_source, fine; } cases[] = {
		{ { P(5), 1, LATE_WANT, 0 }, false, true },
		{ { P(5), 1, LATE_WANT, 0 }, true, false },
		{ { P(5), 2, LATE_WANT, 0 }, false, false },
		{ { P(5) + 1, 1, LATE_WANT, 0 }, false, false },
		{ { 0, 0, LATE_ALL, 0 }, false, true },
		{ { P(5), 0, LATE_ALL, 0 }, false, false },
		{ { P(5), LATE_MAX_PAGES, LATE_DATA, 7 }, true, true },
		{ { P(5), LATE_MAX_PAGES + 1, LATE_DATA, 7 }, true, false },
		{ { P(5), 0, LATE_DATA, 7 }, true, false },
		{ { P(5), 1, LATE_DATA, 7 }, false, false },
		{ { P(5), 1 << 20, LATE_ZERO, 0 }, true, true },
		{ { (1ull << 47) - P(1), 2, LATE_ZERO, 0 }, true, false },
		{ { P(5), 1, 9, 0 }, true, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned char buf[LATE_HEADER_SIZE];
		struct late_message out;

		late_encode(&cases[i].m, buf);
		assert_int_equal(late_decode(buf, cases[i].from_source, &out) == 0, cases[i].fine);
		if (cases[i].fine)
			assert_memory_equal(&out, &cases[i].m, sizeof(out));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_page_is_asked_for_once),
		cmocka_unit_test(what_moved_keeps_its_name),
		cmocka_unit_test(what_is_discarded_is_not_missing),
		cmocka_unit_test(hot_blocks_go_first_and_all_go_once),
		cmocka_unit_test(a_question_brings_its_neighbours_and_moves_the_order),
		cmocka_unit_test(what_lies_behind_a_question_goes_next),
		cmocka_unit_test(only_what_a_side_may_say_is_understood),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
