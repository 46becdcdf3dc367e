/* SPDX-License-Identifier: Apache-2.0 */
/* When another round is worth it, when the tree is frozen, when a migration gives up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "migrate/conduct/policy.h"

static const struct policy_limits usual = { .downtime_us = 300000, .max_rounds = 30, .on_stall = STALL_FORCE };
enum { MIB = 1 << 20, GB_PER_S = 1000000000 };

static struct policy_round after(unsigned round, uint64_t remaining)
{
	return (struct policy_round){ .round = round, .remaining_bytes = remaining, .bandwidth = GB_PER_S, .fixed_us = 10000 };
}

static void idle_process_is_frozen_after_its_first_round(void **state)
{
	struct policy p;
	struct policy_round r = after(1, 0);

	(void)state;
	policy_init(&p, &usual);
	assert_int_equal(policy_decide(&p, &r).verdict, POLICY_FREEZE);
}

static void prediction_is_memory_over_bandwidth_plus_fixed(void **state)
{
	struct policy p;
	struct policy_round r = after(1, 500 * 1000 * 1000);

	(void)state;
	policy_init(&p, &usual);
	assert_int_equal(policy_decide(&p, &r).predicted_us, 510000);
	assert_int_equal(policy_decide(&p, &r).verdict, POLICY_ROUND);
}

static void what_comes_late_costs_by_pages_and_runs(void **state)
{
	struct policy_round now = after(1, 0), pages = now, small = now, runs = now;

	(void)state;
	pages.late_pages = small.late_pages = small.late_small = 250 * 1000;
	runs.late_runs = 4000;
	assert_int_equal(policy_predict_us(&now), now.fixed_us);
	assert_in_range(policy_predict_us(&pages), now.fixed_us + 2000, now.fixed_us + 30000);
	assert_in_range(policy_predict_us(&small), policy_predict_us(&pages) + 20000, now.fixed_us + 150000);
	assert_in_range(policy_predict_us(&runs), now.fixed_us + 4000, now.fixed_us + 40000);
}

static void goes_on_below_the_limit_while_memory_is_the_larger_part(void **state)
{
	struct policy p;
	struct policy_round first = after(1, 100 * MIB), second = after(2, 4 * MIB);

	(void)state;
	policy_init(&p, &usual);
	assert_int_equal(policy_decide(&p, &first).verdict, POLICY_ROUND);
	assert_int_equal(policy_decide(&p, &second).verdict, POLICY_FREEZE);
}

static void freezes_below_the_limit_when_nothing_is_gained(void **state)
{
	struct policy p;
	struct policy_round first = after(1, 100 * MIB), second = after(2, 99 * MIB);

	(void)state;
	policy_init(&p, &usual);
	policy_decide(&p, &first);
	assert_int_equal(policy_decide(&p, &second).verdict, POLICY_FREEZE);
}

static struct policy_decision run_stalled(enum on_stall how, unsigned *rounds)
{
	struct policy_limits l = usual;
	struct policy p;
	struct policy_decision d = { .verdict = POLICY_ROUND };

	l.on_stall = how;
	policy_init(&p, &l);
	for (*rounds = 0; d.verdict == POLICY_ROUND && *rounds < 100;) {
		struct policy_round r = after(++*rounds, 900ull * MIB);

		d = policy_decide(&p, &r);
	}
	return d;
}

static void stall_is_noticed_and_on_stall_decides(void **state)
{
	unsigned rounds;

	(void)state;
	assert_int_equal(run_stalled(STALL_FORCE, &rounds).verdict, POLICY_FREEZE);
	assert_in_range(rounds, 3, 6);
	assert_int_equal(run_stalled(STALL_ABORT, &rounds).verdict, POLICY_GIVE_UP);
}

static void stall_is_cut_at_a_local_minimum(void **state)
{
	static const unsigned mib[] = { 900, 950, 1400, 1300, 1500, 905 };
	struct policy p;
	enum policy_verdict v = POLICY_ROUND;
	unsigned i;

	(void)state;
	policy_init(&p, &usual);
	for (i = 0; i < 6 && v == POLICY_ROUND; i++) {
		struct policy_round r = after(i + 1, (uint64_t)mib[i] * MIB);

		v = policy_decide(&p, &r).verdict;
	}
	assert_int_equal(v, POLICY_FREEZE);
	assert_int_equal(i, 6);
}

static void max_rounds_and_timeout_end_the_rounds(void **state)
{
	struct policy_limits l = usual;
	struct policy p;
	struct policy_round r = after(2, 900ull * MIB);

	(void)state;
	l.max_rounds = 2;
	policy_init(&p, &l);
	assert_int_equal(policy_decide(&p, &r).verdict, POLICY_FREEZE);
	l.max_rounds = 0;
	l.timeout_us = 1000;
	policy_init(&p, &l);
	assert_int_equal(policy_decide(&p, &r).verdict, POLICY_ROUND);
	r.elapsed_us = 1000;
	assert_int_equal(policy_decide(&p, &r).verdict, POLICY_FREEZE);
}

static void leaves_the_target_its_speed_between_long_rounds(void **state)
{
	struct policy p;
	struct policy_round r = after(1, 900ull * MIB);

	(void)state;
	policy_init(&p, &usual);
	assert_true(policy_decide(&p, &r).pause_us >= 250000);
}

static void unknown_bandwidth_never_freezes_dirty_memory(void **state)
{
	struct policy p;
	struct policy_round r = after(1, MIB);

	(void)state;
	r.bandwidth = 0;
	policy_init(&p, &usual);
	assert_int_equal(policy_decide(&p, &r).verdict, POLICY_ROUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(idle_process_is_frozen_after_its_first_round),
		cmocka_unit_test(prediction_is_memory_over_bandwidth_plus_fixed),
		cmocka_unit_test(what_comes_late_costs_by_pages_and_runs),
		cmocka_unit_test(goes_on_below_the_limit_while_memory_is_the_larger_part),
		cmocka_unit_test(freezes_below_the_limit_when_nothing_is_gained),
		cmocka_unit_test(stall_is_noticed_and_on_stall_decides),
		cmocka_unit_test(stall_is_cut_at_a_local_minimum),
		cmocka_unit_test(max_rounds_and_timeout_end_the_rounds),
		cmocka_unit_test(leaves_the_target_its_speed_between_long_rounds),
		cmocka_unit_test(unknown_bandwidth_never_freezes_dirty_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
