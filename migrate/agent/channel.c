/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/agent/channel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/io.h"
#include "proto/wire/control.h"

struct header {
	uint32_t kind;
	uint32_t len;
	uint64_t value;
};

int channel_send(int channel, enum channel_kind kind, uint64_t value, const void *payload, size_t len, int fd, struct err *e)
{
	struct header h = { .kind = kind, .len = (uint32_t)len, .value = value };
	int rc = send_fds(channel, &h, sizeof(h), &fd, fd >= 0 ? 1 : 0);

	if (rc == 0 && len > 0)
		rc = write_full(channel, payload, len);
	return rc < 0 ? err_set(e, ERR_GONE, -rc, "channel between session and husk") : 0;
}

int channel_receive(int channel, struct channel_message *m, struct err *e)
{
	struct header h;
	int nfds = 0;
	ssize_t n;

	*m = (struct channel_message){ .fd = -1 };
	n = recv_fds(channel, &h, sizeof(h), &m->fd, 1, &nfds);
	if (n != (ssize_t)sizeof(h)) {
		channel_message_finish(m);
		return err_set(e, ERR_GONE, n < 0 ? (int)-n : 0, "the process behind the channel ended");
	}
	m->kind = (enum channel_kind)h.kind;
	m->value = h.value;
	m->len = h.len;
	if (m->len == 0)
		return 0;
	if (m->len > CONTROL_MAX || !(m->payload = malloc(m->len))) {
		channel_message_finish(m);
		return err_set(e, ERR_LIMIT, 0, "channel message of %u bytes", h.len);
	}
	n = read_full(channel, m->payload, m->len);
	if (n < 0) {
		channel_message_finish(m);
		return err_set(e, ERR_GONE, (int)-n, "the process behind the channel ended");
	}
	return 0;
}

void channel_message_finish(struct channel_message *m)
{
	free(m->payload);
	if (m->fd >= 0)
		close(m->fd);
	*m = (struct channel_message){ .fd = -1 };
}

int channel_answer(int channel, struct channel_message *m, struct err *e)
{
	*m = (struct channel_message){ .fd = -1 };
	if (channel_receive(channel, m, e) < 0)
		return -1;
	if (m->kind == CHANNEL_OK)
		return 0;
	if (m->kind == CHANNEL_FAILED && m->len == sizeof(*e))
		memcpy(e, m->payload, sizeof(*e));
	else
		err_set(e, ERR_INTERNAL, 0, "the husk's answer is none");
	channel_message_finish(m);
	return -1;
}

int channel_take(struct channel_message *m, void *answer, size_t answer_len, struct err *e)
{
	int rc = m->len == answer_len ? 0 : err_set(e, ERR_INTERNAL, 0, "the husk's answer has %zu bytes, not %zu", m->len, answer_len);

	if (rc == 0 && answer_len)
		memcpy(answer, m->payload, answer_len);
	channel_message_finish(m);
	return rc;
}

int channel_ask(int channel, const struct channel_message *request, void *answer, size_t answer_len, struct err *e)
{
	struct channel_message m;

	if (channel_send(channel, request->kind, request->value, request->payload, request->len, request->fd, e) < 0 ||
	    channel_answer(channel, &m, e) < 0)
		return -1;
	return channel_take(&m, answer, answer_len, e);
}
