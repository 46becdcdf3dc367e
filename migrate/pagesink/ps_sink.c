/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/pagesink/ps_sink.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "migrate/pagesink/ps_frames.h"
#include "migrate/pagesink/ps_streams.h"
#include "proto/base/io.h"
#include "proto/base/le.h"
#include "proto/base/log.h"
#include "proto/base/plain_text.h"
#include "proto/base/sock.h"
#include "proto/base/tls_control.h"
#include "proto/base/tls_cut.h"
#include "proto/wire/hello.h"
#include "proto/wire/ps_native.h"
#include "proto/wire/ps_probe.h"
#include "proto/wire/runs.h"

enum {
	CONNECT_MS = 20 * 1000,
	ANSWER_MS = 20 * 1000,  /* for a few bytes, of a server that has nothing to do for them */
	STATUS_MS = 120 * 1000, /* for the status, or the next word that it is on its way: everything may have to reach the server's disk first */
	SLOW_MIB_S = 32,        /* what a server that says nothing meanwhile writes of the set, or of the chain below it, at the least */
	STALL_MS = 20 * 1000,   /* without room for one more byte */
	SURPLUS_MS = 500,       /* for what a server is just about to send behind what came, beside two round trips */
	WORDS_MS = 5000,        /* for what a server that ended a native session said about it: it is here, or on its way */
	FEW_PAGES = 1 << 20,    /* of one command: less than the 24 bytes' counter holds */
};

static_assert((int)PS_TASK == (int)PAGEMAP_TASK && (int)PS_SHMEM == (int)PAGEMAP_SHMEM, "kinds of page maps");
static_assert((int)PS_IN_PARENT == (int)PAGE_IN_PARENT && (int)PS_LAZY == (int)PAGE_LAZY && (int)PS_PRESENT == (int)PAGE_PRESENT, "flags");

struct ps_sink {
	struct page_sink sink; /* first member */
	int fd;
	bool inherited, ours;
	const struct tls_link *tls; /* whose fd it is; NULL: plain text */
	enum tls_cutting cut;       /* into records; not in a native session */
	uint32_t features;
	enum ps_layout layout;
	uint64_t dst; /* of the page map that is open */
	uint64_t pages; /* that the set has, those of its parents too */
	bool hears_alive; /* the server says that it lives while it publishes */
	struct ps_frames *frames; /* NULL: the stock protocol */
	struct ps_streams *streams; /* of a numbered session, NULL: it has one connection, which is not made anew */
	bool finished;
};

static struct ps_sink *sink_of(struct page_sink *s)
{
	return (struct ps_sink *)s;
}

/* --- the socket ----------------------------------------------------------------------------------------------------------------- */

static int server_gone(int num, struct err *e)
{
	if (peer_errno(num) == 0)
		return err_set(e, ERR_PEER, 0, "the page server ended the session; its log says why");
	return err_set(e, ERR_PEER, num, "the connection to the page server");
}

/* A server says nothing while it is sent to: what comes is its end, or why. */
static int wait_writable(int fd, struct err *e)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT | POLLIN };
	int n;

	do
		n = poll(&p, 1, STALL_MS);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return err_set(e, ERR_TIMEOUT, 0, "the page server took nothing for %d s", STALL_MS / 1000);
	if (n < 0)
		return err_sys(e, "wait for the page server");
	return p.revents & (POLLOUT | POLLERR) ? 0 : server_gone(0, e);
}

/* more: something follows at once, so that small headers travel with what is behind them. */
static int send_all(int fd, struct iovec *iov, int count, bool more, struct err *e)
{
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = (size_t)count };
	int rc;

	while ((rc = send_some(fd, &m, more ? MSG_MORE : 0)) == -EAGAIN)
		if (wait_writable(fd, e) < 0)
			return -1;
	return rc < 0 ? server_gone(-rc, e) : 0;
}

static int send_records(int fd, struct tls_cut *r, struct err *e)
{
	int rc = send_all(fd, r->iov, r->count, false, e);

	r->count = 0;
	return rc;
}

