/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/io.h"
#include "proto/base/le.h"
#include "proto/base/log.h"
#include "proto/base/sandbox.h"
#include "proto/base/tls_relay_priv.h"

enum { LOOK_EVERY = 16, LINGER_MS = 1000 }; /* for what the peer had on its way when the user left */

struct flow { /* one direction */
	uint8_t *buf;
	size_t start, end; /* what is in it */
	bool ended;        /* its source will give nothing more */
	bool shut;         /* and its sink was told so: over */
	bool waits;        /* for what poll will say */
	bool discard;      /* its sink is gone: what comes is dropped */
};

struct carrier {
	const struct relay *relay;
	struct tls_session *tls;
	struct flow out, in; /* plain to TLS, TLS to plain */
	bool cut;            /* what goes out is records, each behind its length */
	bool unflushed;      /* there is more of out in the session */
	struct pollfd plain, tcp;
	bool gone;             /* the user */
	uint64_t linger_until; /* 0: for ever */
	int broken;            /* -errno of TLS */
};

static void say(const struct relay *r, const struct relay_word *w, int fd)
{
	send_fds(r->words, w, sizeof(*w), &fd, fd >= 0 ? 1 : 0); /* who doesn't listen doesn't want to know */
}

static bool empty(const struct flow *f)
{
	return f->start == f->end;
}

/* --- from the user to the peer ------------------------------------------------------------------------------------------------ */

static bool take_plain(struct carrier *c)
{
	struct flow *f = &c->out;
	size_t left = f->end - f->start; /* of a record that is cut, its beginning */
	ssize_t n;

	memmove(f->buf, f->buf + f->start, left);
	f->start = 0;
	f->end = left;
	n = recv(c->relay->plain, f->buf + left, TLS_RELAY_BUFFER - left, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		c->plain.events |= POLLIN;
		return errno == EINTR;
	}
	f->end += n > 0 ? (size_t)n : 0;
	f->ended = n <= 0;
	return true;
}

/* What TLS returned: moves on, waits, or ends it all. True: go on at once. */
static bool tls_result(struct carrier *c, ssize_t n)
{
	if (n == -EAGAIN)
		c->tcp.events |= tls_events(c->tls);
	else if (n < 0)
		c->broken = (int)n;
	return n >= 0;
}

/* How much of what is there can go out, behind how much that stays here. 0: more has to come first. */
static size_t next_piece(const struct carrier *c, size_t *head)
{
	const struct flow *f = &c->out;
	size_t have = f->end - f->start, len;

	*head = c->cut ? TLS_CUT_HEAD : 0;
	if (!*head || have < TLS_CUT_HEAD)
		return *head ? 0 : have;
	len = le32_get(f->buf + f->start);
	return len <= have - TLS_CUT_HEAD ? len : 0;
}

/* A record of no bytes: the user cuts no more. */
static void end_cutting(struct carrier *c)
{
	struct flow *f = &c->out;

	if (!c->cut || f->end - f->start < TLS_CUT_HEAD || le32_get(f->buf + f->start) != 0)
		return;
	f->start += TLS_CUT_HEAD;
	c->cut = false;
}

static bool give_tls(struct carrier *c, size_t head, size_t len)
{
	ssize_t n = tls_write(c->tls, c->out.buf + c->out.start + head, len);

	if (n == 0)
		n = -EPIPE;
	if (n > 0)
		c->out.start += head + (size_t)n;
	c->unflushed = c->unflushed || n > 0;
	return tls_result(c, n);
}

static bool flush_tls(struct carrier *c)
{
	int rc = tls_flush(c->tls);

	c->unflushed = rc == -EAGAIN;
	return tls_result(c, rc);
}

/* Between our own ends of a migration a half-closed connection says it all; a socket in the kernel's hands couldn't read more (EIO). */
static bool shut_tls(struct carrier *c)
{
	int rc = c->relay->wish->stock ? tls_bye(c->tls) : 0;

	if (rc == -EAGAIN)
		return tls_result(c, rc);
	shutdown(c->relay->tcp, SHUT_WR);
	c->out.shut = true;
	return true;
}

static bool move_out(struct carrier *c)
{
	size_t head, len;

	if (c->out.shut)
		return false;
	end_cutting(c);
	len = next_piece(c, &head);
	if (len > 0)
		return give_tls(c, head, len);
	if (c->unflushed)
		return flush_tls(c);
	return c->out.ended ? shut_tls(c) : take_plain(c);
}

/* --- from the peer to the user ------------------------------------------------------------------------------------------------ */

/* Records are 16 KiB: as many as there are go on together. */
static bool take_tls(struct carrier *c)
{
	ssize_t n;

	c->in.start = c->in.end = 0;
	do {
		n = tls_read(c->tls, c->in.buf + c->in.end, TLS_RELAY_BUFFER - c->in.end);
		if (n > 0)
			c->in.end += (size_t)n;
	} while (n > 0 && c->in.end < TLS_RELAY_BUFFER && tls_buffered(c->tls));
	if (n == 0)
		c->in.ended = true;
	if (c->in.end > 0 && n < 0)
		return true; /* first what is there */
	return tls_result(c, n);
}

