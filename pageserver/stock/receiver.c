/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/receiver.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>

#include "pageserver/stock/alive.h"
#include "pageserver/stock/input.h"
#include "pageserver/stock/line.h"
#include "pageserver/stock/meter.h"
#include "pageserver/stock/native.h"
#include "pageserver/stock/streams.h"
#include "pageserver/stock/turn.h"
#include "proto/base/io.h"
#include "proto/base/le.h"
#include "proto/base/log.h"
#include "proto/wire/hello.h"
#include "proto/wire/ps_command.h"
#include "proto/wire/ps_probe.h"
#include "proto/wire/runs.h"

enum {
	HANG_UP_MS = 10 * 1000,   /* for the sender to end its connection behind the status */
	COPY = 128 * 1024,        /* at a time where there is room for more: a copy holds its processor, for which somebody may wait who was asked */
	DIRECT = 64 * 1024,       /* from here on a range costs less by a read of its own than by a copy */
	PS_OF_TLS_HELLO = 0x0316, /* what a TLS client's first bytes are as a command */
};

static_assert((int)PS_TASK == (int)PAGEMAP_TASK && (int)PS_SHMEM == (int)PAGEMAP_SHMEM, "kinds of page maps");
static_assert((int)PS_IN_PARENT == (int)PAGE_IN_PARENT && (int)PS_LAZY == (int)PAGE_LAZY && (int)PS_PRESENT == (int)PAGE_PRESENT, "flags");

struct receiver {
	struct page_source source; /* of pages that nobody looks at; first member */
	struct ps_input in;
	int fd;
	bool inherited;
	struct page_sink *sink;
	const struct page_server_config *config;
	struct page_server_report *report;
	enum ps_layout layout;
	struct native_frames *native; /* NULL: a stock session; else frames may come, and answers have words */
	bool in_frame;                /* pages come out of one */
	struct ps_streams *streams;   /* of a numbered session; else NULL */
	struct { uint64_t ranges, pages; } done, seen; /* of a numbered command: given to the sink, also before its connection was cut; come on this one */
	int cut;                      /* what failed was the connection, by this error; 0: it was not */
	bool hears_alive;             /* the sender knows what to make of PS_NATIVE_ALIVE */
	uint64_t asked_us;            /* when the question at hand was read, where that is metered */
	bool begun;                   /* the sender has said what it wants */
	uint64_t deadline_us;         /* of the session; 0: none */
	uint64_t spoken_of; /* pages, as limits.pages counts them */
	bool open; /* this page map: */
	enum ps_kind kind;
	uint64_t id;
};

/* --- errors --------------------------------------------------------------------------------------------------------------------- */

static int said_nothing(const struct receiver *r, struct err *e)
{
	ps_meter_limit(r->config->meter, LIMIT_HANDSHAKE);
	return err_set(e, ERR_TIMEOUT, 0, "it connected and asked for nothing within %" PRIu64 " ms (--handshake-timeout)", r->config->limits.handshake_ms);
}

static int input_failed(struct receiver *r, int rc, struct err *e)
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
	case -EPROTO:
		return err_set(e, ERR_PROTOCOL, 0, "a frame that isn't one, or not what its command says");
	case -EILSEQ:
		return err_set(e, ERR_MISMATCH, 0, "a frame's checksum is another");
	default:
		return err_set(e, ERR_PEER, -rc, "read from the sender");
	}
}

static int in_map(enum ps_kind kind, uint64_t id, struct err *e)
{
	return err_wrap(e, "page map of %s %" PRIu64, kind == PS_TASK ? "task" : "shared memory", id);
}

/* Told when nothing is left of what was read: a buffer's worth at a time, and before every wait. */
static void tell(struct receiver *r)
{
	r->report->received = r->in.received;
	ps_meter_progress(r->config->meter, r->report);
}

static void tell_server(const struct receiver *r, const struct line_message *m)
{
	if (r->config->line && !line_say(*r->config->line, m))
		log_event(LOG_WARN, "session-line", "errno=%d", errno);
}

static void tell_server_word(const struct receiver *r, enum line_word word)
{
	const struct line_message m = { .word = word, .fd = -1 };

	tell_server(r, &m);
}

/* --- answers -------------------------------------------------------------------------------------------------------------------- */

