/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire/control.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control.pb-c.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/le.h"
#include "proto/base/plain_text.h"
#include "proto/wire/unpack.h"

enum {
	TRUSTED_LEN = 64 * 1024,        /* allocated on the header's word alone; more only as bytes arrive */
	UNPACK_MAX = 128 * 1024 * 1024, /* of one message, whatever it is made of */
	ABORT_TEXT_MAX = 600,
};

static const struct {
	const char *name;
	const ProtobufCMessageDescriptor *descriptor;
} types[CONTROL_TYPES] = {
	[CONTROL_OFFER] = { "Offer", &drayage__offer__descriptor },
	[CONTROL_OFFER_REPLY] = { "OfferReply", &drayage__offer_reply__descriptor },
	[CONTROL_ROUND_BEGIN] = { "RoundBegin", &drayage__round_begin__descriptor },
	[CONTROL_ROUND_READY] = { "RoundReady", &drayage__round_ready__descriptor },
	[CONTROL_ROUND_END] = { "RoundEnd", &drayage__round_end__descriptor },
	[CONTROL_ROUND_DONE] = { "RoundDone", &drayage__round_done__descriptor },
	[CONTROL_STATE] = { "State", &drayage__state__descriptor },
	[CONTROL_PREPARED] = { "Prepared", &drayage__prepared__descriptor },
	[CONTROL_COMMIT] = { "Commit", &drayage__commit__descriptor },
	[CONTROL_RUNNING] = { "Running", &drayage__running__descriptor },
	[CONTROL_VERIFY] = { "Verify", &drayage__verify__descriptor },
	[CONTROL_VERIFY_REPLY] = { "VerifyReply", &drayage__verify_reply__descriptor },
	[CONTROL_ABORT] = { "Abort", &drayage__abort__descriptor },
	[CONTROL_QUERY] = { "Query", &drayage__query__descriptor },
	[CONTROL_OUTCOME] = { "Outcome", &drayage__outcome__descriptor },
	[CONTROL_DONE] = { "Done", &drayage__done__descriptor },
};

static bool type_known(unsigned type)
{
	return type > 0 && type < CONTROL_TYPES;
}

const char *control_type_name(enum control_type type)
{
	return type_known((unsigned)type) ? types[type].name : "unknown";
}

const ProtobufCMessageDescriptor *control_descriptor(enum control_type type)
{
	return type_known((unsigned)type) ? types[type].descriptor : NULL;
}

void control_header_encode(const struct control_header *h, void *buf)
{
	uint8_t *p = buf;

	le32_put(p, h->length);
	le16_put(p + 4, h->type);
	le16_put(p + 6, 0);
}

int control_header_decode(const void *buf, struct control_header *h)
{
	const uint8_t *p = buf;

	h->length = le32_get(p);
	h->type = le16_get(p + 4);
	return type_known(h->type) && h->length <= CONTROL_MAX && le16_get(p + 6) == 0 ? 0 : -EPROTO;
}

static int io_error(struct err *e, int rc, const char *doing, const char *name)
{
	switch (-rc) {
	case EAGAIN:
	case ETIMEDOUT:
		return err_set(e, ERR_TIMEOUT, 0, "%s %s: the other side is silent", doing, name);
	case EPIPE:
	case ECONNRESET:
		return err_set(e, ERR_PEER, 0, "%s %s: the connection was cut", doing, name);
	default:
		return err_set(e, ERR_PEER, -rc, "%s %s", doing, name);
	}
}

static int receive(int fd, int timeout_ms, enum control_type *type, ProtobufCMessage **msg, bool *aborted, struct err *e);

/* A peer that hung up may have said why: its Abort lies unread then, and is what a receiver would have met. */
static int send_failed(int fd, int rc, enum control_type type, struct err *e)
{
	bool aborted = false;

	if (peer_errno(-rc) == 0) {
		enum control_type other;
		ProtobufCMessage *msg;

		while (receive(fd, 0, &other, &msg, &aborted, e) == 0)
			protobuf_c_message_free_unpacked(msg, NULL);
	}
	return aborted ? -1 : io_error(e, rc, "send", control_type_name(type));
}

int control_send(int fd, enum control_type type, const ProtobufCMessage *msg, struct err *e)
{
	size_t len = protobuf_c_message_get_packed_size(msg);
	cleanup_free uint8_t *buf = NULL;
	int rc;

	if (msg->descriptor != control_descriptor(type))
		return err_set(e, ERR_INTERNAL, 0, "send %s: a message of another type", control_type_name(type));
	if (len > CONTROL_MAX)
		return err_set(e, ERR_LIMIT, 0, "send %s: %zu bytes, the protocol takes %d", control_type_name(type), len, CONTROL_MAX);
	buf = malloc(CONTROL_HEADER_SIZE + len);
	if (!buf)
		return err_set(e, ERR_SYSTEM, ENOMEM, "send %s", control_type_name(type));
	control_header_encode(&(struct control_header){ .length = (uint32_t)len, .type = (uint16_t)type }, buf);
	protobuf_c_message_pack(msg, buf + CONTROL_HEADER_SIZE);
	rc = write_full(fd, buf, CONTROL_HEADER_SIZE + len);
	return rc < 0 ? send_failed(fd, rc, type, e) : 0;
}

