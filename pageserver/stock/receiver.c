/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/receiver_priv.h"

#include <errno.h>
#include <string.h>

#include "pageserver/stock/alive.h"
#include "pageserver/stock/meter.h"
#include "pageserver/stock/native.h"
#include "pageserver/stock/streams.h"
#include "pageserver/stock/turn.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/wire/ps_probe.h"

enum { PS_OF_TLS_HELLO = 0x0316 }; /* what a TLS client's first bytes are as a command */

/* --- commands ------------------------------------------------------------------------------------------------------------------- */

static int on_get(struct receiver *r, const struct ps_command *c, struct err *e)
{
	(void)r;
	(void)c;
	return err_set(e, ERR_UNSUPPORTED, 0, "the peer asks for pages (lazy-pages); this server takes them");
}

/* Folding and writing take their time, by what the set has and not by what was sent. */
static int publish(struct receiver *r, struct err *e)
{
	bool says_alive = r->hears_alive && !r->streams;
	struct ps_alive alive;
	int rc;

	ps_meter_phase(r->config->meter, PHASE_WRITING);
	if (r->streams)
		streams_publish_begin(r->streams);
	if (says_alive)
		ps_alive_begin(&alive, r->fd, receiver_alive_ms(r->config));
	rc = r->sink->ops->finish(r->sink, e);
	if (says_alive)
		ps_alive_end(&alive);
	if (r->streams)
		streams_publish_end(r->streams);
	return rc < 0 ? err_wrap(e, "publish") : 0;
}

/* A closing command with flags is answered and ends nothing. */
static int on_close(struct receiver *r, const struct ps_command *c, struct err *e)
{
	if (r->layout == PS_LAYOUT_UNKNOWN && ps_begins_probe(c))
		return receiver_on_probe(r, e);
	if (!ps_ends(c))
		return receiver_answer_value(r, 0, PS_STATUS_ANSWER, e);
	if (r->inherited && r->layout == PS_LAYOUT_UNKNOWN) /* the sender says nothing else before it has the status */
		ps_input_drop_rest(&r->in, PS_HEADER_MAX - PS_HEADER_MIN);
	receiver_tell(r);
	if (publish(r, e) < 0)
		return -1;
	r->report->us = clock_us() - r->start_us;
	if (r->config->published && r->config->published(r->config->arg, r->report, e) < 0)
		return -1;
	receiver_tell_server_word(r, LINE_PUBLISHED);
	return receiver_answer_value(r, 0, PS_STATUS_ANSWER, e);
}

static const struct {
	uint16_t code;
	int (*act)(struct receiver *r, const struct ps_command *c, struct err *e);
} actions[] = {
	{ PS_ADD_F, receiver_on_range }, /* the commonest first */
	{ PS_FRAME, receiver_on_frame },
	{ PS_ADD, receiver_on_range },
	{ PS_HOLE, receiver_on_range },
	{ PS_OPEN2, receiver_on_open },
	{ PS_OPEN, receiver_on_open },
	{ PS_PARENT, receiver_on_parent },
	{ PS_CLOSE, on_close },
	{ PS_FORCE_CLOSE, on_close },
	{ PS_GET, on_get },
};

static int act_on(struct receiver *r, const struct ps_command *c, struct err *e)
{
	bool question = c->code == PS_PARENT || c->code == PS_OPEN2;
	unsigned i = 0;

	r->asked_us = question && r->config->meter ? clock_us() : 0;
	while (actions[i].code != c->code) /* ps_decode gives no others */
		i++;
	return actions[i].act(r, c, e);
}

/* --- the session ---------------------------------------------------------------------------------------------------------------- */

/* Only the first header is read in two pieces, the rest of the longer one when it shows to be one. */
static int first_header(struct receiver *r, struct ps_command *c)
{
	uint8_t header[PS_HEADER_MAX];
	const uint8_t *bytes;
	int rc = ps_input_take(&r->in, PS_HEADER_MIN, &bytes);

	if (rc < 0)
		return rc;
	memcpy(header, bytes, PS_HEADER_MIN);
	r->layout = ps_detect(header);
	r->report->header_size = r->layout;
	if (r->layout == PS_LAYOUT_32) {
		rc = ps_input_take(&r->in, PS_HEADER_MAX - PS_HEADER_MIN, &bytes);
		if (rc < 0)
			return rc == -ENODATA ? -EPIPE : rc;
		memcpy(header + PS_HEADER_MIN, bytes, PS_HEADER_MAX - PS_HEADER_MIN);
	}
	return ps_decode(r->layout, header, c);
}

static int next_header(struct receiver *r, struct ps_command *c)
{
	const uint8_t *bytes;
	int rc;

	if (r->layout == PS_LAYOUT_UNKNOWN)
		return first_header(r, c);
	rc = ps_input_take(&r->in, r->layout, &bytes);
	return rc < 0 ? rc : ps_decode(r->layout, bytes, c);
}

