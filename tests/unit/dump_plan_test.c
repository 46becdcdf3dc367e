/* SPDX-License-Identifier: Apache-2.0 */
/* A set leaves a page to its parent only when the tracker says that it did not change and the parent has it; whoever is unsure stores it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "migrate/dump/dump_plan.h"

static struct vma maps[] = {
	{ .start = 0x10000, .end = 0x20000, .kind = VMA_ANON, .path = "" },
	{ .start = 0x20000, .end = 0x28000, .kind = VMA_FILE_PRIVATE, .path = "/bin/x" },
	{ .start = 0x30000, .end = 0x34000, .kind = VMA_SHMEM, .shared = true, .path = "/dev/zero" },
	{ .start = 0x40000, .end = 0x50000, .kind = VMA_ANON, .stack = true, .path = "[stack]" },
	{ .start = 0x60000, .end = 0x61000, .kind = VMA_VVAR, .path = "[vvar]" },
	{ .start = 0x61000, .end = 0x63000, .kind = VMA_VDSO, .path = "[vdso]" },
};
static const struct vma_list vmas = { .vma = maps, .count = sizeof(maps) / sizeof(maps[0]) };

static struct run_list runs(const struct page_run *r, size_t n)
{
	struct run_list l = { 0 };

	for (size_t i = 0; i < n; i++)
		assert_int_equal(run_list_add(&l, r[i].addr, r[i].pages, (enum run_kind)r[i].kind), 0);
	return l;
}
#define RUNS(...) runs((const struct page_run[]){ __VA_ARGS__ }, sizeof((const struct page_run[]){ __VA_ARGS__ }) / sizeof(struct page_run))

static void assert_plan(const struct dump_plan *p, const struct dump_item *want, size_t n)
{
	assert_int_equal(p->count, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(p->item[i].addr, want[i].addr);
		assert_int_equal(p->item[i].pages, want[i].pages);
		assert_int_equal(p->item[i].bits, want[i].bits);
	}
}
#define ASSERT_PLAN(p, ...) \
	assert_plan(p, (const struct dump_item[]){ __VA_ARGS__ }, sizeof((const struct dump_item[]){ __VA_ARGS__ }) / sizeof(struct dump_item))

static void finish(struct dump_plan *p, struct run_list *a, struct run_list *b, struct run_list *c)
{
	dump_plan_finish(p);
	run_list_finish(a);
	run_list_finish(b);
	run_list_finish(c);
}

static void a_first_set_is_whole_with_the_vdso(void **state)
{
	struct run_list changed = RUNS({ 0x11000, 2, RUN_DATA }, { 0x1f000, 2, RUN_DATA }, { 0x4e000, 2, RUN_DATA }), none = { 0 };
	struct dump_findings f = { .vmas = &vmas, .changed = &changed };
	struct dump_plan p = { 0 };

	(void)state;
	assert_int_equal(dump_plan_make(&p, &f), 0);
	/* A run over two mappings is split: only private anonymous memory that is no stack may come late. */
	ASSERT_PLAN(&p, { 0x11000, 2, ITEM_DATA | ITEM_LAZY }, { 0x1f000, 1, ITEM_DATA | ITEM_LAZY }, { 0x20000, 1, ITEM_DATA },
		    { 0x4e000, 2, ITEM_DATA }, { 0x61000, 2, ITEM_DATA });
	assert_int_equal(p.data_pages, 8);
	assert_int_equal(p.hole_pages, 0);
	finish(&p, &changed, &none, &none);
}

