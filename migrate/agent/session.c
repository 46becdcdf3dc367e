/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/agent/session.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control.pb-c.h"
#include "migrate/agent/channel.h"
#include "migrate/agent/hellos.h"
#include "migrate/agent/husk.h"
#include "migrate/agent/late_session.h"
#include "migrate/agent/session_answers.h"
#include "migrate/agent/session_meter.h"
#include "migrate/conduct/host_facts.h"
#include "migrate/conduct/journal.h"
#include "migrate/freeze/freezer.h"
#include "migrate/native/rebuild.h"
#include "migrate/remote/remote.h"
#include "proto/base/cleanup.h"
#include "proto/base/fault.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/wire/control.h"
#include "proto/wire/manifest_message.h"

enum {
	FIRST_MESSAGE_MS = 30 * 1000, /* from the hello to the offer */
	FROZEN_MS = 60 * 1000,        /* between messages while the source's tree stands still */
	LEARN_MS = 30 * 1000,         /* from Running to the source's Done */
	DONE_MS = 2 * 1000,           /* from an outcome to the asker's Done */
	CONTROL_REST_MS = 30 * 1000,  /* for the rest of a message that has begun */
};

/* In the order of a migration's life: before RUNNING it may be aborted, from there on it may not. */
enum session_state { EXPECT_OFFER, BETWEEN_ROUNDS, IN_ROUND, LAST_PLACED, PREPARED, RUNNING, LATE_PAGES, ENDED };