static int out_of_turn(struct receiver *r, int rc, struct err *e)
{
	if (rc == -ECANCELED)
		return err_set(e, ERR_PEER, 0, "the sender gave the session up");
	if (rc == -EPROTO)
		return err_set(e, ERR_PROTOCOL, 0, "commands are not numbered as they have to be");
	if (rc != -ENOTCONN)
		return receiver_input_failed(r, rc, e);
	receiver_input_failed(r, streams_why_cut(r->streams), e);
	r->cut = 0;
	return err_wrap(e, "no other connection came");
}

/* Of a numbered session: finds the connection that the next command is on. A question that comes again is answered here. */
static int find_turn(struct receiver *r, struct err *e)
{
	const uint8_t *header;
	int rc;

	while ((rc = streams_next(r->streams)) == 1) {
		rc = ps_input_take(&r->in, PS_HEADER_MAX, &header);
		if (rc < 0)
			return receiver_input_failed(r, rc, e);
		streams_answer_again(r->streams);
	}
	r->seen.pages = r->seen.ranges = 0;
	r->resumed = rc == 0 && streams_resumes(r->streams);
	return rc < 0 ? out_of_turn(r, rc, e) : 0;
}

static int next_command(struct receiver *r, struct ps_command *c, struct err *e)
{
	int rc = next_header(r, c);

	if (rc == -EPROTO && r->report->maps == 0 && c->code == PS_OF_TLS_HELLO)
		return err_set(e, ERR_PROTOCOL, 0, "the sender speaks TLS, for which this server was given no credentials (--tls)");
	if (rc == -EPROTO)
		return err_set(e, ERR_PROTOCOL, 0, "0x%x is no command of the page-server protocol", c->code);
	return rc < 0 ? receiver_input_failed(r, rc, e) : 0;
}

static bool is_question(const struct ps_command *c)
{
	return c->code == PS_OPEN2 || c->code == PS_PARENT || c->code == PS_CLOSE || c->code == PS_FORCE_CLOSE;
}

/* c: the one before, which is the same where it goes on in the middle. */
static int take_command(struct receiver *r, struct ps_command *c, struct err *e)
{
	if (r->in.from == r->in.to) {
		receiver_tell(r);
		turn_for_questions(&r->turn);
	}
	if (receiver_greet(r, e) < 0)
		return -1;
	if (r->report->joins)
		return 0;
	if ((r->streams && find_turn(r, e) < 0) || (!r->resumed && next_command(r, c, e) < 0) || act_on(r, c, e) < 0)
		return -1;
	if (r->streams)
		streams_taken(r->streams, is_question(c));
	r->done.pages = r->done.ranges = 0;
	return 0;
}

/* Of a numbered session that lost a connection: what was done of a command stays done, it will come again. Not before the sender has heard the token. */
static bool survives(struct receiver *r)
{
	if (!r->streams || !r->native || !r->cut)
		return false;
	streams_cut(r->streams, r->cut, r->in_frame ? native_frame_taken(r->native) : 0);
	r->cut = 0;
	r->in_frame = false;
	return true;
}

static int serve(struct receiver *r, struct err *e)
{
	struct ps_command c = { 0 };
	int rc;

	ps_meter_phase(r->config->meter, PHASE_RECEIVING);
	do
		rc = take_command(r, &c, e);
	while (rc < 0 ? survives(r) : !ps_ends(&c) && !r->report->joins);
	return rc;
}

static void see_off(struct receiver *r)
{
	if (r->inherited || r->report->joins)
		return;
	if (r->streams)
		streams_see_off(r->streams, HANG_UP_MS);
	else if (ps_input_drain(&r->in, HANG_UP_MS) < 0)
		log_event(LOG_WARN, "page-server-lingers", "reason=\"the sender did not hang up\"");
}

static void begin_report(struct page_server_report *report)
{
	struct page_server_report sender = *report;

	*report = (struct page_server_report){ .tls = sender.tls };
	memcpy(report->name, sender.name, sizeof(report->name));
}

int ps_receive(int fd, bool inherited, struct page_sink *sink, const struct page_server_config *c, struct page_server_report *report,
	       struct err *e)
{
	struct receiver r = { .source.move = receiver_move_pages, .fd = fd, .inherited = inherited, .sink = sink, .config = c, .report = report,
			      .start_us = clock_us() };
	uint64_t handshake = c->limits.handshake_ms ? r.start_us + c->limits.handshake_ms * 1000 : 0;
	int rc;

	r.deadline_us = c->limits.time_ms ? r.start_us + c->limits.time_ms * 1000 : 0;
	begin_report(report);
	rc = ps_input_begin(&r.in, fd, !inherited, c->limits.idle_ms,
			    handshake && (!r.deadline_us || handshake < r.deadline_us) ? handshake : r.deadline_us);
	if (rc < 0)
		return err_set(e, ERR_SYSTEM, -rc, "memory for a session");
	r.in.stop = c->stop;
	if (!inherited) {
		ps_input_allow_splice(&r.in);
		turn_begin(&r.turn);
	}
	rc = serve(&r, e);
	receiver_tell(&r);
	report->us = rc < 0 ? clock_us() - r.start_us : report->us;
	if (rc < 0 && r.native)
		receiver_answer_failure(&r, e);
	if (rc == 0)
		see_off(&r);
	streams_destroy(r.streams);
	native_frames_destroy(r.native);
	ps_input_finish(&r.in);
	return rc;
}
