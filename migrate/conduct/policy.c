/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/conduct/policy.h"

enum {
	STALL_ROUNDS = 3,
	POLISH_ROUNDS = 4,       /* rounds spent below the limit to get lower still */
	PAUSE_US = 250 * 1000,   /* measured: at a second a round tracking costs a writer up to 14 %, at 100 ms 50 % and more */
	/* Measured (docs/performance.md): what was placed of a late page before is given back, and looked for once more; a run is told, read, and asked about. */
	LATE_PAGE_NS = 30,
	LATE_SMALL_NS = 280, /* likewise, not as part of a huge page */
	LATE_RUN_NS = 3700,
};

void policy_init(struct policy *p, const struct policy_limits *limit)
{
	*p = (struct policy){ .limit = *limit, .best_remaining = UINT64_MAX, .last_remaining = UINT64_MAX };
}

static uint64_t memory_us(const struct policy_round *r)
{
	if (r->remaining_bytes == 0)
		return 0;
	if (r->bandwidth == 0)
		return UINT64_MAX / 4;
	return (uint64_t)((double)r->remaining_bytes * 1e6 / (double)r->bandwidth);
}

uint64_t policy_predict_us(const struct policy_round *r)
{
	uint64_t late_ns = (r->late_pages - r->late_small) * LATE_PAGE_NS + r->late_small * LATE_SMALL_NS + r->late_runs * LATE_RUN_NS;

	return memory_us(r) + r->fixed_us + late_ns / 1000;
}

/* Worth another round although the limit is kept: memory is still the larger part and the last round made it shrink. */
static bool worth_polishing(const struct policy *p, const struct policy_round *r)
{
	return memory_us(r) > r->fixed_us && p->rounds_within_limit <= POLISH_ROUNDS &&
	       (p->last_remaining == UINT64_MAX || r->remaining_bytes < p->last_remaining / 10 * 7);
}

static void note_gain(struct policy *p, const struct policy_round *r)
{
	if (p->best_remaining == UINT64_MAX || r->remaining_bytes < p->best_remaining / 10 * 9)
		p->rounds_without_gain = 0;
	else
		p->rounds_without_gain++;
	if (r->remaining_bytes < p->best_remaining)
		p->best_remaining = r->remaining_bytes;
}

static const char *out_of_time(const struct policy *p, const struct policy_round *r)
{
	if (p->limit.max_rounds && r->round >= p->limit.max_rounds)
		return "rounds used up";
	if (p->limit.timeout_us && r->elapsed_us >= p->limit.timeout_us)
		return "time used up";
	/* At a stall the cut is made where little remains: up to STALL_ROUNDS more are waited for one. */
	if (p->rounds_without_gain >= STALL_ROUNDS &&
	    (r->remaining_bytes <= p->best_remaining + p->best_remaining / 10 || p->rounds_without_gain >= 2 * STALL_ROUNDS))
		return "stalled: memory changes as fast as it moves";
	return 0;
}

struct policy_decision policy_decide(struct policy *p, const struct policy_round *r)
{
	struct policy_decision d = { .verdict = POLICY_ROUND, .predicted_us = policy_predict_us(r), .reason = "above the limit" };
	const char *end;

	note_gain(p, r);
	end = out_of_time(p, r);
	if (d.predicted_us <= p->limit.downtime_us) {
		p->rounds_within_limit++;
		d.reason = "within the limit";
		if (end || !worth_polishing(p, r))
			d.verdict = POLICY_FREEZE;
	} else if (end) {
		d.verdict = p->limit.on_stall == STALL_ABORT ? POLICY_GIVE_UP : POLICY_FREEZE;
		d.reason = end;
	} else {
		p->rounds_within_limit = 0;
		d.pause_us = PAUSE_US;
	}
	p->last_remaining = r->remaining_bytes;
	return d;
}