static int add_records(int fd, struct tls_cut *r, const void *bytes, size_t len, struct err *e)
{
	const char *from = bytes;

	while (len > 0) {
		size_t now = tls_cut_add(r, from, len);

		from += now;
		len -= now;
		if (len > 0 && send_records(fd, r, e) < 0)
			return -1;
	}
	return 0;
}

/* A header and what follows it. */
static int send_both(const struct ps_sink *s, const void *header, size_t len, const void *data, size_t data_len, bool more, struct err *e)
{
	struct iovec iov[] = { { (void *)(uintptr_t)header, len }, { (void *)(uintptr_t)data, data_len } };
	struct tls_cut r;

	if (s->cut == TLS_CUT_NOT)
		return send_all(s->fd, iov, data_len ? 2 : 1, more, e);
	if (s->cut == TLS_CUT_BY_SEND)
		return send_all(s->fd, &iov[0], 1, false, e) < 0 || (data_len && send_all(s->fd, &iov[1], 1, false, e) < 0) ? -1 : 0;
	r.count = 0;
	if (add_records(s->fd, &r, header, len, e) < 0 || add_records(s->fd, &r, data, data_len, e) < 0)
		return -1;
	return send_records(s->fd, &r, e);
}

static int answer_failed(int rc, int timeout_ms, struct err *e)
{
	if (rc == -ETIMEDOUT)
		return err_set(e, ERR_TIMEOUT, 0, "the page server did not answer in %d s", timeout_ms / 1000);
	return server_gone(-rc, e);
}

static int answer(const struct ps_sink *s, void *buf, size_t len, int timeout_ms, struct err *e)
{
	int rc = tls_recv_within(s->fd, buf, len, timeout_ms);

	return rc < 0 ? answer_failed(rc, timeout_ms, e) : 0;
}

/* --- native answers ------------------------------------------------------------------------------------------------------------- */

/* The rest of an answer that is an error. */
static int failure_said(const struct ps_sink *s, const struct ps_native_answer *a, struct err *e)
{
	char text[sizeof(e->text)];

	if (tls_recv_within(s->fd, text, a->text, WORDS_MS) < 0)
		return server_gone(0, e);
	text[a->text] = '\0';
	plain_text(text, a->text);
	return err_set(e, ERR_PEER, 0, "the page server says: %s", text);
}

/* 1: none yet, the server lives and works on it. */
static int native_answer(const struct ps_sink *s, uint32_t *value, int timeout_ms, struct err *e)
{
	unsigned char bytes[PS_NATIVE_ANSWER];
	struct ps_native_answer a;

	if (answer(s, bytes, sizeof(bytes), timeout_ms, e) < 0)
		return -1;
	if (ps_native_answer_decode(bytes, &a) < 0)
		return err_set(e, ERR_PROTOCOL, 0, "the page server answers what is no answer");
	*value = a.value;
	if (a.kind == PS_NATIVE_ALIVE)
		return s->hears_alive ? 1 : err_set(e, ERR_PROTOCOL, 0, "the page server answers what is no answer");
	return a.kind ? failure_said(s, &a, e) : 0;
}

/* The answer to a command; size: of the stock protocol's. */
static int value_of(const struct ps_sink *s, size_t size, uint32_t *value, int timeout_ms, struct err *e)
{
	unsigned char bytes[4] = { 0 };

	if (s->frames) {
		int rc;

		do
			rc = native_answer(s, value, timeout_ms, e);
		while (rc == 1);
		return rc;
	}
	if (answer(s, bytes, size, timeout_ms, e) < 0)
		return -1;
	*value = le32_get(bytes);
	return 0;
}

/* After sending failed: a native server may have said why. */
static int sending_failed(const struct ps_sink *s, struct err *e)
{
	struct err said;
	uint32_t ignored;

	if (s->frames && !s->streams && e->kind == ERR_PEER && native_answer(s, &ignored, WORDS_MS, &said) < 0 && said.kind == ERR_PEER)
		*e = said;
	return -1;
}