/* A few bytes always fit the buffer of a socket whose owner reads answers; on one where they don't, nobody does. */
static int answer(struct receiver *r, const void *bytes, size_t len, struct err *e)
{
	ssize_t n;

	do
		n = send(r->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return peer_errno(errno) == 0 ? input_failed(r, -ECONNRESET, e) : err_set(e, ERR_PEER, errno, "answer the sender");
	return (size_t)n == len ? 0 : err_set(e, ERR_PEER, 0, "answer the sender: it reads nothing");
}

/* size: of the stock protocol's answer. */
static int answer_value(struct receiver *r, uint32_t value, size_t size, struct err *e)
{
	struct ps_native_answer a = { .value = value };
	uint8_t bytes[PS_NATIVE_ANSWER];

	if (r->streams) {
		streams_answer(r->streams, value);
		return 0;
	}
	ps_native_answer_encode(&a, bytes); /* the value comes first, as it does there */
	return answer(r, bytes, r->native ? sizeof(bytes) : size, e);
}

/* Why a native session failed. What the sender has said by then is read and forgotten: a connection that is closed with bytes unread takes the words along. */
static void answer_failure(struct receiver *r, const struct err *why)
{
	struct ps_native_answer a = { .kind = (uint16_t)why->kind, .text = (uint16_t)strlen(why->text) };
	uint8_t bytes[PS_NATIVE_ANSWER + sizeof(why->text)];
	struct err ignored;

	ps_native_answer_encode(&a, bytes);
	memcpy(bytes + PS_NATIVE_ANSWER, why->text, a.text);
	if (r->streams && why->kind != ERR_PEER)
		streams_fail(r->streams, bytes, PS_NATIVE_ANSWER + a.text, HANG_UP_MS);
	if (r->streams || why->kind == ERR_PEER || answer(r, bytes, PS_NATIVE_ANSWER + a.text, &ignored) < 0 || r->inherited)
		return;
	shutdown(r->fd, SHUT_WR);
	(void)ps_input_drain(&r->in, HANG_UP_MS);
}

/* --- commands ------------------------------------------------------------------------------------------------------------------- */

static int which_map(const struct ps_command *c, enum ps_kind *kind, uint64_t *id, struct err *e)
{
	if (ps_dst_decode(c->dst, kind, id) == 0)
		return 0;
	return err_set(e, ERR_PROTOCOL, 0, "%s for a page map of unknown type %u", ps_name(c->code), (unsigned)(c->dst & 0xff));
}

static int answer_whether_parent(struct receiver *r, enum ps_kind kind, uint64_t id, size_t size, struct err *e)
{
	bool parent;

	if (r->sink->ops->has_parent(r->sink, (enum pagemap_kind)kind, id, &parent, e) < 0)
		return in_map(kind, id, e);
	if (answer_value(r, parent, size, e) < 0)
		return -1;
	if (r->asked_us)
		ps_meter_answered(r->config->meter, clock_us() - r->asked_us);
	return 0;
}

static int on_parent(struct receiver *r, const struct ps_command *c, struct err *e)
{
	enum ps_kind kind;
	uint64_t id;

	return which_map(c, &kind, &id, e) < 0 ? -1 : answer_whether_parent(r, kind, id, PS_PARENT_ANSWER, e);
}

/* What a sender says without contents costs room too: files, entries of page maps, memory for a page map. */
static int speak_of(struct receiver *r, uint64_t pages, struct err *e)
{
	uint64_t max = r->config->limits.pages;

	if (max && pages > max - r->spoken_of) {
		ps_meter_limit(r->config->meter, LIMIT_SESSION_PAGES);
		return err_set(e, ERR_LIMIT, 0, "the session speaks of more than the %" PRIu64 " pages allowed (--session-pages)", max);
	}
	r->spoken_of += pages;
	return 0;
}

typedef int open_fn(struct page_sink *s, enum pagemap_kind kind, uint64_t id, bool *parent, struct err *e);

static int open_map(struct receiver *r, open_fn *open, enum ps_kind kind, uint64_t id, bool *parent, struct err *e)
{
	r->open = false;
	if (speak_of(r, 1, e) < 0 || open(r->sink, (enum pagemap_kind)kind, id, parent, e) < 0)
		return in_map(kind, id, e);
	r->open = true;
	r->kind = kind;
	r->id = id;
	r->report->maps++;
	return 0;
}

/* The sender's tasks stand still until it has the answer, which is known before the files of the map before are closed and new ones made. Where that fails
 * the session ends, as it does when pages can't be written. */
static int on_open(struct receiver *r, const struct ps_command *c, struct err *e)
{
	enum ps_kind kind;
	bool ignored;
	uint64_t id;

	if (which_map(c, &kind, &id, e) < 0)
		return -1;
	if (c->code == PS_OPEN2 && answer_whether_parent(r, kind, id, PS_OPEN2_ANSWER, e) < 0)
		return -1;
	return open_map(r, r->sink->ops->open, kind, id, &ignored, e);
}

/* Senders of old name a page map for the first time in its first range, and may come back to it. */
static int be_in_map(struct receiver *r, const struct ps_command *c, struct err *e)
{
	enum ps_kind kind;
	bool parent;
	uint64_t id;

	if (which_map(c, &kind, &id, e) < 0)
		return -1;
	return r->open && r->kind == kind && r->id == id ? 0 : open_map(r, page_sink_resume, kind, id, &parent, e);
}

static ssize_t move_pages(struct page_source *s, int pipe, size_t max, struct err *e)
{
	struct receiver *r = (struct receiver *)s;
	ssize_t n = ps_input_into_pipe(&r->in, pipe, max);

	return n < 0 ? input_failed(r, (int)n, e) : n;
}

static uint64_t at_most(uint64_t bytes, uint64_t most)
{
	return bytes < most ? bytes : most;
}

static ssize_t next_pages(struct receiver *r, uint64_t max, uint8_t *into, const uint8_t **pages)
{
	return r->in_frame ? native_frame_pages(r->native, max, into, pages) : ps_input_pages_into(&r->in, max, into, pages);
}

/* Through our memory, or into that of the sink. Bytes, or -1. */
static ssize_t put_pages(struct receiver *r, const struct ps_command *c, uint64_t vaddr, uint64_t max, uint8_t *into, struct err *e)
{
	const uint8_t *pages;
	ssize_t n = next_pages(r, max, into, &pages);

	if (n < 0)
		return input_failed(r, (int)n, e);
	return r->sink->ops->pages(r->sink, vaddr, bytes_to_pages((uint64_t)n), c->flags, pages, e) < 0 ? -1 : n;
}

/* A large range is received where it belongs, where that is in memory; else nobody has to look at it (a frame has a checksum, and what may come again is counted by the page), and it is spliced. Bytes, or -1. */
static ssize_t some_pages(struct receiver *r, const struct ps_command *c, uint64_t vaddr, uint64_t left, bool large, struct err *e)
{
	const struct page_sink_ops *ops = r->sink->ops;
	uint64_t room = left, piece = at_most(left, PS_INPUT_PIECE);
	uint8_t *into = large && ops->room ? ops->room(r->sink, &room) : NULL;

	if (into)
		return put_pages(r, c, vaddr, at_most(at_most(left, room), COPY), into, e);
	if (!large || r->in_frame || r->streams || !ops->pull || !r->in.splices)
		return put_pages(r, c, vaddr, left, NULL, e);
	return ops->pull(r->sink, vaddr, bytes_to_pages(piece), c->flags, &r->source, e) < 0 ? -1 : (ssize_t)piece;
}

/* Those that came on a connection that was cut are read and forgotten. Returns how many there are. */
static int64_t skip_pages(struct receiver *r, const struct ps_command *c, struct err *e)
{
	uint64_t skip = r->done.pages - r->seen.pages < c->nr ? r->done.pages - r->seen.pages : c->nr, left = pages_to_bytes(skip);

	r->seen.pages += skip;
	while (left > 0) {
		const uint8_t *pages;
		ssize_t n = next_pages(r, left, NULL, &pages);

		if (n < 0)
			return input_failed(r, (int)n, e);
		left -= (uint64_t)n;
	}
	return (int64_t)skip;
}

static int take_pages(struct receiver *r, const struct ps_command *c, struct err *e)
{
	int64_t skipped = r->done.pages > r->seen.pages ? skip_pages(r, c, e) : 0;
	uint64_t vaddr = c->vaddr + pages_to_bytes((uint64_t)skipped), left = pages_to_bytes(c->nr - (uint64_t)skipped), max = r->config->limits.bytes;
	bool large = left >= DIRECT;

	if (skipped < 0)
		return -1;
	if (max && pages_to_bytes(r->report->pages) + left > max) {
		ps_meter_limit(r->config->meter, LIMIT_SESSION_BYTES);
		return err_set(e, ERR_LIMIT, 0, "the session's pages exceed the %" PRIu64 " bytes allowed (--session-bytes)", max);
	}
	while (left > 0) {
		ssize_t n = some_pages(r, c, vaddr, left, large, e);

		if (n < 0)
			return -1;
		r->report->pages += bytes_to_pages((uint64_t)n);
		r->done.pages = r->seen.pages += bytes_to_pages((uint64_t)n);
		vaddr += (uint64_t)n;
		left -= (uint64_t)n;
		if (left > 0)
			tell(r);
	}
	return 0;
}

static int take_range(struct receiver *r, const struct ps_command *c, struct err *e)
{
	if (ps_has_pages(c))
		return take_pages(r, c, e);
	r->report->in_parent += c->flags & PS_IN_PARENT ? c->nr : 0;
	return r->sink->ops->hole(r->sink, c->vaddr, c->nr, c->flags, e);
}

static int on_range(struct receiver *r, const struct ps_command *c, struct err *e)
{
	const char *fault = ps_range_fault(c);
	bool first = ++r->seen.ranges > r->done.ranges;

	if (be_in_map(r, c, e) < 0)
		return -1;
	r->done.ranges += first;
	r->report->ranges += first;
	if (fault)
		err_set(e, ERR_PROTOCOL, 0, "a range that can't be: %s", fault);
	if (!fault && (!first || speak_of(r, c->nr, e) == 0) && take_range(r, c, e) == 0)
		return 0;
	err_wrap(e, "0x%" PRIx64 ", %" PRIu64 " pages", c->vaddr, c->nr);
	return in_map(r->kind, r->id, e);
}

/* Each run of it is a range like any other. */
static int on_frame(struct receiver *r, const struct ps_command *c, struct err *e)
{
	struct ps_command range;
	int rc;

	if (!r->native)
		return err_set(e, ERR_PROTOCOL, 0, "0x%x is no command of the page-server protocol", c->code);
	rc = native_frame_begin(r->native, c);
	if (rc < 0)
		return input_failed(r, rc, e);
	r->in_frame = true;
	while (native_frame_run(r->native, &range))
		if (on_range(r, &range, e) < 0)
			return -1;
	r->in_frame = false;
	rc = native_frame_end(r->native);
	return rc < 0 ? input_failed(r, rc, e) : 0;
}

static int on_get(struct receiver *r, const struct ps_command *c, struct err *e)
{
	(void)r;
	(void)c;
	return err_set(e, ERR_UNSUPPORTED, 0, "the peer asks for pages (lazy-pages); this server takes them");
}

/* A header of the longer layout has 8 bytes that were not read when the layout never showed. The sender says nothing else before it has the status. */
static void skip_rest_of_header(struct receiver *r)
{
	uint8_t rest[PS_HEADER_MAX - PS_HEADER_MIN];
	static const uint8_t nothing[sizeof(rest)];

	if (r->layout == PS_LAYOUT_UNKNOWN && recv(r->fd, rest, sizeof(rest), MSG_PEEK | MSG_DONTWAIT) == (ssize_t)sizeof(rest) &&
	    memcmp(rest, nothing, sizeof(rest)) == 0 && recv(r->fd, rest, sizeof(rest), MSG_DONTWAIT) < 0)
		log_event(LOG_WARN, "page-server-rest", "errno=%d", errno);
}

/* The rest of a probe follows; its sender learns who we are, and goes on in whichever layout. */
static int on_probe(struct receiver *r, struct err *e)
{
	uint8_t identity[PS_IDENTITY_SIZE];
	const uint8_t *rest;
	int rc = ps_input_take(&r->in, PS_PROBE_SIZE - PS_HEADER_MIN, &rest);

	if (rc < 0)
		return input_failed(r, rc == -ENODATA ? -EPIPE : rc, e);
	if (!ps_is_rest_of_probe(rest))
		return err_set(e, ERR_PROTOCOL, 0, "a probe that isn't one");
	ps_identity_encode(PS_FEATURE_NATIVE, identity);
	return answer(r, identity, sizeof(identity), e);
}

static unsigned alive_ms(const struct page_server_config *c)
{
	return c->alive_ms ? c->alive_ms : ALIVE_MS;
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
		ps_alive_begin(&alive, r->fd, alive_ms(r->config));
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
		return on_probe(r, e);
	if (!ps_ends(c))
		return answer_value(r, 0, PS_STATUS_ANSWER, e);
	if (r->inherited)
		skip_rest_of_header(r);
	tell(r);
	if (publish(r, e) < 0)
		return -1;
	tell_server_word(r, LINE_PUBLISHED);
	return answer_value(r, 0, PS_STATUS_ANSWER, e);
}

static const struct {
	uint16_t code;
	int (*act)(struct receiver *r, const struct ps_command *c, struct err *e);
} actions[] = {
	{ PS_ADD_F, on_range },	{ PS_ADD, on_range },	{ PS_HOLE, on_range },	 { PS_OPEN2, on_open },		{ PS_OPEN, on_open },
	{ PS_PARENT, on_parent }, { PS_CLOSE, on_close }, { PS_FORCE_CLOSE, on_close }, { PS_GET, on_get },
	{ PS_FRAME, on_frame },
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
	if (rc == -ENODATA && r->streams) /* behind its number */
		rc = -EPIPE;
	return rc < 0 ? rc : ps_decode(r->layout, bytes, c);
}

static int out_of_turn(struct receiver *r, int rc, struct err *e)
{
	if (rc == -ECANCELED)
		return err_set(e, ERR_PEER, 0, "the sender gave the session up");
	if (rc == -EPROTO)
		return err_set(e, ERR_PROTOCOL, 0, "commands are not numbered as they have to be");
	if (rc != -ENOTCONN)
		return input_failed(r, rc, e);
	input_failed(r, streams_why_cut(r->streams), e);
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
			return input_failed(r, rc, e);
		streams_answer_again(r->streams);
	}
	r->seen.pages = r->seen.ranges = 0;
	return rc < 0 ? out_of_turn(r, rc, e) : 0;
}

