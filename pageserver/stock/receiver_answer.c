/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/receiver_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>

#include "pageserver/stock/meter.h"
#include "pageserver/stock/streams.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/wire/ps_native.h"

static int said_nothing(const struct receiver *r, struct err *e)
{
	ps_meter_limit(r->config->meter, LIMIT_HANDSHAKE);
	return err_set(e, ERR_TIMEOUT, 0, "it connected and asked for nothing within %" PRIu64 " ms (--handshake-timeout)", r->config->limits.handshake_ms);
}

int receiver_input_failed(struct receiver *r, int rc, struct err *e)
{
	r->cut = rc == -ENODATA || (errno_is_cut(-rc) && rc != -ETIMEDOUT) ? rc : 0;
	switch (rc) {
	case -ENODATA:
		return err_set(e, ERR_PEER, 0, "the connection ended before the session was closed");
	case -EPIPE:
		return err_set(e, ERR_PEER, 0, "the connection ended in the middle of a command");
	case -ECONNRESET:
		return err_set(e, ERR_PEER, 0, "the connection ended: the sender cut it");
	case -ETIMEDOUT:
		if (!r->begun && r->in.deadline_us != r->deadline_us && ps_input_late(&r->in))
			return said_nothing(r, e);
		ps_meter_limit(r->config->meter, ps_input_late(&r->in) ? LIMIT_SESSION_TIME : LIMIT_IDLE);
		if (ps_input_late(&r->in))
			return err_set(e, ERR_TIMEOUT, 0, "the session took longer than %" PRIu64 " ms", r->config->limits.time_ms);
		return err_set(e, ERR_TIMEOUT, 0, "nothing came for %" PRIu64 " ms", r->config->limits.idle_ms);
	case -ECANCELED:
		return err_set(e, ERR_CANCELLED, 0, "the session was not over");
	case -EPROTO:
		return err_set(e, ERR_PROTOCOL, 0, "a frame that isn't one, or not what its command says");
	case -EILSEQ:
		return err_set(e, ERR_MISMATCH, 0, "a frame's checksum is another");
	default:
		return err_set(e, ERR_PEER, -rc, "read from the sender");
	}
}

int receiver_in_map(enum ps_kind kind, uint64_t id, struct err *e)
{
	return err_wrap(e, "page map of %s %" PRIu64, kind == PS_TASK ? "task" : "shared memory", id);
}

void receiver_tell(struct receiver *r)
{
	r->report->received = r->in.received;
	ps_meter_progress(r->config->meter, r->report);
}

void receiver_tell_server(const struct receiver *r, const struct line_message *m)
{
	if (r->config->line && !line_say(*r->config->line, m))
		log_event(LOG_WARN, "session-line", "errno=%d", errno);
}

void receiver_tell_server_word(const struct receiver *r, enum line_word word)
{
	const struct line_message m = { .word = word, .fd = -1 };

	receiver_tell_server(r, &m);
}

/* A few bytes always fit the buffer of a socket whose owner reads answers; on one where they don't, nobody does. */
int receiver_answer(struct receiver *r, const void *bytes, size_t len, struct err *e)
{
	ssize_t n;

	do
		n = send(r->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return peer_errno(errno) == 0 ? receiver_input_failed(r, -ECONNRESET, e) : err_set(e, ERR_PEER, errno, "answer the sender");
	return (size_t)n == len ? 0 : err_set(e, ERR_PEER, 0, "answer the sender: it reads nothing");
}

int receiver_answer_value(struct receiver *r, uint32_t value, size_t size, struct err *e)
{
	struct ps_native_answer a = { .value = value };
	uint8_t bytes[PS_NATIVE_ANSWER];

	if (r->streams) {
		streams_answer(r->streams, value);
		return 0;
	}
	ps_native_answer_encode(&a, bytes); /* the value comes first, as it does there */
	return receiver_answer(r, bytes, r->native ? sizeof(bytes) : size, e);
}

void receiver_answer_failure(struct receiver *r, const struct err *why)
{
	struct ps_native_answer a = { .kind = (uint16_t)why->kind, .text = (uint16_t)strlen(why->text) };
	uint8_t bytes[PS_NATIVE_ANSWER + sizeof(why->text)];
	struct err ignored;

	ps_native_answer_encode(&a, bytes);
	memcpy(bytes + PS_NATIVE_ANSWER, why->text, a.text);
	if (r->streams && why->kind != ERR_PEER)
		streams_fail(r->streams, bytes, PS_NATIVE_ANSWER + a.text, HANG_UP_MS);
	if (r->streams || why->kind == ERR_PEER || receiver_answer(r, bytes, PS_NATIVE_ANSWER + a.text, &ignored) < 0 || r->inherited)
		return;
	shutdown(r->fd, SHUT_WR);
	(void)ps_input_drain(&r->in, HANG_UP_MS);
}