/* --- commands ------------------------------------------------------------------------------------------------------------------- */

/* Nobody answers a frame, but one that ended the session. */
static int look_for_words(const struct ps_sink *s, struct err *e)
{
	char byte;
	uint32_t ignored;

	if (recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0)
		return 0;
	if (native_answer(s, &ignored, WORDS_MS, e) < 0)
		return -1;
	return err_set(e, ERR_PROTOCOL, 0, "the page server answers what it was not asked");
}

static int send_frame(const struct ps_sink *s, struct err *e)
{
	struct iovec *iov;
	int count = ps_frames_take(s->frames, s->dst, &iov);
	uint64_t start;

	if (!count)
		return 0;
	if (!s->streams && look_for_words(s, e) < 0)
		return -1;
	start = clock_us();
	if (s->streams ? ps_streams_say(s->streams, iov, count, true, e) < 0 : send_all(s->fd, iov, count, true, e) < 0)
		return sending_failed(s, e);
	ps_frames_sent(s->frames, clock_us() - start);
	return 0;
}

static int say_numbered(const struct ps_sink *s, void *header, const void *data, size_t len, struct err *e)
{
	struct iovec iov[] = { { header, PS_HEADER_MAX }, { (void *)(uintptr_t)data, len } };

	return ps_streams_say(s->streams, iov, data ? 2 : 1, false, e);
}

static int say(const struct ps_sink *s, const struct ps_command *c, const void *data, bool more, struct err *e)
{
	unsigned char header[PS_HEADER_MAX];

	if (s->frames && send_frame(s, e) < 0)
		return -1;
	ps_encode(s->layout, c, header);
	if (s->streams)
		return say_numbered(s, header, data, data ? pages_to_bytes(c->nr) : 0, e);
	return send_both(s, header, s->layout, data, data ? pages_to_bytes(c->nr) : 0, more, e) < 0 ? sending_failed(s, e) : 0;
}

static int ask(const struct ps_sink *s, const struct ps_command *c, size_t size, uint32_t *value, int timeout_ms, struct err *e)
{
	unsigned char header[PS_HEADER_MAX];

	if (!s->streams)
		return say(s, c, NULL, false, e) < 0 ? -1 : value_of(s, size, value, timeout_ms, e);
	if (send_frame(s, e) < 0)
		return -1;
	ps_encode(s->layout, c, header);
	return ps_streams_ask(s->streams, header, timeout_ms, value, e);
}

static int sink_has_parent(struct page_sink *sink, enum pagemap_kind kind, uint64_t id, bool *parent, struct err *e)
{
	struct ps_command c = { .code = PS_PARENT, .dst = ps_dst_encode((enum ps_kind)kind, id) };
	uint32_t value;

	if (ask(sink_of(sink), &c, PS_PARENT_ANSWER, &value, ANSWER_MS, e) < 0)
		return -1;
	*parent = value != 0;
	return 0;
}

static int sink_open(struct page_sink *sink, enum pagemap_kind kind, uint64_t id, bool *parent, struct err *e)
{
	struct ps_sink *s = sink_of(sink);
	struct ps_command c = { .code = PS_OPEN2, .dst = ps_dst_encode((enum ps_kind)kind, id) };
	uint32_t value;

	if (ask(s, &c, PS_OPEN2_ANSWER, &value, ANSWER_MS, e) < 0)
		return -1;
	s->dst = c.dst;
	*parent = value != 0;
	return 0;
}

/* Of contents as many at a time as the shorter header can count, and as a server may be expected to take at once. */
static int say_range(struct ps_sink *s, uint64_t vaddr, uint64_t nr, uint32_t flags, const void *data, struct err *e)
{
	const char *from = data;

	while (nr > 0) {
		uint64_t most = s->streams && data ? PS_FRAMES_IOV - 1 : FEW_PAGES, now = nr < most ? nr : most;
		struct ps_command c = { .code = PS_ADD_F, .flags = (uint16_t)flags, .nr = now, .vaddr = vaddr, .dst = s->dst };

		if (say(s, &c, from, true, e) < 0)
			return err_wrap(e, "pages at 0x%" PRIx64, vaddr);
		from = from ? from + pages_to_bytes(now) : NULL;
		vaddr += pages_to_bytes(now);
		nr -= now;
	}
	return 0;
}

