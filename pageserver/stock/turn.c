/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/turn.h"

#include <errno.h>
#include <sched.h>
#include <stdint.h>
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

/* Asked for anew each time: somebody else may have changed what is not ours. */
static void take_slices(uint64_t ns)
{
	struct attributes a = { .size = sizeof(a) };

	if (syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0) < 0 || a.policy != SCHED_OTHER)
		return;
	a.runtime = ns;
	if (syscall(SYS_sched_setattr, 0, &a, 0) < 0)
		log_event(LOG_DEBUG, "session-turn", "errno=%d", errno);
}

static bool has_slices(uint64_t ns)
{
	struct attributes a = { .size = sizeof(a) };

	return syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0) == 0 && a.policy == SCHED_OTHER && a.runtime == ns;
}

void turn_begin(struct turn *t)
{
	take_slices(SHORTEST_NS);
	*t = (struct turn){ .begun = has_slices(SHORTEST_NS) };
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
