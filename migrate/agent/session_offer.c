/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "control.pb-c.h"
#include "migrate/agent/session_priv.h"
#include "migrate/conduct/host_facts.h"
#include "proto/base/fault.h"
#include "proto/base/log.h"

static int write_record(struct session *s, const struct freezer *f)
{
	s->record.state = JOURNAL_PREPARED;
	s->record.freezer = *f;
	return journal_write(s->journal, &s->record, &s->err);
}

/* Written down before it is made: it is to be taken away even if we are killed right behind that. */
static int make_cgroup(struct session *s)
{
	struct freezer planned;
	char hex[33], name[48];

	migration_id_format(&s->config->id, hex);
	snprintf(name, sizeof(name), "%s-dest", hex);
	if (freezer_plan(&planned, s->husk.pid, name, &s->err) < 0 || write_record(s, &planned) < 0 ||
	    freezer_create(&s->freezer, s->husk.pid, name, &s->err) < 0)
		return -1;
	fault_point("destination.cgroup", s->control);
	return s->freezer.kind == planned.kind && strcmp(s->freezer.cgroup, planned.cgroup) == 0 ? 0 : write_record(s, &s->freezer);
}

/* The husk gets its cgroup long before it is frozen there: to enter one can take tens of milliseconds, the threads that it will have are
 * born in it. */
static int start_husk(struct session *s, const Drayage__Offer *offer, uint64_t max)
{
	struct husk_request wanted = { .pid = offer->pid, .tids = offer->tids, .n_tids = offer->n_tids, .pid_policy = offer->pid_policy,
				       .streams = offer->streams, .max_bytes = max,
				       .streams_again = s->config->features & HELLO_FEATURE_AGAIN };

	if (husk_start(&s->husk, &wanted, &s->err) < 0)
		return s->err.num == EEXIST ? err_set(&s->err, ERR_CONFLICT, 0, "PID %u is taken here; --pid new makes a PID namespace for it", offer->pid) : -1;
	snprintf(s->record.peer, sizeof(s->record.peer), "%s", s->config->peer);
	return make_cgroup(s);
}

int session_on_offer(struct session *s, const ProtobufCMessage *base)
{
	const Drayage__Offer *offer = (const Drayage__Offer *)base;
	Drayage__OfferReply reply = DRAYAGE__OFFER_REPLY__INIT;
	char host[65] = "", identity[33];
	uint64_t max = 0;

	if (offer->streams < 1 || offer->streams > STREAMS_MAX)
		return err_set(&s->err, ERR_PROTOCOL, 0, "%u streams", offer->streams);
	if (offer->pid < 1 || offer->pid > (1u << 22))
		return err_set(&s->err, ERR_PROTOCOL, 0, "PID %u", offer->pid);
	if (journal_identity(s->config->state_dir, identity, &s->err) < 0 || host_facts_check(offer, &s->err) < 0 || session_reserve(s, offer->present_bytes, &max) < 0)
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
	session_change_state(s, BETWEEN_ROUNDS, "offer");
	return 0;
}