static int answer_hello(struct receiver *r, const struct hello *theirs, enum hello_status status, struct err *e)
{
	struct hello h = { .version = HELLO_VERSION, .role = theirs->role, .status = (uint8_t)status, .id = theirs->id,
			   .features = theirs->features & (HELLO_FEATURE_LZ4 | HELLO_FEATURE_CHECKSUM | HELLO_FEATURE_ALIVE),
			   .max_frame_pages = PS_FRAME_PAGES };
	uint8_t bytes[HELLO_SIZE];

	if (r->streams) {
		h.features |= HELLO_FEATURE_NUMBERED;
		h.token = *streams_token(r->streams);
	}
	hello_encode(&h, bytes);
	return answer(r, bytes, sizeof(bytes), e);
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
	tell_server_word(r, LINE_BEGUN);
	return 0;
}

/* Whoever else has the server's connections can't have this one's: no line, no numbers. */
static int begin_streams(struct receiver *r, struct err *e)
{
	const struct page_server_config *c = r->config;
	const struct ps_streams_rules rules = { .line = *c->line, .grace_ms = c->grace_ms ? c->grace_ms : STREAMS_GRACE_MS, .alive_ms = alive_ms(c) };
	struct line_message m = { .word = LINE_TOKEN, .fd = -1 };

	r->streams = streams_create(&r->in, &rules);
	if (!r->streams)
		return err_set(e, ERR_SYSTEM, ENOMEM, "memory for connections");
	m.token = *streams_token(r->streams);
	tell_server(r, &m); /* before the sender has it */
	return 0;
}

