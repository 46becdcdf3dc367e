/* SPDX-License-Identifier: Apache-2.0 */
/* session_priv.h - the state of a migration at the destination, shared by the files that carry it through its life:
 *
 *   session.c         the table of what may come when, the loop, beginning and end
 *   session_offer.c   the offer: what is checked, the husk and its cgroup
 *   session_rounds.c  rounds of pages, and their comparison
 *   session_commit.c  the tree's state, prepared, commit, late pages, done
 *   session_undo.c    what becomes of a migration that fails
 *   session_husk.c    requests to the husk
 *   session_line.c    what comes from the agent: streams, queries, post-copy connections, where to count
 *   session_state.c   the states' names
 *
 * Each calls only those below it. Threads: the session's only one. Handlers fail with -1 and s->err set, which ends the session. */
#ifndef DRAY_MIGRATE_SESSION_PRIV_H
#define DRAY_MIGRATE_SESSION_PRIV_H

#include <stdbool.h>
#include <stddef.h>

#include "migrate/agent/channel.h"
#include "migrate/agent/husk.h"
#include "migrate/agent/late_session.h"
#include "migrate/agent/session.h"
#include "migrate/conduct/journal.h"
#include "migrate/freeze/freezer.h"
#include "proto/wire/control.h"
#include "proto/wire/manifest.h"

enum { CONTROL_REST_MS = 30 * 1000 }; /* for the rest of a message that has begun */

/* In the order of a migration's life: before RUNNING it may be aborted, from there on it may not. */
enum session_state { EXPECT_OFFER, BETWEEN_ROUNDS, IN_ROUND, LAST_PLACED, PREPARED, RUNNING, LATE_PAGES, ENDED };

struct session {
	const struct session_config *config;
	enum session_state state;
	int control, agent; /* agent: -1 while none is there */
	int door; /* where the next one finds us (session_door.h); -1 */
	struct metrics *metrics; /* the agent's, or those of the next one; NULL */
	struct session_row *row; /* ours in there; NULL */
	struct husk husk;
	struct journal *journal;
	struct journal_record record;
	struct freezer freezer;
	struct manifest manifest;
	uint32_t round;
	unsigned streams, streams_given; /* offered; those that the husk has */
	bool last_round;
	bool streams_over; /* the husk hears no more of them */
	struct stream_token token; /* that a connection in a cut stream's place must show */
	bool outcome_learnt; /* the source asked, was told, and needs no record */
	struct late_session *late; /* post-copy: until every page is there; else NULL */
	int late_fd[LATE_CONNECTIONS]; /* connections for it that came before; -1 */
	struct err err;
};

/* --- session_state.c --- */
const char *session_state_name(const struct session *s);
void session_change_state(struct session *s, enum session_state next, const char *cause);
void session_show_state(const struct session *s); /* in its row */

/* --- session_line.c --- */
struct agent_parcel {
	struct agent_message m;
	int fd; /* owned; -1 for none */
};
/* To poll: the agent's line, or where the next agent comes in. */
int session_line_fd(const struct session *s);
/* False: the agent is gone, and the session goes on without it; or another one is there. */
bool session_line_receive(struct session *s, struct agent_parcel *l);
/* Takes l. */
int session_line_handle(struct session *s, struct agent_parcel *l);
/* To the agent: with which exit status we are going to end. */
void session_say_end(const struct session *s, int status);
/* Asks the agent whether that many bytes may come. *max: the most that may be placed, 0 for no limit. */
int session_reserve(struct session *s, uint64_t bytes, uint64_t *max);

/* --- session_husk.c --- */
/* One request, one answer; while it is waited for the agent's line is served, and anything that comes from the source ends it: it has nothing to say
 * then. answer (with its payload) is the caller's to finish. */
int session_ask_husk(struct session *s, const struct channel_message *request, struct channel_message *answer);
/* The same, for an answer of size bytes, which are copied. */
int session_ask_husk_for(struct session *s, const struct channel_message *request, void *answer, size_t size);
/* A request whose payload is a packed message; owned by the caller (channel_message_finish). */
int session_pack_request(struct session *s, enum channel_kind kind, const ProtobufCMessage *msg, struct channel_message *request);

/* --- one handler a message of the source's; the table in session.c says when each may come --- */
int session_on_offer(struct session *s, const ProtobufCMessage *msg);
int session_on_round_begin(struct session *s, const ProtobufCMessage *msg);
int session_on_round_end(struct session *s, const ProtobufCMessage *msg);
int session_on_verify(struct session *s, const ProtobufCMessage *msg);
int session_on_state(struct session *s, const ProtobufCMessage *msg);
int session_on_commit(struct session *s, const ProtobufCMessage *msg);
int session_on_done(struct session *s, const ProtobufCMessage *msg);
/* In LATE_PAGES, when something of them can be read or written. */
int session_serve_late(struct session *s);

/* --- session_undo.c --- */
/* Not committed: nothing of it stays, not even a record: to a source that asks later, none means that it never ran (settled.h). */
void session_abort(struct session *s);
/* It runs and can't be given its pages: it must not read zeros in their place. Its original, complete, stands frozen at the source, which hears
 * from the record that it may let it run. */
void session_give_up_late(struct session *s);

#endif
