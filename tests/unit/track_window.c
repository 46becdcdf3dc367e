/* SPDX-License-Identifier: Apache-2.0 */
/* Windows: bits become ascending runs, drops are told only of what may have been sent, and what was given up is forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "migrate/track/window.h"

static const uint64_t base = 5 * WINDOW_SIZE;

struct marks { unsigned from, to; };

/* One pass over one window: data and gone as given, all of it mapped but for the last 64 pages. */
static void pass(struct sent_map *m, struct run_list *out, struct marks data, struct marks gone)
{
	struct window *w = calloc(1, sizeof(*w));
	struct sent_window *kept;

	run_list_clear(out);
	sent_begin(m);
	w->base = base;
	kept = sent_visit(m, base);
	w->sent = &kept->bits;
	w->witness = kept->witness;
	page_bits_set(&w->mapped, 0, WINDOW_PAGES - 64);
	if (data.to)
		page_bits_set(&w->data, data.from, data.to);
	if (gone.to)
		page_bits_set(&w->gone, gone.from, gone.to);
	assert_int_equal(window_emit(w, m, out), 0);
	sent_end(m);
	free(w);
}

static void assert_run(const struct run_list *l, size_t i, unsigned page, unsigned pages, enum run_kind kind)
{
	assert_true(i < l->count);
	assert_int_equal(l->run[i].addr, base + pages_to_bytes(page));
	assert_int_equal(l->run[i].pages, pages);
	assert_int_equal(l->run[i].kind, kind);
}

static void bits_cover_exactly_their_range(void **state)
{
	static const unsigned edges[] = { 0, 1, 63, 64, 65, 127, 128, 4095, WINDOW_PAGES - 1, WINDOW_PAGES };

	(void)state;
	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
		for (size_t j = i + 1; j < sizeof(edges) / sizeof(edges[0]); j++) {
			struct page_bits b = { { 0 } };

			page_bits_set(&b, edges[i], edges[j]);
			for (unsigned p = 0; p < WINDOW_PAGES; p++)
				assert_int_equal(page_bits_has(&b, p), p >= edges[i] && p < edges[j]);
			assert_true(page_bits_any(&b, edges[j] - 1, edges[j]));
			page_bits_clear(&b, edges[i], edges[j]);
			assert_false(page_bits_any(&b, 0, WINDOW_PAGES));
		}
	}
}

static void drops_concern_what_was_sent(void **state)
{
	struct sent_map m = { 0 };
	struct run_list out = { 0 };

	(void)state;
	pass(&m, &out, (struct marks){ 0, 0 }, (struct marks){ 0, WINDOW_PAGES });
	assert_int_equal(out.count, 0);
	assert_int_equal(m.count, 0);
	pass(&m, &out, (struct marks){ 10, 200 }, (struct marks){ 0, 0 });
	assert_int_equal(out.count, 1);
	assert_run(&out, 0, 10, 190, RUN_DATA);
	pass(&m, &out, (struct marks){ 100, 110 }, (struct marks){ 0, WINDOW_PAGES });
	assert_int_equal(out.count, 3);
	assert_run(&out, 0, 10, 90, RUN_DROP);
	assert_run(&out, 1, 100, 10, RUN_DATA);
	assert_run(&out, 2, 110, 90, RUN_DROP);
	assert_int_equal(out.data_pages, 10);
	pass(&m, &out, (struct marks){ 0, 0 }, (struct marks){ 0, WINDOW_PAGES });
	assert_int_equal(out.count, 1);
	assert_run(&out, 0, 100, 10, RUN_DROP);
	assert_int_equal(m.count, 0); /* nothing left to remember */
	run_list_finish(&out);
	sent_finish(&m);
}

static void what_is_not_mapped_is_forgotten_without_a_drop(void **state)
{
	struct sent_map m = { 0 };
	struct run_list out = { 0 };

	(void)state;
	pass(&m, &out, (struct marks){ WINDOW_PAGES - 64, WINDOW_PAGES }, (struct marks){ 0, 0 });
	pass(&m, &out, (struct marks){ 0, 0 }, (struct marks){ 0, WINDOW_PAGES });
	assert_int_equal(out.count, 0);
	run_list_finish(&out);
	sent_finish(&m);
}

static void windows_left_out_are_forgotten(void **state)
{
	struct sent_map m = { 0 };
	struct run_list out = { 0 };

	(void)state;
	pass(&m, &out, (struct marks){ 0, 8 }, (struct marks){ 0, 0 });
	assert_int_equal(m.count, 1);
	sent_begin(&m);
	assert_int_equal(sent_next(&m, 0), base);
	assert_int_equal(sent_next(&m, base + WINDOW_SIZE), UINT64_MAX);
	sent_end(&m);
	assert_int_equal(m.count, 0);
	run_list_finish(&out);
	sent_finish(&m);
}

static void what_was_sent_can_be_told_and_taken_up_again(void **state)
{
	static const struct page_run given[] = { { 0x1000, 3, RUN_DATA }, { WINDOW_SIZE - 0x2000, 5, RUN_DATA }, { 5 * WINDOW_SIZE, WINDOW_PAGES + 1, RUN_DATA } };
	struct run_list in = { 0 }, out = { 0 };
	struct sent_map m = { 0 };

	(void)state;
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(run_list_add(&in, given[i].addr, given[i].pages, RUN_DATA), 0);
	assert_int_equal(sent_assume(&m, &in), 0);
	assert_int_equal(m.count, 4);
	assert_int_equal(sent_list(&m, &out), 0);
	assert_int_equal(out.count, 3);
	assert_memory_equal(out.run, in.run, sizeof(given));
	run_list_finish(&in);
	run_list_finish(&out);
	sent_finish(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bits_cover_exactly_their_range), cmocka_unit_test(drops_concern_what_was_sent),
		cmocka_unit_test(what_is_not_mapped_is_forgotten_without_a_drop), cmocka_unit_test(windows_left_out_are_forgotten),
		cmocka_unit_test(what_was_sent_can_be_told_and_taken_up_again),
	};

	return cmocka_run_group_tests_name("track window", tests, NULL, NULL);
}