/* Another connection of a session that has a process: the server knows which. */
static int pass_on(struct receiver *r, const uint8_t *hello)
{
	struct line_message m = { .word = LINE_HELLO, .fd = r->fd };

	memcpy(m.hello, hello, HELLO_SIZE);
	r->report->joins = true;
	tell_server(r, &m);
	return 0;
}

static int become_native(struct receiver *r, struct err *e)
{
	const uint8_t *bytes;
	struct hello h;
	int rc = ps_input_take(&r->in, HELLO_SIZE, &bytes);

	if (rc < 0)
		return input_failed(r, rc == -ENODATA ? -EPIPE : rc, e);
	rc = hello_decode(bytes, &h);
	if (rc == 0 && h.role == HELLO_IMAGES_MORE && r->config->line && r->in.from == r->in.to && !r->begun)
		return pass_on(r, bytes);
	if (begin(r, e) < 0)
		return -1;
	if (rc == -EPROTONOSUPPORT)
		(void)answer_hello(r, &h, HELLO_BAD_VERSION, e);
	if (rc < 0 || h.role != HELLO_IMAGES)
		return err_set(e, ERR_PROTOCOL, 0, "a hello of version %u and role %u, which a page server does not take", h.version, h.role);
	if (h.features & HELLO_FEATURE_NUMBERED && r->config->line && begin_streams(r, e) < 0)
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

/* What the connection begins with tells: a hello, or a command. */
static int look_for_hello(struct receiver *r, struct err *e)
{
	const uint8_t *bytes;
	int rc;

	if (r->layout != PS_LAYOUT_UNKNOWN)
		return 0;
	rc = ps_input_peek(&r->in, PS_HEADER_MIN, &bytes);
	if (rc < 0)
		return input_failed(r, rc, e);
	if (hello_begins(bytes))
		return become_native(r, e);
	return begin(r, e);
}

static int next_command(struct receiver *r, struct ps_command *c, struct err *e)
{
	int rc = next_header(r, c);

	if (rc == -EPROTO && r->report->maps == 0 && c->code == PS_OF_TLS_HELLO)
		return err_set(e, ERR_PROTOCOL, 0, "the sender speaks TLS, for which this server was given no credentials (--tls)");
	if (rc == -EPROTO)
		return err_set(e, ERR_PROTOCOL, 0, "0x%x is no command of the page-server protocol", c->code);
	return rc < 0 ? input_failed(r, rc, e) : 0;
}

static bool is_question(const struct ps_command *c)
{
	return c->code == PS_OPEN2 || c->code == PS_PARENT || c->code == PS_CLOSE || c->code == PS_FORCE_CLOSE;
}

static int take_command(struct receiver *r, struct ps_command *c, struct err *e)
{
	if (r->in.from == r->in.to)
		tell(r);
	if (look_for_hello(r, e) < 0)
		return -1;
	if (r->report->joins)
		return 0;
	if ((r->streams && find_turn(r, e) < 0) || next_command(r, c, e) < 0 || act_on(r, c, e) < 0)
		return -1;
	if (r->streams)
		streams_taken(r->streams, is_question(c));
	r->done.pages = r->done.ranges = 0;
	return 0;
}

/* Of a numbered session that lost a connection: what was done of a command stays done, it will come again. */
static bool survives(struct receiver *r)
{
	if (!r->streams || !r->cut)
		return false;
	streams_cut(r->streams, r->cut);
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

int ps_receive(int fd, bool inherited, struct page_sink *sink, const struct page_server_config *c, struct page_server_report *report,
	       struct err *e)
{
	struct receiver r = { .source.move = move_pages, .fd = fd, .inherited = inherited, .sink = sink, .config = c, .report = report };
	uint64_t start = clock_us(), handshake = c->limits.handshake_ms ? start + c->limits.handshake_ms * 1000 : 0;
	int rc;

	r.deadline_us = c->limits.time_ms ? start + c->limits.time_ms * 1000 : 0;
	*report = (struct page_server_report){ 0 };
	rc = ps_input_begin(&r.in, fd, !inherited, c->limits.idle_ms,
			    handshake && (!r.deadline_us || handshake < r.deadline_us) ? handshake : r.deadline_us);
	if (rc < 0)
		return err_set(e, ERR_SYSTEM, -rc, "memory for a session");
	if (!inherited) {
		ps_input_allow_splice(&r.in);
		ps_turn_soon();
	}
	rc = serve(&r, e);
	tell(&r);
	report->us = clock_us() - start;
	if (rc < 0 && r.native)
		answer_failure(&r, e);
	if (rc == 0)
		see_off(&r);
	streams_destroy(r.streams);
	native_frames_destroy(r.native);
	ps_input_finish(&r.in);
	return rc;
}