static int frame_pages(struct ps_sink *s, uint64_t vaddr, uint64_t nr, uint32_t flags, const uint8_t *data, struct err *e)
{
	bool direct = nr >= PS_FRAMES_DIRECT;

	while (nr > 0) {
		uint64_t taken = ps_frames_add(s->frames, vaddr, nr, (uint16_t)flags, data);

		if ((!taken || direct) && send_frame(s, e) < 0)
			return err_wrap(e, "pages at 0x%" PRIx64, vaddr);
		vaddr += pages_to_bytes(taken);
		data += pages_to_bytes(taken);
		nr -= taken;
	}
	return 0;
}

static int sink_pages(struct page_sink *sink, uint64_t vaddr, uint64_t nr, uint32_t flags, const void *data, struct err *e)
{
	struct ps_sink *s = sink_of(sink);

	s->pages += nr;
	if (s->frames && vaddr < FRAME_SPACE_END - pages_to_bytes(nr))
		return frame_pages(s, vaddr, nr, flags, data, e);
	return say_range(s, vaddr, nr, flags, data, e);
}

static int sink_hole(struct page_sink *sink, uint64_t vaddr, uint64_t nr, uint32_t flags, struct err *e)
{
	struct ps_sink *s = sink_of(sink);

	s->pages += flags & PAGE_IN_PARENT ? nr : 0;
	return say_range(s, vaddr, nr, flags, NULL, e);
}

int ps_status_patience_ms(uint64_t pages, bool hears_alive)
{
	uint64_t ms = STATUS_MS + (hears_alive ? 0 : (pages_to_bytes(pages) >> 20) * 1000 / SLOW_MIB_S);

	return ms < INT_MAX ? (int)ms : INT_MAX;
}

static int sink_finish(struct page_sink *sink, struct err *e)
{
	struct ps_sink *s = sink_of(sink);
	struct ps_command c = { .code = s->inherited ? PS_FORCE_CLOSE : PS_CLOSE };
	uint32_t status;

	if (ask(s, &c, PS_STATUS_ANSWER, &status, ps_status_patience_ms(s->pages, s->hears_alive), e) < 0)
		return err_wrap(e, "close the session");
	s->finished = true;
	if (s->tls && !s->streams)
		tls_link_shut(s->tls);
	else if (!s->inherited && !s->streams)
		shutdown(s->fd, SHUT_WR);
	if (status)
		return err_set(e, ERR_PEER, 0, "the page server could not keep what it was sent: status %" PRId32, (int32_t)status);
	return 0;
}

static void sink_destroy(struct page_sink *sink)
{
	if (!sink)
		return;
	ps_streams_destroy(sink_of(sink)->streams, sink_of(sink)->finished);
	ps_frames_destroy(sink_of(sink)->frames);
	free(sink_of(sink));
}

static const struct page_sink_ops ps_sink_ops = {
	.has_parent = sink_has_parent,
	.open = sink_open,
	.pages = sink_pages,
	.hole = sink_hole,
	.finish = sink_finish,
	.destroy = sink_destroy,
};

/* --- which server --------------------------------------------------------------------------------------------------------------- */

/* What answers three commands has the longer header, what answers four the shorter: it has read them all by the time that it answers one. */
static int layout_from_surplus(struct ps_sink *s, struct err *e)
{
	unsigned char more[PS_PROBE_ANSWER_24 - PS_PROBE_ANSWER_32];
	int timeout_ms = SURPLUS_MS + (int)(sock_rtt_us(s->fd) / 500);
	int rc = tls_recv_within(s->fd, more, sizeof(more), timeout_ms);

	if (rc < 0 && rc != -ETIMEDOUT)
		return answer_failed(rc, timeout_ms, e);
	s->layout = rc < 0 ? PS_LAYOUT_32 : PS_LAYOUT_24;
	return 0;
}

