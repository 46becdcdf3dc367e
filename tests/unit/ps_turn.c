/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions get short slices, and nothing else changes: neither niceness nor, where there is another, the policy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pageserver/stock/turn.h"

enum { SLICE_NS = 100000 };

struct place {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static struct place place(void)
{
	struct place p = { .size = 0 };

	assert_int_equal(syscall(SYS_sched_getattr, 0, &p, sizeof(p), 0), 0);
	return p;
}

/* Kernels before 6.12 know no slices and say 0. */
static void expect(int policy, bool soon, int nice)
{
	struct place p = place();

	assert_int_equal(p.policy, policy);
	assert_int_equal(p.nice, nice);
	assert_true(p.runtime == 0 || (p.runtime == SLICE_NS) == soon);
}

static void *soon(void *arg)
{
	int nice = getpriority(PRIO_PROCESS, 0);

	(void)arg;
	assert_int_equal(setpriority(PRIO_PROCESS, 0, nice + 1), 0); /* of this thread */
	nice = getpriority(PRIO_PROCESS, 0);
	ps_turn_soon();
	expect(SCHED_OTHER, true, nice);
	return NULL;
}

static void *stays(void *arg)
{
	const struct sched_param none = { 0 };
	const int policies[] = { SCHED_BATCH, SCHED_IDLE };
	int nice = getpriority(PRIO_PROCESS, 0);

	(void)arg;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(sched_setscheduler(0, policies[i], &none), 0);
		ps_turn_soon();
		expect(policies[i], false, nice);
	}
	return NULL;
}

/* In a thread of its own, which takes what it changed along. */
static void run(void *(*body)(void *arg))
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, body, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void slices_are_short(void **state)
{
	(void)state;
	if (sched_getscheduler(0) != SCHED_OTHER)
		skip();
	run(soon);
}

static void another_policy_stays(void **state)
{
	(void)state;
	run(stays);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slices_are_short),
		cmocka_unit_test(another_policy_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
