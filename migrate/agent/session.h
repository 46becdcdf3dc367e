/* SPDX-License-Identifier: Apache-2.0 */
/* session.h - one migration at the destination: a process of its own that answers the control connection, owns the husk, and decides.
 * What may come in which of its states stands in one table (session.c), drawn in docs/protocol.md; session_priv.h says where the rest is.
 * It outlives its agent: an agent that is killed takes no migration along. */
#ifndef DRAY_MIGRATE_SESSION_H
#define DRAY_MIGRATE_SESSION_H

#include <stdint.h>

#include "proto/base/metrics.h"
#include "proto/wire/hello.h"

/* Messages between agent and session, SOCK_SEQPACKET, native layout. */
enum agent_message_kind {
	AGENT_STREAM = 1, /* to the session: descriptor of data stream `index` */
	AGENT_QUERY,      /* to the session: descriptor of a connection that asks for the outcome, hello exchanged */
	AGENT_LATE,       /* to the session: descriptor of post-copy connection `index` */
	AGENT_AGAIN,      /* to the session: descriptor of a connection that takes the place of stream `index`, its hello not answered */
	AGENT_RESERVE,    /* to the agent: may `value` bytes come in? answered by AGENT_GRANTED or AGENT_REFUSED */
	AGENT_GRANTED,    /* value: the most that this session may place, 0 for no limit */
	AGENT_REFUSED,    /* value: what is left */
	AGENT_METRICS,    /* to a session that was another agent's: descriptor of our metrics, to be counted in; value: number of its row */
	AGENT_ENDED,      /* to the agent: value: the exit status that follows */
};
struct agent_message {
	uint32_t kind;
	uint32_t index;
	uint64_t value;
	struct stream_token token; /* of AGENT_AGAIN */
};

struct session_config {
	struct migration_id id;
	int control;  /* hello exchanged; taken */
	int agent;    /* line to the agent; taken */
	const char *state_dir;
	struct metrics *metrics;  /* taken; NULL: nobody counts */
	struct session_row *row;  /* of this session; NULL: none */
	uint64_t features; /* that both know */
	char peer[280]; /* for logs and the journal: its address, and its name where TLS tells it */
};

/* In a process forked for it. Returns the exit status: 0 when the process lives here, else
 * the kind of the error. */
int session_run(const struct session_config *c);

#endif