static int probe(struct ps_sink *s, struct err *e)
{
	unsigned char block[PS_PROBE_SIZE], bytes[PS_IDENTITY_SIZE] = { 0 };
	static const unsigned char nothing[sizeof(bytes)];

	ps_probe_encode(block);
	if (send_both(s, block, sizeof(block), NULL, 0, false, e) < 0)
		return -1;
	if (answer(s, bytes, sizeof(bytes), ANSWER_MS, e) < 0)
		return tls_is_alert(bytes, sizeof(bytes)) ?
			       err_set(e, ERR_PERMISSION, 0, "it speaks TLS and nothing else: this side needs credentials (--tls)") : -1;
	s->ours = ps_identity_decode(bytes, &s->features);
	if (s->ours) {
		s->layout = PS_LAYOUT_32;
		return 0;
	}
	if (memcmp(bytes, nothing, sizeof(bytes)) != 0)
		return err_set(e, ERR_PROTOCOL, 0, "what answers there is no page server");
	return layout_from_surplus(s, e);
}

static int hello_refused(const struct hello *h, struct err *e)
{
	if (h->status == HELLO_BUSY)
		return err_set(e, ERR_LIMIT, 0, "the page server takes no further session now (its --max-sessions)");
	return err_set(e, ERR_PEER, 0, "the page server of version %u refuses a native session (status %u)", h->version, h->status);
}

static int begin_streams(struct ps_sink *s, const struct ps_sink_config *c, const struct hello *h, struct err *e)
{
	struct ps_streams_config streams = { .fd = s->fd, .streams = c->choice.streams ? c->choice.streams : 1, .token = h->token, .connect = c->connect,
					     .parts = h->features & HELLO_FEATURE_PARTS, .arg = c->arg, .silence_ms = c->silence_ms, .patience_ms = c->patience_ms };

	if (!(h->features & HELLO_FEATURE_NUMBERED)) {
		if (streams.streams > 1)
			log_event(LOG_WARN, "one-stream", "reason=\"the page server takes no more of a session\"");
		return 0;
	}
	s->streams = ps_streams_create(&streams, e);
	return s->streams ? 0 : -1;
}

static int become_native(struct ps_sink *s, const struct ps_sink_config *c, struct err *e)
{
	struct hello h = { .version = HELLO_VERSION, .role = HELLO_IMAGES,
			   .features = HELLO_FEATURE_LZ4 | HELLO_FEATURE_CHECKSUM | HELLO_FEATURE_ALIVE |
				       (c->connect ? HELLO_FEATURE_NUMBERED | HELLO_FEATURE_PARTS : 0),
			   .max_frame_pages = PS_FRAME_PAGES };
	unsigned char no_more[TLS_CUT_HEAD] = { 0 }, bytes[HELLO_SIZE];
	struct iovec iov[] = { { no_more, s->cut == TLS_CUT_BY_LENGTH ? sizeof(no_more) : 0 }, { bytes, sizeof(bytes) } };

	s->cut = TLS_CUT_NOT;
	hello_encode(&h, bytes);
	if (send_all(s->fd, iov, 2, false, e) < 0 || answer(s, bytes, sizeof(bytes), ANSWER_MS, e) < 0)
		return -1;
	if (hello_decode(bytes, &h) < 0 || h.status != HELLO_OK || h.role != HELLO_IMAGES)
		return hello_refused(&h, e);
	s->frames = ps_frames_create(c->mode, h.features, h.max_frame_pages);
	s->hears_alive = h.features & HELLO_FEATURE_ALIVE;
	s->layout = PS_LAYOUT_32;
	if (!s->frames)
		return err_set(e, ERR_SYSTEM, ENOMEM, "memory for frames");
	return begin_streams(s, c, &h, e);
}

