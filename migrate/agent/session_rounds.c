/* SPDX-License-Identifier: Apache-2.0 */
#include "control.pb-c.h"
#include "migrate/agent/session_answers.h"
#include "migrate/agent/session_meter.h"
#include "migrate/agent/session_priv.h"
#include "proto/base/cleanup.h"
#include "proto/base/fault.h"
#include "proto/wire/manifest_message.h"

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

/* The husk learns the round as the source said it. */
static int begin_in_husk(struct session *s, const Drayage__RoundBegin *msg)
{
	struct channel_message request, answer;
	int rc = session_pack_request(s, CHANNEL_ROUND_BEGIN, &msg->base, &request);

	if (rc == 0)
		rc = session_ask_husk(s, &request, &answer);
	channel_message_finish(&request);
	return rc < 0 ? -1 : begin_late(s, msg, &answer);
}

int session_on_round_begin(struct session *s, const ProtobufCMessage *base)
{
	const Drayage__RoundBegin *msg = (const Drayage__RoundBegin *)base;
	Drayage__RoundReady ready = DRAYAGE__ROUND_READY__INIT;

	if (msg->round != s->round + 1)
		return err_set(&s->err, ERR_PROTOCOL, 0, "round %u after round %u", msg->round, s->round);
	if (msg->n_late > 0 && !msg->last)
		return err_set(&s->err, ERR_PROTOCOL, 0, "late pages before the last round");
	if (begin_in_husk(s, msg) < 0)
		return err_wrap(&s->err, "layout of round %u", msg->round);
	s->round = ready.round = msg->round;
	s->last_round = msg->last;
	fault_point("destination.round", s->control);
	session_change_state(s, IN_ROUND, "round-begin");
	return control_send(s->control, CONTROL_ROUND_READY, &ready.base, &s->err);
}

int session_on_round_end(struct session *s, const ProtobufCMessage *base)
{
	const Drayage__RoundEnd *msg = (const Drayage__RoundEnd *)base;
	const struct channel_message request = { .kind = CHANNEL_ROUND_END, .value = s->round, .fd = -1 };
	Drayage__RoundDone done = DRAYAGE__ROUND_DONE__INIT;
	Drayage__Manifest manifest;
	struct round_answer a;

	if (msg->round != s->round)
		return err_set(&s->err, ERR_PROTOCOL, 0, "end of round %u in round %u", msg->round, s->round);
	if (s->streams_given != s->streams)
		return err_set(&s->err, ERR_PROTOCOL, 0, "end of round %u with %u of %u streams", msg->round, s->streams_given, s->streams);
	if (session_ask_husk_for(s, &request, &a, sizeof(a)) < 0)
		return err_wrap(&s->err, "round %u", s->round);
	s->manifest = a.stats.manifest;
	session_count_round(s->metrics, s->row, &a.stats);
	done.round = s->round;
	done.pages = a.stats.pages;
	done.has_resident_bytes = 1;
	done.resident_bytes = a.resident_bytes;
	manifest = manifest_to_message(&s->manifest);
	done.manifest = &manifest;
	session_change_state(s, s->last_round ? LAST_PLACED : BETWEEN_ROUNDS, "round-end");
	return control_send(s->control, CONTROL_ROUND_DONE, &done.base, &s->err);
}

int session_on_verify(struct session *s, const ProtobufCMessage *base)
{
	Drayage__VerifyReply reply = DRAYAGE__VERIFY_REPLY__INIT;
	struct channel_message request;
	struct verify_answer a;
	int rc = session_pack_request(s, CHANNEL_VERIFY, base, &request);

	if (rc == 0)
		rc = session_ask_husk_for(s, &request, &a, sizeof(a));
	channel_message_finish(&request);
	if (rc < 0)
		return -1;
	reply.equal = a.first_bad == 0;
	reply.has_first_bad = a.first_bad != 0;
	reply.first_bad = a.first_bad;
	reply.has_cost_us = 1;
	reply.cost_us = a.cost_us;
	return control_send(s->control, CONTROL_VERIFY_REPLY, &reply.base, &s->err);
}
