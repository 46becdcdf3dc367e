/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/rpc/rpc_session.h"

#include <assert.h>

/* What keep_open in a request does to it. */
enum keep {
	KEEP_CLOSES,  /* the connection ends without a word */
	KEEP_STAYS,   /* in the state that it is in, whatever the answer was */
	KEEP_IGNORED,
};

struct rule {
	enum rpc_reaction reaction;
	enum keep keep;
	enum rpc_state done, failed; /* after an answer with success true, false */
	int status_failed;           /* a worker's exit status after the latter */
};

#define ONCE(status)    { RPC_RUN, KEEP_CLOSES, RPC_CLOSED, RPC_CLOSED, status }
#define REPEATABLE      { RPC_RUN, KEEP_STAYS, RPC_CLOSED, RPC_CLOSED, RPC_EXIT_DONE }
#define NO_REQUEST      { RPC_SAY_EMPTY, KEEP_CLOSES, RPC_CLOSED, RPC_CLOSED, RPC_EXIT_BROKEN }
#define OUT_OF_SEQUENCE { RPC_SAY_EMPTY, KEEP_IGNORED, RPC_CLOSED, RPC_CLOSED, RPC_EXIT_BROKEN }

static const struct rule rules[RPC_STATES][RPC_TYPES] = {
	[RPC_IDLE] = {
		[CRIU_REQ_TYPE__EMPTY] = NO_REQUEST,
		[CRIU_REQ_TYPE__DUMP] = ONCE(RPC_EXIT_FAILED),
		[CRIU_REQ_TYPE__RESTORE] = ONCE(RPC_EXIT_FAILED),
		[CRIU_REQ_TYPE__CHECK] = ONCE(RPC_EXIT_BROKEN),
		[CRIU_REQ_TYPE__PRE_DUMP] = { RPC_RUN, KEEP_CLOSES, RPC_PRELOOP, RPC_CLOSED, RPC_EXIT_BROKEN },
		[CRIU_REQ_TYPE__PAGE_SERVER] = REPEATABLE,
		[CRIU_REQ_TYPE__NOTIFY] = NO_REQUEST,
		[CRIU_REQ_TYPE__CPUINFO_DUMP] = REPEATABLE,
		[CRIU_REQ_TYPE__CPUINFO_CHECK] = REPEATABLE,
		[CRIU_REQ_TYPE__FEATURE_CHECK] = REPEATABLE,
		[CRIU_REQ_TYPE__VERSION] = REPEATABLE,
		[CRIU_REQ_TYPE__WAIT_PID] = ONCE(RPC_EXIT_BROKEN),
		[CRIU_REQ_TYPE__PAGE_SERVER_CHLD] = REPEATABLE,
		[CRIU_REQ_TYPE__SINGLE_PRE_DUMP] = ONCE(RPC_EXIT_BROKEN),
		[RPC_TYPE_UNKNOWN] = NO_REQUEST,
	},
	[RPC_PRELOOP] = {
		[CRIU_REQ_TYPE__EMPTY] = OUT_OF_SEQUENCE,
		[CRIU_REQ_TYPE__DUMP] = { RPC_RUN, KEEP_IGNORED, RPC_CLOSED, RPC_CLOSED, RPC_EXIT_FAILED },
		[CRIU_REQ_TYPE__RESTORE] = OUT_OF_SEQUENCE,
		[CRIU_REQ_TYPE__CHECK] = OUT_OF_SEQUENCE,
		[CRIU_REQ_TYPE__PRE_DUMP] = { RPC_RUN, KEEP_IGNORED, RPC_PRELOOP, RPC_CLOSED, RPC_EXIT_BROKEN },
		[CRIU_REQ_TYPE__PAGE_SERVER] = OUT_OF_SEQUENCE,
		[CRIU_REQ_TYPE__NOTIFY] = OUT_OF_SEQUENCE,
		[CRIU_REQ_TYPE__CPUINFO_DUMP] = OUT_OF_SEQUENCE,
		[CRIU_REQ_TYPE__CPUINFO_CHECK] = OUT_OF_SEQUENCE,
		[CRIU_REQ_TYPE__FEATURE_CHECK] = OUT_OF_SEQUENCE,
		[CRIU_REQ_TYPE__VERSION] = OUT_OF_SEQUENCE,
		[CRIU_REQ_TYPE__WAIT_PID] = OUT_OF_SEQUENCE,
		[CRIU_REQ_TYPE__PAGE_SERVER_CHLD] = OUT_OF_SEQUENCE,
		[CRIU_REQ_TYPE__SINGLE_PRE_DUMP] = OUT_OF_SEQUENCE,
		[RPC_TYPE_UNKNOWN] = OUT_OF_SEQUENCE,
	},
};

static unsigned type_of(const CriuReq *req)
{
	return (unsigned)req->type < RPC_TYPE_UNKNOWN ? (unsigned)req->type : RPC_TYPE_UNKNOWN;
}

static bool keeps_open(const CriuReq *req)
{
	return req->has_keep_open && req->keep_open;
}

/* The one place. */
static void enter(struct rpc_session *s, enum rpc_state state, int exit_status)
{
	assert(s->state != RPC_CLOSED);
	s->state = state;
	s->exit_status = exit_status;
}

