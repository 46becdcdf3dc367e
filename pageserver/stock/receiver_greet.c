/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/receiver_priv.h"

#include <errno.h>
#include <string.h>

#include "pageserver/stock/alive.h"
#include "pageserver/stock/meter.h"
#include "pageserver/stock/native.h"
#include "pageserver/stock/streams.h"
#include "proto/wire/hello.h"
#include "proto/wire/ps_probe.h"

unsigned receiver_alive_ms(const struct page_server_config *c)
{
	return c->alive_ms ? c->alive_ms : ALIVE_MS;
}

int receiver_on_probe(struct receiver *r, struct err *e)
{
	uint8_t identity[PS_IDENTITY_SIZE];
	const uint8_t *rest;
	int rc = ps_input_take(&r->in, PS_PROBE_SIZE - PS_HEADER_MIN, &rest);

	if (rc < 0)
		return receiver_input_failed(r, rc == -ENODATA ? -EPIPE : rc, e);
	if (!ps_is_rest_of_probe(rest))
		return err_set(e, ERR_PROTOCOL, 0, "a probe that isn't one");
	ps_identity_encode(PS_FEATURE_NATIVE, identity);
	return receiver_answer(r, identity, sizeof(identity), e);
}

static int answer_hello(struct receiver *r, const struct hello *theirs, enum hello_status status, struct err *e)
{
	struct hello h = { .version = HELLO_VERSION, .role = theirs->role, .status = (uint8_t)status, .id = theirs->id,
			   .features = theirs->features & (HELLO_FEATURE_LZ4 | HELLO_FEATURE_CHECKSUM | HELLO_FEATURE_ALIVE),
			   .max_frame_pages = PS_FRAME_PAGES };
	uint8_t bytes[HELLO_SIZE];

	if (r->streams) {
		h.features |= HELLO_FEATURE_NUMBERED | (theirs->features & HELLO_FEATURE_PARTS);
		h.token = *streams_token(r->streams);
	}
	hello_encode(&h, bytes);
	return receiver_answer(r, bytes, sizeof(bytes), e);
}

/* Until then a sender has little time: whoever says nothing shall not keep others out. */
static int begin(struct receiver *r, struct err *e)
{
	if (r->begun)
		return 0;
	if (r->config->joins_only) {
		ps_meter_limit(r->config->meter, LIMIT_SESSIONS);
		return err_set(e, ERR_LIMIT, 0, "as many sessions are running as may (--max-sessions)");
	}
	r->begun = true;
	ps_meter_begun(r->config->meter);
	r->in.deadline_us = r->deadline_us;
	receiver_tell_server_word(r, LINE_BEGUN);
	return 0;
}

/* Whoever else has the server's connections can't have this one's: no line, no numbers. */
static int begin_streams(struct receiver *r, uint64_t features, struct err *e)
{
	const struct page_server_config *c = r->config;
	const struct streams_rules rules = { .line = *c->line, .grace_ms = c->grace_ms ? c->grace_ms : STREAMS_GRACE_MS, .alive_ms = receiver_alive_ms(c),
						.parts = features & HELLO_FEATURE_PARTS };
	struct line_message m = { .word = LINE_TOKEN, .fd = -1 };

	r->streams = streams_create(&r->in, &rules);
	if (!r->streams)
		return err_set(e, ERR_SYSTEM, ENOMEM, "memory for connections");
	m.token = *streams_token(r->streams);
	receiver_tell_server(r, &m); /* before the sender has it */
	return 0;
}

/* Another connection of a session that has a process: the server knows which. */
static int pass_on(struct receiver *r, const uint8_t *hello)
{
	struct line_message m = { .word = LINE_HELLO, .fd = r->fd };

	memcpy(m.hello, hello, HELLO_SIZE);
	r->report->joins = true;
	receiver_tell_server(r, &m);
	return 0;
}

static int become_native(struct receiver *r, struct err *e)
{
	const uint8_t *bytes;
	struct hello h;
	int rc = ps_input_take(&r->in, HELLO_SIZE, &bytes);

	if (rc < 0)
		return receiver_input_failed(r, rc == -ENODATA ? -EPIPE : rc, e);
	rc = hello_decode(bytes, &h);
	if (rc == 0 && h.role == HELLO_IMAGES_MORE && r->config->line && r->in.from == r->in.to && !r->begun)
		return pass_on(r, bytes);
	if (begin(r, e) < 0)
		return -1;
	if (rc == -EPROTONOSUPPORT)
		(void)answer_hello(r, &h, HELLO_BAD_VERSION, e);
	if (rc < 0 || h.role != HELLO_IMAGES)
		return err_set(e, ERR_PROTOCOL, 0, "a hello of version %u and role %u, which a page server does not take", h.version, h.role);
	if (h.features & HELLO_FEATURE_NUMBERED && r->config->line && begin_streams(r, h.features, e) < 0)
		return -1;
	if (answer_hello(r, &h, HELLO_OK, e) < 0)
		return -1;
	r->native = native_frames_create(&r->in);
	if (!r->native)
		return err_set(e, ERR_SYSTEM, ENOMEM, "memory for frames");
	r->hears_alive = h.features & HELLO_FEATURE_ALIVE;
	r->layout = PS_LAYOUT_32;
	r->report->header_size = r->layout;
	r->report->native = true;
	return 0;
}

int receiver_greet(struct receiver *r, struct err *e)
{
	const uint8_t *bytes;
	int rc;

	if (r->layout != PS_LAYOUT_UNKNOWN)
		return 0;
	rc = ps_input_peek(&r->in, PS_HEADER_MIN, &bytes);
	if (rc < 0)
		return receiver_input_failed(r, rc, e);
	if (hello_begins(bytes))
		return become_native(r, e);
	return begin(r, e);
}