static void what_did_not_change_and_is_in_the_parent_is_left_to_it(void **state)
{
	struct run_list changed = RUNS({ 0x12000, 1, RUN_DATA }, { 0x14000, 1, RUN_DROP }, { 0x18000, 2, RUN_DATA });
	struct run_list held = RUNS({ 0x10000, 4, RUN_DATA }, { 0x18000, 4, RUN_DATA });
	struct run_list covered = RUNS({ 0x10000, 3, RUN_DATA }, { 0x19000, 2, RUN_DATA }, { 0x61000, 1, RUN_DATA });
	struct dump_findings f = { .vmas = &vmas, .changed = &changed, .held = &held, .covered = &covered };
	struct dump_plan p = { 0 };

	(void)state;
	assert_int_equal(dump_plan_make(&p, &f), 0);
	ASSERT_PLAN(&p, { 0x10000, 2, ITEM_LAZY }, { 0x12000, 2, ITEM_DATA | ITEM_LAZY }, { 0x18000, 2, ITEM_DATA | ITEM_LAZY }, { 0x1a000, 1, ITEM_LAZY },
		    { 0x1b000, 1, ITEM_DATA | ITEM_LAZY }, { 0x61000, 1, 0 }, { 0x62000, 1, ITEM_DATA });
	assert_int_equal(p.hole_pages, 4);
	finish(&p, &changed, &held, &covered);
}

static void a_parent_elsewhere_has_what_the_tracker_held(void **state)
{
	struct run_list changed = RUNS({ 0x12000, 1, RUN_DATA }), held = RUNS({ 0x10000, 4, RUN_DATA }), none = { 0 };
	struct dump_findings f = { .vmas = &vmas, .changed = &changed, .held = &held };
	struct dump_plan p = { 0 };

	(void)state;
	assert_int_equal(dump_plan_make(&p, &f), 0);
	ASSERT_PLAN(&p, { 0x10000, 2, ITEM_LAZY }, { 0x12000, 1, ITEM_DATA | ITEM_LAZY }, { 0x13000, 1, ITEM_LAZY }, { 0x61000, 2, 0 });
	finish(&p, &changed, &held, &none);
}

static void without_a_trackers_word_what_the_parent_has_is_compared(void **state)
{
	struct run_list all = RUNS({ 0x10000, 4, RUN_DATA }), covered = RUNS({ 0x11000, 1, RUN_DATA }, { 0x61000, 2, RUN_DATA }), none = { 0 };
	struct dump_findings f = { .vmas = &vmas, .changed = &all, .covered = &covered, .compare = true };
	struct dump_plan p = { 0 };

	(void)state;
	assert_int_equal(dump_plan_make(&p, &f), 0);
	ASSERT_PLAN(&p, { 0x10000, 1, ITEM_DATA | ITEM_LAZY }, { 0x11000, 1, ITEM_DATA | ITEM_LAZY | ITEM_COMPARE }, { 0x12000, 2, ITEM_DATA | ITEM_LAZY },
		    { 0x61000, 2, ITEM_DATA | ITEM_COMPARE });
	assert_int_equal(p.hole_pages, 0);
	finish(&p, &all, &covered, &none);
}

static void a_plan_can_be_made_again(void **state)
{
	struct run_list one = RUNS({ 0x10000, 1, RUN_DATA }), none = { 0 };
	struct dump_findings f = { .vmas = &vmas, .changed = &one };
	struct dump_plan p = { 0 };

	(void)state;
	assert_int_equal(dump_plan_make(&p, &f), 0);
	assert_int_equal(dump_plan_make(&p, &f), 0);
	ASSERT_PLAN(&p, { 0x10000, 1, ITEM_DATA | ITEM_LAZY }, { 0x61000, 2, ITEM_DATA });
	assert_int_equal(p.data_pages, 3);
	finish(&p, &one, &none, &none);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_first_set_is_whole_with_the_vdso),
		cmocka_unit_test(what_did_not_change_and_is_in_the_parent_is_left_to_it),
		cmocka_unit_test(a_parent_elsewhere_has_what_the_tracker_held),
		cmocka_unit_test(without_a_trackers_word_what_the_parent_has_is_compared),
		cmocka_unit_test(a_plan_can_be_made_again),
	};

	return cmocka_run_group_tests_name("dump plan", tests, NULL, NULL);
}