void rpc_session_init(struct rpc_session *s)
{
	*s = (struct rpc_session){ .state = RPC_IDLE, .exit_status = RPC_EXIT_BROKEN };
}

enum rpc_reaction rpc_session_request(struct rpc_session *s, const CriuReq *req)
{
	const struct rule *r = &rules[s->state][type_of(req)];
	enum rpc_reaction reaction = r->keep == KEEP_CLOSES && keeps_open(req) ? RPC_HANG_UP : r->reaction;

	if (reaction != RPC_RUN)
		enter(s, RPC_CLOSED, RPC_EXIT_BROKEN);
	return reaction;
}

void rpc_session_answered(struct rpc_session *s, const CriuReq *req, bool success)
{
	const struct rule *r = &rules[s->state][type_of(req)];

	if (r->keep == KEEP_STAYS && keeps_open(req))
		return; /* what ends a worker from here on is a loss, exit status RPC_EXIT_BROKEN */
	if (success)
		enter(s, r->done, r->done == RPC_CLOSED ? RPC_EXIT_DONE : RPC_EXIT_BROKEN);
	else
		enter(s, r->failed, r->status_failed);
}

void rpc_session_lost(struct rpc_session *s)
{
	enter(s, RPC_CLOSED, RPC_EXIT_BROKEN);
}

const char *rpc_type_name(unsigned type)
{
	const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(&criu_req_type__descriptor, (int)type);

	return v ? v->name : "unknown";
}

static const char *state_name(enum rpc_state state)
{
	static const char *const names[RPC_STATES] = { [RPC_IDLE] = "IDLE", [RPC_PRELOOP] = "PRELOOP", [RPC_CLOSED] = "closed" };

	return names[state];
}

/* --- docs/rpc.md ---------------------------------------------------------------------------------------------------------------- */

static const char *answer_text(const struct rule *r)
{
	return r->reaction == RPC_RUN ? "its own" : "EMPTY, false";
}

static const char *keep_text(const struct rule *r, enum rpc_state in)
{
	switch (r->keep) {
	case KEEP_CLOSES: return "closed at once, no answer";
	case KEEP_STAYS: return state_name(in);
	case KEEP_IGNORED: return "as without";
	}
	return "";
}

void rpc_session_print_table(FILE *out)
{
	fputs("| In | Request | Answer | then, success | then, failure | with `keep_open` | swrk exits |\n|---|---|---|---|---|---|---|\n", out);
	for (unsigned state = 0; state < RPC_CLOSED; state++) {
		for (unsigned type = 0; type < RPC_TYPES; type++) {
			const struct rule *r = &rules[state][type];
			bool run = r->reaction == RPC_RUN;

			fprintf(out, "| %s | %s | %s | %s | %s | %s | ", state_name(state), rpc_type_name(type), answer_text(r),
				run ? state_name(r->done) : "", state_name(r->failed), keep_text(r, state));
			if (run && r->done == RPC_CLOSED && r->status_failed != RPC_EXIT_DONE)
				fprintf(out, "%d or %d |\n", RPC_EXIT_DONE, r->status_failed);
			else
				fprintf(out, "%d |\n", r->status_failed);
		}
	}
}

enum edge { EDGE_DONE, EDGE_FAILED, EDGE_EMPTY, EDGE_KEPT, EDGES };

static bool has_edge(const struct rule *r, enum rpc_state from, enum rpc_state to, enum edge e)
{
	bool run = r->reaction == RPC_RUN;

	switch (e) {
	case EDGE_DONE: return run && r->done == to;
	case EDGE_FAILED: return run && r->failed == to && r->done != to; /* where both lead there, the first says it */
	case EDGE_EMPTY: return !run && to == RPC_CLOSED;
	case EDGE_KEPT: return run && r->keep == KEEP_STAYS && from == to;
	case EDGES: break;
	}
	return false;
}

static void print_edge(enum rpc_state from, enum rpc_state to, enum edge e, FILE *out)
{
	static const char *const when[EDGES] = { [EDGE_DONE] = "done", [EDGE_FAILED] = "failed", [EDGE_EMPTY] = "answered EMPTY",
						 [EDGE_KEPT] = "done or failed, keep_open" };
	unsigned printed = 0;

	for (unsigned type = 0; type < RPC_TYPES; type++) {
		if (!has_edge(&rules[from][type], from, to, e))
			continue;
		if (printed++ == 0)
			fprintf(out, "    %s --> %s: ", state_name(from), state_name(to));
		else
			fputs(", ", out);
		fputs(rpc_type_name(type), out);
	}
	if (printed)
		fprintf(out, " (%s)\n", when[e]);
}

void rpc_session_print_drawing(FILE *out)
{
	fputs("```mermaid\nstateDiagram-v2\n    [*] --> IDLE\n", out);
	for (unsigned from = 0; from < RPC_CLOSED; from++) {
		for (unsigned to = 0; to < RPC_STATES; to++) {
			for (unsigned e = 0; e < EDGES; e++)
				print_edge(from, to, e, out);
		}
		fprintf(out, "    %s --> closed: gone, undecodable%s\n", state_name(from),
			from == RPC_IDLE ? ", keep_open with a request that does not allow it" : "");
	}
	fputs("    closed --> [*]\n```\n", out);
}