/* A server whose layout was told is stock as far as anybody knows. */
static int find_out(struct ps_sink *s, const struct ps_sink_config *c, struct err *e)
{
	enum ps_protocol protocol = c->choice.protocol;

	if (s->layout != PS_LAYOUT_UNKNOWN)
		return 0;
	if (probe(s, e) < 0)
		return err_wrap(e, "ask the page server for its layout");
	if (protocol == PS_STOCK)
		return 0;
	if (s->ours && s->features & PS_FEATURE_NATIVE)
		return become_native(s, c, e);
	return protocol == PS_AUTO ? 0 : err_set(e, ERR_UNSUPPORTED, 0, "it speaks criu's protocol alone, which --ps-protocol native does not allow");
}

struct page_sink *ps_sink_open(const struct ps_sink_config *c, struct err *e)
{
	struct sock_tuning tuning = { .congestion = "auto", .dead_after_ms = STATUS_MS };
	struct ps_sink *s = calloc(1, sizeof(*s));

	if (!s) {
		err_sys(e, "memory for a page sink");
		return NULL;
	}
	*s = (struct ps_sink){ .sink.ops = &ps_sink_ops, .fd = c->fd, .inherited = c->inherited, .tls = c->tls,
			       .cut = c->tls ? c->tls->cut : TLS_CUT_NOT, .layout = c->choice.layout };
	if (!c->inherited && !c->tls)
		sock_tune(c->fd, &tuning, e);
	if (find_out(s, c, e) == 0)
		return &s->sink;
	ps_frames_destroy(s->frames);
	free(s);
	return NULL;
}

struct page_sink *ps_sink_create(int fd, bool inherited, enum ps_layout layout, enum compress_mode mode, struct err *e)
{
	const struct ps_sink_config c = { .fd = fd, .inherited = inherited, .choice.layout = layout, .mode = mode };

	return ps_sink_open(&c, e);
}

static int protocol_parse(const char *text, enum ps_protocol *p, struct err *e)
{
	static const char *const names[] = { [PS_AUTO] = "auto", [PS_STOCK] = "stock", [PS_NATIVE] = "native" };

	for (*p = PS_AUTO; text && strcmp(text, names[*p]) != 0; ++*p)
		if (*p == PS_NATIVE)
			return err_set(e, ERR_USAGE, 0, "--ps-protocol is auto, stock or native, not \"%.40s\"", text);
	return 0;
}

int ps_choice_parse(const char *protocol, int layout, int streams, struct ps_choice *c, struct err *e)
{
	*c = (struct ps_choice){ .layout = layout < 0 ? PS_LAYOUT_UNKNOWN : (enum ps_layout)layout, .streams = streams < 0 ? 1 : (unsigned)streams };
	if (c->streams < 1 || c->streams > STREAMS_MAX)
		return err_set(e, ERR_USAGE, 0, "--streams is 1 to %d, not %d", STREAMS_MAX, streams);
	if (protocol_parse(protocol, &c->protocol, e) < 0)
		return -1;
	if (layout >= 0 && layout != PS_LAYOUT_24 && layout != PS_LAYOUT_32)
		return err_set(e, ERR_USAGE, 0, "--ps-layout is 24 or 32, not %d", layout);
	if (layout >= 0 && c->protocol == PS_NATIVE)
		return err_set(e, ERR_USAGE, 0, "--ps-layout is of criu's protocol, which --ps-protocol native does not allow");
	return 0;
}

enum ps_layout ps_sink_layout(const struct page_sink *s)
{
	return ((const struct ps_sink *)s)->layout;
}

bool ps_sink_is_ours(const struct page_sink *s, uint32_t *features)
{
	const struct ps_sink *p = (const struct ps_sink *)s;

	*features = p->features;
	return p->ours;
}

int ps_connect(const char *address, uint16_t port, struct err *e)
{
	bool bare_v6 = strchr(address, ':') && address[0] != '[';
	char text[SOCK_HOST_MAX + 16];

	if (snprintf(text, sizeof(text), bare_v6 ? "[%s]:%u" : "%s:%u", address, port) >= (int)sizeof(text))
		return err_set(e, ERR_USAGE, 0, "\"%.64s...\" is no address", address);
	return sock_connect(text, port, CONNECT_MS, e);
}
