/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/agent/session.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "migrate/agent/session_priv.h"
#include "proto/base/io.h"
#include "proto/base/log.h"

enum {
	FIRST_MESSAGE_MS = 30 * 1000, /* from the hello to the offer */
	FROZEN_MS = 60 * 1000,        /* between messages while the source's tree stands still */
	LEARN_MS = 30 * 1000,         /* from Running to the source's Done */
	RECORD_AGAIN_MS = 500,        /* that all late pages are there could not be written down */
};

/* The whole of the protocol on this side: what may come when. Anything else ends the session. */
static const struct step {
	enum session_state state;
	enum control_type type;
	int (*handle)(struct session *s, const ProtobufCMessage *msg);
} steps[] = {
	{ EXPECT_OFFER, CONTROL_OFFER, session_on_offer },
	{ BETWEEN_ROUNDS, CONTROL_ROUND_BEGIN, session_on_round_begin },
	{ IN_ROUND, CONTROL_ROUND_END, session_on_round_end },
	{ LAST_PLACED, CONTROL_VERIFY, session_on_verify },
	{ LAST_PLACED, CONTROL_STATE, session_on_state },
	{ PREPARED, CONTROL_COMMIT, session_on_commit },
	{ RUNNING, CONTROL_DONE, session_on_done },
};

static int dispatch(struct session *s, enum control_type type, const ProtobufCMessage *msg)
{
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (steps[i].state == s->state && steps[i].type == type)
			return steps[i].handle(s, msg);
	return err_set(&s->err, ERR_PROTOCOL, 0, "%s in state %s", control_type_name(type), session_state_name(s));
}

static int idle_limit_ms(const struct session *s)
{
	switch (s->state) {
	case EXPECT_OFFER:
		return FIRST_MESSAGE_MS;
	case RUNNING:
		return LEARN_MS;
	case PREPARED:
	case LAST_PLACED:
		return FROZEN_MS;
	case LATE_PAGES: /* the source comes back, however long it takes */
		return late_session_missing(s->late) == 0 ? RECORD_AGAIN_MS : -1;
	case IN_ROUND:
	case BETWEEN_ROUNDS: /* as long as the source likes; that it lives is TCP's keepalive's to tell */
	case ENDED:
		break;
	}
	return -1;
}

/* One message of the source's on the control connection. While pages are on their way it has nothing to say there: what comes is its end, and it
 * comes back on other connections. */
static int on_control(struct session *s, int rest_ms)
{
	enum control_type type;
	ProtobufCMessage *msg;
	int rc;

	if (control_receive(s->control, rest_ms, &type, &msg, &s->err) < 0) {
		if (s->state != LATE_PAGES)
			return -1;
		log_event(LOG_WARN, "control-lost", "error=\"%s\"", s->err.text);
		err_clear(&s->err);
		close(s->control);
		s->control = -1;
		return 0;
	}
	rc = dispatch(s, type, msg);
	protobuf_c_message_free_unpacked(msg, NULL);
	return rc;
}

/* A source that asks may have committed before: what it said is here then, and counts. */
static void hear_out(struct session *s)
{
	if (s->state == PREPARED && wait_readable(s->control, 0) == 1 && on_control(s, 0) < 0)
		log_event(LOG_INFO, "control-lost", "error=\"%s\"", s->err.text);
}

static int serve_line(struct session *s)
{
	struct agent_parcel l;

	if (!session_line_receive(s, &l))
		return 0;
	if (l.m.kind == AGENT_QUERY && l.fd >= 0)
		hear_out(s);
	return session_line_handle(s, &l);
}

static int serve_one(struct session *s)
{
	struct pollfd p[2 + LATE_POLL] = { { .fd = s->control, .events = POLLIN }, { .fd = session_line_fd(s), .events = POLLIN } };
	bool late = s->state == LATE_PAGES;
	int n;

	if (late)
		late_session_poll(s->late, p + 2);
	n = poll(p, late ? 2 + LATE_POLL : 2, idle_limit_ms(s));
	if (n < 0)
		return errno == EINTR ? 0 : err_sys(&s->err, "poll");
	if (n == 0 && !late)
		return err_set(&s->err, ERR_TIMEOUT, 0, "nothing heard from the source in state %s", session_state_name(s));
	if (late && session_serve_late(s) < 0)
		return -1;
	if (p[1].revents) /* first all that is there: streams that the source's next message relies on */
		return serve_line(s);
	return p[0].revents ? on_control(s, CONTROL_REST_MS) : 0;
}

/* A source names its migrations at random. What has a record here lives here, or did: an offer of that name must not write over it. */
static int open_journal(struct session *s)
{
	struct journal_record known;

	s->journal = journal_open(s->config->state_dir, &s->config->id, JOURNAL_DESTINATION, &s->err);
	if (!s->journal)
		return -1;
	if (journal_read(s->journal, &known, &s->err) < 0 && s->err.kind == ERR_GONE) {
		err_clear(&s->err);
		return 0;
	}
	journal_close(s->journal);
	s->journal = NULL;
	return err_set(&s->err, ERR_CONFLICT, 0, "there is a record of a migration of this id");
}

int session_run(const struct session_config *c)
{
	struct session s = { .config = c, .control = c->control, .agent = c->agent, .door = -1, .metrics = c->metrics, .row = c->row, .husk = { .channel = -1, .init_line = -1 },
			     .late_fd = { -1, -1 } };
	char role[48], hex[33];
	int rc;

	migration_id_format(&c->id, hex);
	snprintf(role, sizeof(role), "session %.8s", hex);
	log_set_role(role);
	rc = open_journal(&s);
	while (rc == 0 && s.state != ENDED)
		rc = serve_one(&s);
	if (rc < 0 && s.state < RUNNING) /* after commit a lost source only means that the record stays */
		session_abort(&s);
	if (rc < 0 && s.state == LATE_PAGES)
		session_give_up_late(&s);
	late_session_destroy(s.late);
	for (unsigned i = 0; i < LATE_CONNECTIONS; i++)
		if (s.late_fd[i] >= 0)
			close(s.late_fd[i]);
	if (s.door >= 0)
		close(s.door);
	if (s.control >= 0)
		close(s.control);
	journal_close(s.journal);
	rc = rc < 0 && (s.state < RUNNING || s.state == LATE_PAGES) ? (s.err.kind ? (int)s.err.kind : ERR_INTERNAL) : 0;
	session_say_end(&s, rc);
	return rc;
}
