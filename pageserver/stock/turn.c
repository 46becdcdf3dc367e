/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/turn.h"

#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/base/log.h"

enum { SLICE_NS = 100 * 1000 /* there is no shorter one */ };

/* As the kernel has it; C libraries don't. */
struct attributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period; /* ns; SCHED_OTHER: runtime is the slice */
};

void ps_turn_soon(void)
{
	struct attributes a = { .size = sizeof(a), .policy = SCHED_OTHER, .nice = getpriority(PRIO_PROCESS, 0), .runtime = SLICE_NS };

	if (sched_getscheduler(0) == SCHED_OTHER && syscall(SYS_sched_setattr, 0, &a, 0) < 0)
		log_event(LOG_DEBUG, "session-turn", "errno=%d", errno);
}
