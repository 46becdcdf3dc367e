/* SPDX-License-Identifier: Apache-2.0 */
/* policy.h - after each round: another one, the freeze, or giving up. Pure: no clock, no I/O; time comes in as numbers.
 *
 * predicted blackout = remaining bytes / measured bandwidth + fixed cost + what is void and comes late, by pages and runs (post-copy only). At or
 * below the limit the tree may be frozen. It is then frozen as soon as more rounds could not save much: when memory is less than the fixed part, or stopped shrinking. Above the limit rounds go on until
 * max_rounds, the time limit or a stall (the best remaining of STALL_ROUNDS rounds was not beaten), then on_stall decides, cutting at a
 * local minimum. Lifetime: by value, zeroed by policy_init. */
#ifndef DRAY_MIGRATE_POLICY_H
#define DRAY_MIGRATE_POLICY_H

#include <stdbool.h>
#include <stdint.h>

enum on_stall { STALL_FORCE, STALL_ABORT, STALL_POSTCOPY };

struct policy_limits {
	uint64_t downtime_us;
	unsigned max_rounds; /* 0: no limit */
	uint64_t timeout_us; /* of the rounds together; 0: no limit */
	enum on_stall on_stall;
};

struct policy_round {
	unsigned round;           /* that ended */
	uint64_t remaining_bytes; /* dirty now */
	uint64_t bandwidth;       /* bytes of memory per second that the last rounds moved; 0: not known */
	uint64_t fixed_us;        /* freeze, state, rebuild, commit */
	uint64_t late_pages, late_runs; /* post-copy: what comes when it runs, and isn't among the remaining bytes */
	uint64_t late_small; /* of those pages, the ones that can be in no huge page at the destination */
	uint64_t elapsed_us;      /* since the first round began */
};

enum policy_verdict { POLICY_ROUND, POLICY_FREEZE, POLICY_GIVE_UP };
struct policy_decision {
	enum policy_verdict verdict;
	uint64_t predicted_us; /* blackout if frozen now */
	uint64_t pause_us;     /* before the next round: re-arming costs the target a fault for each page that it writes */
	const char *reason;    /* static text: "within the limit", "stalled", ... */
};

struct policy {
	struct policy_limits limit;
	uint64_t best_remaining, last_remaining;
	unsigned rounds_without_gain, rounds_within_limit;
};

uint64_t policy_predict_us(const struct policy_round *r); /* blackout if frozen now */
void policy_init(struct policy *p, const struct policy_limits *limit);
struct policy_decision policy_decide(struct policy *p, const struct policy_round *r);

#endif
