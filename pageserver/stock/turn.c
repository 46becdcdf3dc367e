/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/turn.h"

#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/base/log.h"

enum { SHORTEST_NS = 100 * 1000, LONGEST_NS = 100 * 1000 * 1000 }; /* that the kernel gives */

/* As the kernel has it; C libraries don't. */
struct attributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period; /* ns; SCHED_OTHER: runtime is the slice */
};

static void take_slices(uint64_t ns)
{
	struct attributes a = { .size = sizeof(a), .policy = SCHED_OTHER, .nice = getpriority(PRIO_PROCESS, 0), .runtime = ns };

	if (sched_getscheduler(0) == SCHED_OTHER && syscall(SYS_sched_setattr, 0, &a, 0) < 0)
		log_event(LOG_DEBUG, "session-turn", "errno=%d", errno);
}

void turn_begin(struct turn *t)
{
	*t = (struct turn){ .begun = true };
	take_slices(SHORTEST_NS);
}

static void change(struct turn *t, bool streams)
{
	if (!t->begun || t->streams == streams)
		return;
	t->streams = streams;
	take_slices(streams ? LONGEST_NS : SHORTEST_NS);
}

void turn_for_questions(struct turn *t)
{
	change(t, false);
}

void turn_for_pages(struct turn *t)
{
	change(t, true);
}
