/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/agent/session_priv.h"
#include "proto/base/log.h"

static const char *const state_names[] = {
	[EXPECT_OFFER] = "expect-offer", [BETWEEN_ROUNDS] = "between-rounds", [IN_ROUND] = "in-round", [LAST_PLACED] = "last-placed",
	[PREPARED] = "prepared",         [RUNNING] = "running",               [LATE_PAGES] = "late-pages",   [ENDED] = "ended",
};

static const enum session_phase phase_of[] = {
	[EXPECT_OFFER] = PHASE_STARTED, [BETWEEN_ROUNDS] = PHASE_RECEIVING, [IN_ROUND] = PHASE_RECEIVING,    [LAST_PLACED] = PHASE_WRITING,
	[PREPARED] = PHASE_PREPARED,    [RUNNING] = PHASE_RUNNING,          [LATE_PAGES] = PHASE_LATE_PAGES, [ENDED] = PHASE_RUNNING,
};

const char *session_state_name(const struct session *s)
{
	return state_names[s->state];
}

void session_change_state(struct session *s, enum session_state next, const char *cause)
{
	log_event(LOG_DEBUG, "state", "from=%s to=%s cause=%s", state_names[s->state], state_names[next], cause);
	s->state = next;
	session_show_state(s);
}

void session_show_state(const struct session *s)
{
	session_row_phase(s->row, phase_of[s->state]);
}
