/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "migrate/agent/session_priv.h"

/* What comes from the source meanwhile is an Abort or the end: control_receive makes an error of either. */
static int source_spoke(struct session *s)
{
	enum control_type type;
	ProtobufCMessage *msg;

	if (control_receive(s->control, CONTROL_REST_MS, &type, &msg, &s->err) < 0)
		return -1;
	protobuf_c_message_free_unpacked(msg, NULL);
	return err_set(&s->err, ERR_PROTOCOL, 0, "%s out of turn", control_type_name(type));
}

/* Streams arrive on the agent's line. */
static int await_husk(struct session *s)
{
	for (;;) {
		struct pollfd p[3] = { { .fd = s->husk.channel, .events = POLLIN },
				       { .fd = s->control, .events = POLLIN | POLLRDHUP },
				       { .fd = session_line_fd(s), .events = POLLIN } };
		struct agent_parcel l;

		if (poll(p, 3, -1) < 0) {
			if (errno == EINTR)
				continue;
			return err_sys(&s->err, "poll");
		}
		if (p[0].revents)
			return 0;
		if (p[1].revents)
			return source_spoke(s);
		if (p[2].revents && session_line_receive(s, &l) && session_line_handle(s, &l) < 0)
			return -1;
	}
}

int session_ask_husk(struct session *s, const struct channel_message *request, struct channel_message *answer)
{
	*answer = (struct channel_message){ .fd = -1 };
	if (channel_send(s->husk.channel, request->kind, request->value, request->payload, request->len, request->fd, &s->err) < 0 ||
	    await_husk(s) < 0)
		return -1;
	return channel_answer(s->husk.channel, answer, &s->err);
}

int session_ask_husk_for(struct session *s, const struct channel_message *request, void *answer, size_t size)
{
	struct channel_message m;

	return session_ask_husk(s, request, &m) < 0 ? -1 : channel_take(&m, answer, size, &s->err);
}

int session_pack_request(struct session *s, enum channel_kind kind, const ProtobufCMessage *msg, struct channel_message *request)
{
	size_t len = protobuf_c_message_get_packed_size(msg);

	*request = (struct channel_message){ .kind = kind, .len = len, .payload = malloc(len ? len : 1), .fd = -1 };
	if (!request->payload)
		return err_set(&s->err, ERR_SYSTEM, ENOMEM, "%s", msg->descriptor->short_name);
	protobuf_c_message_pack(msg, request->payload);
	return 0;
}