struct deadline {
	bool forever;
	uint64_t us;
};

static int deadline_left_ms(const struct deadline *d)
{
	uint64_t now;

	if (d->forever)
		return -1;
	now = clock_us();
	return now >= d->us ? 0 : (int)((d->us - now + 999) / 1000);
}

/* 0, -EPIPE at the end, -ETIMEDOUT, -errno. */
static int read_until(int fd, void *buf, size_t len, const struct deadline *d)
{
	uint8_t *p = buf;

	while (len > 0) {
		int ready = wait_readable(fd, deadline_left_ms(d));
		ssize_t n;

		if (ready <= 0)
			return ready < 0 ? ready : -ETIMEDOUT;
		n = read(fd, p, len);
		if (n == 0)
			return -EPIPE;
		if (n < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			return -errno;
		}
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* A peer that announces much and sends little costs little. */
static int read_body(int fd, size_t len, const struct deadline *d, uint8_t **body)
{
	cleanup_free uint8_t *buf = NULL;
	size_t have = 0, cap = len < TRUSTED_LEN ? len : TRUSTED_LEN;

	for (;;) {
		uint8_t *more = realloc(buf, cap ? cap : 1);
		int rc;

		if (!more)
			return -ENOMEM;
		buf = more;
		rc = read_until(fd, buf + have, cap - have, d);
		if (rc < 0)
			return rc;
		have = cap;
		if (have == len)
			break;
		cap = len - have < have ? len : 2 * have;
	}
	*body = steal_pointer(&buf);
	return 0;
}

/* What the peer wrote goes to terminals and logs: printable text only. UTF-8 beyond ASCII stays as it is. */
static int abort_error(const Drayage__Abort *a, struct err *e)
{
	enum err_kind kind = a->kind > ERR_NONE && a->kind < ERR_KINDS ? (enum err_kind)a->kind : ERR_PEER;
	char text[ABORT_TEXT_MAX];

	snprintf(text, sizeof(text), "%s", a->text);
	plain_text(text, strlen(text));
	err_set(e, kind, 0, "the other side says: %s", text);
	e->num = a->number >= 0 && a->number < 4096 ? a->number : 0; /* the text spells it out already */
	return -1;
}

static int receive(int fd, int timeout_ms, enum control_type *type, ProtobufCMessage **msg, bool *aborted, struct err *e)
{
	struct deadline d = { .forever = timeout_ms < 0, .us = clock_us() + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0) * 1000 };
	uint8_t head[CONTROL_HEADER_SIZE];
	struct control_header h;
	cleanup_free uint8_t *body = NULL;
	ProtobufCMessage *got;
	int rc = read_until(fd, head, sizeof(head), &d);

	*msg = NULL;
	if (rc < 0)
		return io_error(e, rc, "receive", "a message");
	if (control_header_decode(head, &h) < 0)
		return err_set(e, ERR_PROTOCOL, 0, "receive: a message of type %u and %u bytes", h.type, h.length);
	rc = read_body(fd, h.length, &d, &body);
	if (rc < 0)
		return io_error(e, rc, "receive", types[h.type].name);
	got = unpack_capped(types[h.type].descriptor, body, h.length, UNPACK_MAX);
	if (!got)
		return err_set(e, ERR_PROTOCOL, 0, "receive %s: malformed, %u bytes", types[h.type].name, h.length);
	if (h.type == CONTROL_ABORT) {
		abort_error((const Drayage__Abort *)got, e);
		protobuf_c_message_free_unpacked(got, NULL);
		*aborted = true;
		return -1;
	}
	*type = (enum control_type)h.type;
	*msg = got;
	return 0;
}

int control_receive(int fd, int timeout_ms, enum control_type *type, ProtobufCMessage **msg, struct err *e)
{
	bool aborted;

	return receive(fd, timeout_ms, type, msg, &aborted, e);
}

ProtobufCMessage *control_expect(int fd, int timeout_ms, enum control_type type, struct err *e)
{
	enum control_type got;
	ProtobufCMessage *msg;

	if (control_receive(fd, timeout_ms, &got, &msg, e) < 0)
		return NULL;
	if (got == type)
		return msg;
	protobuf_c_message_free_unpacked(msg, NULL);
	err_set(e, ERR_PROTOCOL, 0, "%s came where %s belongs", control_type_name(got), control_type_name(type));
	return NULL;
}