struct session {
	const struct session_config *config;
	enum session_state state;
	int control, agent;
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

static const char *const state_names[] = {
	[EXPECT_OFFER] = "expect-offer", [BETWEEN_ROUNDS] = "between-rounds", [IN_ROUND] = "in-round", [LAST_PLACED] = "last-placed",
	[PREPARED] = "prepared",         [RUNNING] = "running",               [LATE_PAGES] = "late-pages",   [ENDED] = "ended",
};

static const enum session_phase phase_of[] = {
	[EXPECT_OFFER] = PHASE_STARTED, [BETWEEN_ROUNDS] = PHASE_RECEIVING, [IN_ROUND] = PHASE_RECEIVING,    [LAST_PLACED] = PHASE_WRITING,
	[PREPARED] = PHASE_PREPARED,    [RUNNING] = PHASE_RUNNING,          [LATE_PAGES] = PHASE_LATE_PAGES, [ENDED] = PHASE_RUNNING,
};

static void change_state(struct session *s, enum session_state next, const char *cause)
{
	log_event(LOG_DEBUG, "state", "from=%s to=%s cause=%s", state_names[s->state], state_names[next], cause);
	s->state = next;
	session_row_phase(s->config->row, phase_of[next]);
}

/* --- what the husk is asked for ---------------------------------------------------------------------------------------------- */

static int on_agent_message(struct session *s);

/* Waits for the husk's answer, all the while serving the agent's line (streams arrive there) and watching the control connection:
 * the peer has nothing to say meanwhile, so what comes there is an Abort or the end. */
static int await_husk(struct session *s, struct err *e)
{
	for (;;) {
		struct pollfd p[3] = { { .fd = s->husk.channel, .events = POLLIN },
				       { .fd = s->control, .events = POLLIN | POLLRDHUP },
				       { .fd = s->agent, .events = POLLIN } };

		if (poll(p, 3, -1) < 0) {
			if (errno == EINTR)
				continue;
			return err_sys(e, "poll");
		}
		if (p[0].revents)
			return 0;
		if (p[1].revents) {
			enum control_type type;
			ProtobufCMessage *msg;

			if (control_receive(s->control, CONTROL_REST_MS, &type, &msg, e) < 0)
				return -1;
			protobuf_c_message_free_unpacked(msg, NULL);
			return err_set(e, ERR_PROTOCOL, 0, "%s out of turn", control_type_name(type));
		}
		if (p[2].revents && on_agent_message(s) < 0)
			return -1;
	}
}

/* One request, one answer. answer (with its payload) is the caller's to finish. */
static int ask_husk(struct session *s, enum channel_kind kind, uint64_t value, const void *payload, size_t len, int fd,
		    struct channel_message *answer, struct err *e)
{
	*answer = (struct channel_message){ .fd = -1 };
	if (channel_send(s->husk.channel, kind, value, payload, len, fd, e) < 0 || await_husk(s, e) < 0)
		return -1;
	return channel_answer(s->husk.channel, answer, e);
}

static int answer_of_size(struct channel_message *m, size_t size, struct err *e)
{
	if (m->len == size)
		return 0;
	return err_set(e, ERR_INTERNAL, 0, "the husk's answer has %zu bytes, not %zu", m->len, size);
}

/* --- the agent's line ---------------------------------------------------------------------------------------------------------- */

/* Somebody asks for the outcome while we live. Before Commit the asker's own control connection is lost: presumed abort, decided now. While
 * pages are missing the asker is told which, and comes back with them. */
static void answer_query(struct session *s, int fd)
{
	Drayage__Outcome outcome = DRAYAGE__OUTCOME__INIT;
	cleanup_free Drayage__Range **missing = NULL;
	ProtobufCMessage *query, *done;
	struct err ignored;

	outcome.what = s->state >= RUNNING ? DRAYAGE__OUTCOME__WHAT__RUNNING_HERE : DRAYAGE__OUTCOME__WHAT__ABORTED;
	if (s->state >= RUNNING) {
		outcome.has_pid = 1;
		outcome.pid = (uint32_t)s->husk.pid;
	}
	if (s->state == LATE_PAGES) {
		if (late_session_list(s->late, &missing, &outcome.n_late, &ignored) < 0)
			return;
		outcome.late = missing;
	}
	query = control_expect(fd, CONTROL_REST_MS, CONTROL_QUERY, &ignored);
	if (!query)
		return;
	protobuf_c_message_free_unpacked(query, NULL);
	if (control_send(fd, CONTROL_OUTCOME, &outcome.base, &ignored) < 0 || s->state == LATE_PAGES)
		return;
	done = control_expect(fd, DONE_MS, CONTROL_DONE, &ignored);
	s->outcome_learnt = done != NULL;
	if (done)
		protobuf_c_message_free_unpacked(done, NULL);
}

static void on_late_connection(struct session *s, unsigned index, int fd)
{
	if (index >= LATE_CONNECTIONS || s->state == ENDED) {
		close(fd);
		return;
	}
	if (s->late) {
		late_session_connect(s->late, (enum late_connection)index, fd);
		return;
	}
	if (s->late_fd[index] >= 0)
		close(s->late_fd[index]);
	s->late_fd[index] = fd;
}

static bool may_come_again(const struct session *s, const struct agent_message *m)
{
	return s->config->features & HELLO_FEATURE_AGAIN && s->state >= BETWEEN_ROUNDS && s->state <= LAST_PLACED &&
	       !s->streams_over && m->index < s->streams && s->streams_given == s->streams && stream_token_equal(&m->token, &s->token);
}

/* The place of a cut stream is taken only by who was told the token. The answer to its hello is ours: the husk speaks on it next. */
static int on_stream_again(struct session *s, const struct agent_message *m, int fd)
{
	bool may = may_come_again(s, m);
	struct hello theirs = { .role = HELLO_AGAIN, .index = m->index, .features = s->config->features, .id = s->config->id };
	bool said = hello_answer(fd, &theirs, may ? HELLO_OK : HELLO_REFUSED) == 0;

	if (!may)
		log_event(LOG_WARN, "stream-refused", "stream=%u state=%s", m->index, state_names[s->state]);
	if (!may || !said)
		return 0;
	log_event(LOG_INFO, "stream-again", "stream=%u", m->index);
	return channel_send(s->husk.channel, CHANNEL_AGAIN, m->index, NULL, 0, fd, &s->err);
}

static int on_control(struct session *s, int rest_ms);

/* A source that asks may have committed before: what it said is here then, and counts. */
static void hear_out(struct session *s)
{
	if (s->state == PREPARED && wait_readable(s->control, 0) == 1 && on_control(s, 0) < 0)
		log_event(LOG_INFO, "control-lost", "error=\"%s\"", s->err.text);
}

static int on_agent_message(struct session *s)
{
	struct agent_message m = { 0 };
	struct channel_message answer;
	cleanup_fd int fd = -1;
	int nfds = 0;
	ssize_t n = recv_fds(s->agent, &m, sizeof(m), &fd, 1, &nfds);

	if (n != (ssize_t)sizeof(m)) { /* the agent is gone; we go on without it */
		close(s->agent);
		s->agent = -1;
		return 0;
	}
	if (m.kind == AGENT_QUERY && fd >= 0) {
		hear_out(s);
		if (s->state < RUNNING)
			err_set(&s->err, ERR_CANCELLED, 0, "the source asks on another connection what became of this");
		answer_query(s, fd);
		if (s->state == RUNNING && s->outcome_learnt) {
			journal_remove(s->journal);
			change_state(s, ENDED, "query");
		}
		return s->state >= RUNNING ? 0 : -1;
	}
	if (m.kind == AGENT_LATE && fd >= 0) {
		on_late_connection(s, m.index, steal_fd(&fd));
		return 0;
	}
	if (m.kind == AGENT_AGAIN && fd >= 0)
		return on_stream_again(s, &m, fd);
	/* With all of them there it is not asked again: at a round's end the husk waits for its streams and hears nobody. */
	if (m.kind != AGENT_STREAM || fd < 0 || s->state == EXPECT_OFFER || s->state > IN_ROUND || s->streams_given == s->streams)
		return 0;
	if (channel_send(s->husk.channel, CHANNEL_STREAM, m.index, NULL, 0, fd, &s->err) < 0)
		return -1;
	if (channel_answer(s->husk.channel, &answer, &s->err) < 0)
		return -1;
	s->streams_given++;
	channel_message_finish(&answer);
	return 0;
}

static int reserve(struct session *s, uint64_t bytes, uint64_t *max)
{
	struct agent_message m = { .kind = AGENT_RESERVE, .value = bytes };
	int rc = send_fds(s->agent, &m, sizeof(m), NULL, 0);
	int nfds;

	if (rc == 0 && recv_fds(s->agent, &m, sizeof(m), NULL, 0, &nfds) != (ssize_t)sizeof(m))
		rc = -EPIPE;
	if (rc < 0)
		return err_set(&s->err, ERR_INTERNAL, -rc, "the agent ended");
	if (m.kind != AGENT_GRANTED)
		return err_set(&s->err, ERR_LIMIT, 0, "%llu MiB would come, %llu MiB are left below the agent's --max-memory",
			       (unsigned long long)(bytes >> 20), (unsigned long long)(m.value >> 20));
	*max = m.value;
	return 0;
}

/* --- one handler a message ------------------------------------------------------------------------------------------------------ */

/* The husk gets its cgroup long before it is frozen there: to enter one can take tens of milliseconds, the threads that it will have are
 * born in it. The record is written as soon as there is something to clean up if we are killed. */
static int start_husk(struct session *s, const Drayage__Offer *offer, uint64_t max)
{
	struct husk_request wanted = { .pid = offer->pid, .tids = offer->tids, .n_tids = offer->n_tids, .pid_policy = offer->pid_policy,
				       .streams = offer->streams, .max_bytes = max,
				       .streams_again = s->config->features & HELLO_FEATURE_AGAIN };
	char hex[33], name[48];

	migration_id_format(&s->config->id, hex);
	snprintf(name, sizeof(name), "%s-dest", hex);
	if (husk_start(&s->husk, &wanted, &s->err) < 0)
		return s->err.num == EEXIST ? err_set(&s->err, ERR_CONFLICT, EEXIST, "PID %u (--pid new makes a PID namespace for it)", offer->pid) : -1;
	if (freezer_create(&s->freezer, s->husk.pid, name, &s->err) < 0)
		return -1;
	s->record.state = JOURNAL_PREPARED;
	s->record.freezer = s->freezer;
	snprintf(s->record.peer, sizeof(s->record.peer), "%s", s->config->peer);
	return journal_write(s->journal, &s->record, &s->err);
}

static int on_offer(struct session *s, const ProtobufCMessage *base)
{
	const Drayage__Offer *offer = (const Drayage__Offer *)base;
	Drayage__OfferReply reply = DRAYAGE__OFFER_REPLY__INIT;
	char host[65] = "", identity[33];
	uint64_t max = 0;

	if (offer->streams < 1 || offer->streams > STREAMS_MAX)
		return err_set(&s->err, ERR_PROTOCOL, 0, "%u streams", offer->streams);
	if (offer->pid < 1 || offer->pid > (1u << 22))
		return err_set(&s->err, ERR_PROTOCOL, 0, "PID %u", offer->pid);
	if (journal_identity(s->config->state_dir, identity, &s->err) < 0 || host_facts_check(offer, &s->err) < 0 || reserve(s, offer->present_bytes, &max) < 0)
		return -1;
	snprintf(s->record.comm, sizeof(s->record.comm), "%s", offer->comm);
	s->streams = offer->streams;
	if (start_husk(s, offer, max) < 0)
		return -1;
	gethostname(host, sizeof(host) - 1);
	reply.pid = s->husk.tree_pid;
	reply.new_pid_namespace = s->husk.ns_init != 0;
	reply.host = host;
	reply.identity = identity;
	if (s->config->features & HELLO_FEATURE_AGAIN) {
		stream_token_new(&s->token);
		reply.has_stream_token = 1;
		reply.stream_token = (ProtobufCBinaryData){ .data = s->token.byte, .len = sizeof(s->token.byte) };
	}
	log_event(LOG_INFO, "offer", "peer=%s pid=%u comm=\"%s\" bytes=%llu streams=%u new-namespace=%d", s->config->peer, offer->pid,
		  s->record.comm, (unsigned long long)offer->present_bytes, offer->streams, reply.new_pid_namespace);
	if (control_send(s->control, CONTROL_OFFER_REPLY, &reply.base, &s->err) < 0)
		return -1;
	fault_point("destination.offered", s->control);
	change_state(s, BETWEEN_ROUNDS, "offer");
	return 0;
}

/* Pages that come after the process runs. Finishes the husk's answer. */
static int begin_late(struct session *s, const Drayage__RoundBegin *msg, struct channel_message *answer)
{
	int uffd = steal_fd(&answer->fd);

	channel_message_finish(answer);
	if (msg->n_late == 0)
		return 0;
	if (uffd < 0)
		return err_set(&s->err, ERR_INTERNAL, 0, "post-copy: the husk gave no userfaultfd");
	s->late = late_session_create(msg->late, msg->n_late, uffd, &s->err);
	if (!s->late)
		return -1;
	for (unsigned i = 0; i < LATE_CONNECTIONS; i++)
		if (s->late_fd[i] >= 0)
			late_session_connect(s->late, (enum late_connection)i, steal_fd(&s->late_fd[i]));
	return 0;
}

static int on_round_begin(struct session *s, const ProtobufCMessage *base)
{
	const Drayage__RoundBegin *msg = (const Drayage__RoundBegin *)base;
	Drayage__RoundReady ready = DRAYAGE__ROUND_READY__INIT;
	size_t len = drayage__round_begin__get_packed_size(msg);
	cleanup_free uint8_t *packed = malloc(len ? len : 1);
	struct channel_message answer;

	if (msg->round != s->round + 1)
		return err_set(&s->err, ERR_PROTOCOL, 0, "round %u after round %u", msg->round, s->round);
	if (!packed)
		return err_set(&s->err, ERR_SYSTEM, ENOMEM, "round %u", msg->round);
	drayage__round_begin__pack(msg, packed);
	if (msg->n_late > 0 && !msg->last)
		return err_set(&s->err, ERR_PROTOCOL, 0, "late pages before the last round");
	if (ask_husk(s, CHANNEL_ROUND_BEGIN, 0, packed, len, -1, &answer, &s->err) < 0 || begin_late(s, msg, &answer) < 0)
		return err_wrap(&s->err, "layout of round %u", msg->round);
	s->round = ready.round = msg->round;
	s->last_round = msg->last;
	fault_point("destination.round", s->control);
	change_state(s, IN_ROUND, "round-begin");
	return control_send(s->control, CONTROL_ROUND_READY, &ready.base, &s->err);
}

static int on_round_end(struct session *s, const ProtobufCMessage *base)
{
	const Drayage__RoundEnd *msg = (const Drayage__RoundEnd *)base;
	Drayage__RoundDone done = DRAYAGE__ROUND_DONE__INIT;
	Drayage__Manifest manifest;
	struct channel_message m;
	struct round_answer *a;

	if (msg->round != s->round)
		return err_set(&s->err, ERR_PROTOCOL, 0, "end of round %u in round %u", msg->round, s->round);
	if (s->streams_given != s->streams)
		return err_set(&s->err, ERR_PROTOCOL, 0, "end of round %u with %u of %u streams", msg->round, s->streams_given, s->streams);
	if (ask_husk(s, CHANNEL_ROUND_END, s->round, NULL, 0, -1, &m, &s->err) < 0)
		return err_wrap(&s->err, "round %u", s->round);
	if (answer_of_size(&m, sizeof(*a), &s->err) < 0) {
		channel_message_finish(&m);
		return -1;
	}
	a = m.payload;
	s->manifest = a->stats.manifest;
	session_count_round(s->config, &a->stats);
	done.round = s->round;
	done.pages = a->stats.pages;
	done.has_resident_bytes = 1;
	done.resident_bytes = a->resident_bytes;
	manifest = manifest_to_message(&s->manifest);
	done.manifest = &manifest;
	channel_message_finish(&m);
	change_state(s, s->last_round ? LAST_PLACED : BETWEEN_ROUNDS, "round-end");
	return control_send(s->control, CONTROL_ROUND_DONE, &done.base, &s->err);
}

static int on_verify(struct session *s, const ProtobufCMessage *base)
{
	const Drayage__Verify *msg = (const Drayage__Verify *)base;
	Drayage__VerifyReply reply = DRAYAGE__VERIFY_REPLY__INIT;
	size_t len = drayage__verify__get_packed_size(msg);
	cleanup_free uint8_t *packed = malloc(len ? len : 1);
	struct channel_message m;
	const struct verify_answer *a;

	if (!packed)
		return err_set(&s->err, ERR_SYSTEM, ENOMEM, "verify");
	drayage__verify__pack(msg, packed);
	if (ask_husk(s, CHANNEL_VERIFY, 0, packed, len, -1, &m, &s->err) < 0)
		return -1;
	if (answer_of_size(&m, sizeof(*a), &s->err) < 0) {
		channel_message_finish(&m);
		return -1;
	}
	a = m.payload;
	reply.equal = a->first_bad == 0;
	reply.has_first_bad = a->first_bad != 0;
	reply.first_bad = a->first_bad;
	reply.has_cost_us = 1;
	reply.cost_us = a->cost_us;
	channel_message_finish(&m);
	return control_send(s->control, CONTROL_VERIFY_REPLY, &reply.base, &s->err);
}

/* The outer half of the rebuild, up to a tree that stands frozen without us; the record of it was written with its cgroup. */
static int rebuild_and_freeze(struct session *s, const Drayage__TreeState *tree, const struct rebuild_handover *h, struct err *e)
{
	struct remote r;
	int rc;

	if (husk_rebuild(&s->husk, &r, tree, h, NULL, e) < 0)
		return -1;
	rc = s->late ? late_session_arm(s->late, s->husk.pid, tree->tasks[0]->mm, &s->freezer, e) : 0;
	if (rc == 0)
		rc = freezer_freeze(&s->freezer, e);
	if (rc < 0)
		kill(s->husk.pid, SIGKILL);
	remote_release(&r);
	return rc;
}

static int on_state(struct session *s, const ProtobufCMessage *base)
{
	const Drayage__State *msg = (const Drayage__State *)base;
	Drayage__Prepared prepared = DRAYAGE__PREPARED__INIT;
	Drayage__Manifest manifest;
	Drayage__TreeState *tree;
	struct rebuild_handover handover;
	struct channel_message m;
	uint64_t begin = clock_us();
	int rc;

	fault_point("destination.state", s->control);
	if (msg->tree.len > STATE_MAX)
		return err_set(&s->err, ERR_LIMIT, 0, "a tree state of %zu bytes", msg->tree.len);
	tree = drayage__tree_state__unpack(NULL, msg->tree.len, msg->tree.data);
	if (!tree)
		return err_set(&s->err, ERR_PROTOCOL, 0, "a tree state that can't be decoded");
	s->streams_over = true;
	rc = ask_husk(s, CHANNEL_STATE, 0, msg->tree.data, msg->tree.len, -1, &m, &s->err);
	if (rc == 0) {
		rc = answer_of_size(&m, sizeof(handover), &s->err);
		if (rc == 0)
			memcpy(&handover, m.payload, sizeof(handover));
		channel_message_finish(&m);
	}
	if (rc == 0)
		rc = rebuild_and_freeze(s, tree, &handover, &s->err);
	drayage__tree_state__free_unpacked(tree, NULL);
	if (rc < 0)
		return err_wrap(&s->err, "rebuild");
	manifest = manifest_to_message(&s->manifest);
	prepared.manifest = &manifest;
	prepared.pid = (uint32_t)s->husk.pid;
	prepared.has_rebuild_us = 1;
	prepared.rebuild_us = clock_us() - begin;
	fault_point("destination.prepared", s->control);
	change_state(s, PREPARED, "state");
	return control_send(s->control, CONTROL_PREPARED, &prepared.base, &s->err);
}

/* It is on its own: whoever recovers has nothing to thaw, and its cgroup goes. */
static void leave_alone(struct session *s)
{
	struct err e;

	freezer_remove(&s->freezer);
	s->record.freezer.kind = FREEZER_NONE;
	if (journal_write(s->journal, &s->record, &e) < 0)
		log_event(LOG_ERROR, "journal", "error=\"%s\"", e.text);
}

static int on_commit(struct session *s, const ProtobufCMessage *base)
{
	const Drayage__Commit *msg = (const Drayage__Commit *)base;
	struct manifest theirs = manifest_from_message(msg->manifest);
	Drayage__Running running = DRAYAGE__RUNNING__INIT;
	uint64_t begin = clock_us();
	struct err e;

	if (!manifest_equal(&theirs, &s->manifest))
		return err_set(&s->err, ERR_MISMATCH, 0, "the source commits other pages than were placed");
	s->record.state = JOURNAL_COMMITTED;
	s->record.late = s->late != NULL;
	if (journal_write(s->journal, &s->record, &s->err) < 0)
		return -1;
	/* Decided. From here on nothing may take it back, whatever fails. */
	change_state(s, RUNNING, "commit");
	husk_let_go(&s->husk);
	fault_point("destination.committed", s->control);
	if (freezer_thaw(&s->freezer, &e) < 0)
		log_event(LOG_ERROR, "thaw", "pid=%d error=\"%s\"", (int)s->freezer.pid, e.text);
	running.pid = (uint32_t)s->husk.pid;
	running.has_resume_us = 1;
	running.resume_us = clock_us() - begin;
	fault_point("destination.running", s->control);
	log_event(LOG_INFO, "running", "pid=%d comm=\"%s\"", (int)s->freezer.pid, s->record.comm);
	control_send(s->control, CONTROL_RUNNING, &running.base, &e); /* a source that doesn't hear it asks */
	if (s->late) {
		change_state(s, LATE_PAGES, "commit");
		fault_point("destination.late", s->control);
	} else {
		leave_alone(s);
	}
	return 0;
}

/* Every page is there: from here on it is as if it had come before the commit. */
static void late_pages_done(struct session *s)
{
	late_session_finish(s->late);
	late_session_destroy(s->late);
	s->late = NULL;
	s->record.late = false;
	leave_alone(s);
	log_event(LOG_INFO, "late-pages-done", "pid=%d", (int)s->husk.pid);
	change_state(s, RUNNING, "all-pages");
}

static int on_done(struct session *s, const ProtobufCMessage *base)
{
	(void)base;
	journal_remove(s->journal);
	change_state(s, ENDED, "done");
	return 0;
}

/* The whole of the protocol on this side: what may come when. Anything else ends the session. */
static const struct step {
	enum session_state state;
	enum control_type type;
	int (*handle)(struct session *s, const ProtobufCMessage *msg);
} steps[] = {
	{ EXPECT_OFFER, CONTROL_OFFER, on_offer },
	{ BETWEEN_ROUNDS, CONTROL_ROUND_BEGIN, on_round_begin },
	{ IN_ROUND, CONTROL_ROUND_END, on_round_end },
	{ LAST_PLACED, CONTROL_VERIFY, on_verify },
	{ LAST_PLACED, CONTROL_STATE, on_state },
	{ PREPARED, CONTROL_COMMIT, on_commit },
	{ RUNNING, CONTROL_DONE, on_done },
};

static int dispatch(struct session *s, enum control_type type, const ProtobufCMessage *msg)
{
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (steps[i].state == s->state && steps[i].type == type)
			return steps[i].handle(s, msg);
	return err_set(&s->err, ERR_PROTOCOL, 0, "%s in state %s", control_type_name(type), state_names[s->state]);
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

static int serve_late(struct session *s)
{
	if (late_session_serve(s->late, &s->err) < 0)
		return -1;
	if (late_session_missing(s->late) == 0)
		late_pages_done(s);
	return 0;
}

static int serve_one(struct session *s)
{
	struct pollfd p[2 + LATE_POLL_MAX] = { { .fd = s->control, .events = POLLIN }, { .fd = s->agent, .events = POLLIN } };
	size_t count = 2 + (s->state == LATE_PAGES ? late_session_poll(s->late, p + 2) : 0);
	int n = poll(p, count, idle_limit_ms(s));

	if (n < 0)
		return errno == EINTR ? 0 : err_sys(&s->err, "poll");
	if (n == 0)
		return err_set(&s->err, ERR_TIMEOUT, 0, "nothing heard from the source in state %s", state_names[s->state]);
	if (s->state == LATE_PAGES && serve_late(s) < 0)
		return -1;
	if (p[1].revents) /* first all that is there: streams that the source's next message relies on */
		return on_agent_message(s);
	return p[0].revents ? on_control(s, CONTROL_REST_MS) : 0;
}

/* Not committed: nothing of it stays, not even a record: to a source that asks later, none means that it never ran (settled.h). While
 * the tree is being ended the record says so, in case that we are killed over it. */
static void abort_session(struct session *s)
{
	Drayage__Abort msg = DRAYAGE__ABORT__INIT;
	struct err ignored;

	log_event(s->err.kind == ERR_CANCELLED ? LOG_INFO : LOG_WARN, "abort", "state=%s error=\"%s\"", state_names[s->state], s->err.text);
	if (s->record.state == JOURNAL_PREPARED) {
		s->record.state = JOURNAL_ABORTED;
		if (journal_write(s->journal, &s->record, &ignored) < 0)
			log_event(LOG_ERROR, "journal", "error=\"%s\"", ignored.text);
	}
	if (s->freezer.kind != FREEZER_NONE && freezer_kill(&s->freezer, &ignored) < 0)
		log_event(LOG_ERROR, "kill", "error=\"%s\"", ignored.text);
	husk_kill(&s->husk);
	freezer_remove(&s->freezer);
	journal_remove(s->journal);
	msg.kind = s->err.kind;
	msg.number = s->err.num;
	msg.text = s->err.text;
	control_send(s->control, CONTROL_ABORT, &msg.base, &ignored);
}

/* It runs and can't be given its pages: it must not read zeros in their place. Its original, complete, stands frozen at the source, which hears
 * from the record that it may let it run. */
static void give_up_late(struct session *s)
{
	struct err e;

	log_event(LOG_ERROR, "late-pages-lost", "pid=%d error=\"%s\"", (int)s->husk.pid, s->err.text);
	if (freezer_kill(&s->freezer, &e) < 0 && e.kind != ERR_GONE)
		log_event(LOG_ERROR, "kill", "error=\"%s\"", e.text);
	s->record.state = JOURNAL_ABORTED;
	freezer_remove(&s->freezer);
	s->record.freezer.kind = FREEZER_NONE;
	if (journal_write(s->journal, &s->record, &e) < 0)
		log_event(LOG_ERROR, "journal", "error=\"%s\"", e.text);
}

int session_run(const struct session_config *c)
{
	struct session s = { .config = c, .control = c->control, .agent = c->agent, .husk = { .channel = -1, .init_line = -1 },
			     .late_fd = { -1, -1 } };
	char role[48], hex[33];
	int rc = 0;

	migration_id_format(&c->id, hex);
	snprintf(role, sizeof(role), "session %.8s", hex);
	log_set_role(role);
	s.journal = journal_open(c->state_dir, &c->id, JOURNAL_DESTINATION, &s.err);
	if (!s.journal)
		rc = -1;
	while (rc == 0 && s.state != ENDED)
		rc = serve_one(&s);
	if (rc < 0 && s.state < RUNNING) /* after commit a lost source only means that the record stays */
		abort_session(&s);
	if (rc < 0 && s.state == LATE_PAGES)
		give_up_late(&s);
	late_session_destroy(s.late);
	for (unsigned i = 0; i < LATE_CONNECTIONS; i++)
		if (s.late_fd[i] >= 0)
			close(s.late_fd[i]);
	if (s.control >= 0)
		close(s.control);
	journal_close(s.journal);
	return rc < 0 && (s.state < RUNNING || s.state == LATE_PAGES) ? (s.err.kind ? (int)s.err.kind : ERR_INTERNAL) : 0;
}