static bool give_plain(struct carrier *c)
{
	ssize_t n = c->in.discard ? (ssize_t)(c->in.end - c->in.start) :
				    send(c->relay->plain, c->in.buf + c->in.start, c->in.end - c->in.start, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN) {
		c->plain.events |= POLLOUT;
		return false;
	}
	if (n >= 0)
		c->in.start += (size_t)n;
	else if (errno != EINTR)
		c->in.discard = true; /* the user reads no more, but may still write */
	return true;
}

static bool move_in(struct carrier *c)
{
	if (c->in.shut)
		return false;
	if (!empty(&c->in))
		return give_plain(c);
	if (!c->in.ended)
		return take_tls(c);
	shutdown(c->relay->plain, SHUT_WR);
	c->in.shut = true;
	return true;
}

/* --- both ----------------------------------------------------------------------------------------------------------------------- */

/* What the peer still sends to a user who left is read and dropped for a moment: closed before, the connection would be reset, and the peer
 * might lose what it was told last. One that takes nothing of that would keep its relay for ever. */
static int wait_ms(struct carrier *c)
{
	uint64_t now = clock_us();

	if (!c->gone)
		return -1;
	if (!c->out.shut)
		return c->relay->wish->timeout_ms;
	if (!c->linger_until)
		c->linger_until = now + LINGER_MS * 1000ull;
	return c->linger_until <= now ? 0 : (int)((c->linger_until - now) / 1000 + 1);
}

/* A socket that hung up makes poll return at once for ever: it is looked at only while something is wanted of it. */
static bool wait_for_either(struct carrier *c)
{
	struct pollfd p[2] = { c->plain, c->tcp };
	int n;

	if (c->gone)
		p[0].fd = -1;
	if (!c->tcp.events)
		p[1].fd = -1;
	n = poll(p, 2, wait_ms(c));
	if (n > 0 && p[0].revents & (POLLHUP | POLLERR))
		c->gone = c->in.discard = true;
	return n > 0 || (n < 0 && errno == EINTR);
}

/* One that waits is not tried again before poll has returned; while the other is busy, that is looked at now and then. */
static void carry(struct carrier *c)
{
	bool more = true;

	for (unsigned turn = 1; more && !c->broken && !(c->out.shut && c->in.shut); turn++) {
		if (turn % LOOK_EVERY == 0 || (c->out.waits && c->in.waits))
			c->plain.events = c->tcp.events = c->out.waits = c->in.waits = 0;
		c->out.waits = c->out.waits || !move_out(c);
		c->in.waits = c->in.waits || (!c->broken && !move_in(c));
		if (c->out.waits && c->in.waits && !c->broken)
			more = wait_for_either(c);
	}
}

static int shake_hands(const struct tls_config *config, struct carrier *c, struct relay_word *w)
{
	const struct gate_request *q = c->relay->wish;
	struct tls_context *x = tls_context_create(config, q->stock, q->kernel, &w->err);

	/* Its files are read. From here on it needs nothing but its descriptors. */
	if (!x || sandbox_enter(SANDBOX_RELAY, &w->err) < 0)
		return -1;
	tls_context_watch(x, c->relay->words);
	c->tls = tls_open(x, c->relay->tcp, q->role, q->name[0] ? q->name : NULL, q->timeout_ms, &w->err);
	if (!c->tls)
		return -1;
	memcpy(w->peer, tls_peer_name(c->tls), sizeof(w->peer));
	return 0;
}

static void carry_bytes(struct carrier *c)
{
	struct relay_word last = { .good = false };
	char peer[SOCK_NAME_MAX];

	tls_read_ahead(c->tls);
	carry(c);
	if (!c->broken)
		return;
	tls_explain(c->tls, &last.err);
	sock_name(c->relay->tcp, true, peer);
	log_event(LOG_INFO, "tls-broken", "peer=%s name=\"%s\" error=\"%s\"", peer, tls_peer_name(c->tls), last.err.text);
	say(c->relay, &last, -1);
}

_Noreturn void relay_main(const struct tls_config *config, struct relay *r)
{
	struct carrier c = { .relay = r, .cut = r->wish->cut, .plain.fd = r->plain, .tcp.fd = r->tcp };
	struct relay_word first = { .good = false };
	int rc;

	prctl(PR_SET_NAME, "dray-tls-relay");
	c.out.buf = malloc(TLS_RELAY_BUFFER);
	c.in.buf = malloc(TLS_RELAY_BUFFER);
	if (!c.out.buf || !c.in.buf)
		err_set(&first.err, ERR_SYSTEM, ENOMEM, "TLS");
	else
		first.good = shake_hands(config, &c, &first) == 0;
	rc = first.good && r->wish->kernel ? tls_to_kernel(c.tls) : -EOPNOTSUPP;
	if (rc == -EPIPE)
		first.good = !err_set(&first.err, ERR_SYSTEM, 0, "TLS: the kernel took one half of the connection only");
	say(r, &first, rc == 0 ? r->tcp : -1);
	if (first.good && rc < 0)
		carry_bytes(&c);
	_exit(0);
}
