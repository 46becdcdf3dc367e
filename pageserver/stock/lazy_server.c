/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/lazy_server.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "pageserver/stock/input.h"
#include "pageserver/stock/tls_accept.h"
#include "proto/base/io.h"
#include "proto/base/sock.h"
#include "proto/base/tls_cut.h"
#include "proto/wire/ps_command.h"
#include "proto/wire/runs.h"

struct client {
	const struct lazy_pages *from;
	const struct lazy_rules *rules;
	int fd; /* plain bytes */
	enum tls_cutting cut; /* what is written goes in records */
	enum ps_layout layout;
	struct ps_input in;
	unsigned char *data;  /* LAZY_SERVE_PAGES */
	struct lazy_report *out;
};

/* ---- waiting ---- */

static int too_slow(const struct client *c, struct err *e)
{
	if (ps_input_late(&c->in))
		return err_set(e, ERR_TIMEOUT, 0, "lazy pages: the session took longer than %llu s", (unsigned long long)c->rules->time_ms / 1000);
	return err_set(e, ERR_TIMEOUT, 0, "lazy pages: the client said and took nothing for %llu s", (unsigned long long)c->rules->idle_ms / 1000);
}

/* For the client, and for the end of the pages. */
static int await(const struct client *c, short events, struct err *e)
{
	struct pollfd p[2] = { { .fd = c->fd, .events = events }, { .fd = c->from->end_fd, .events = POLLIN } };
	int n;

	while ((n = poll(p, 2, ps_input_patience_ms(&c->in))) < 0 && errno == EINTR)
		;
	if (n < 0)
		return err_sys(e, "poll");
	if (n == 0)
		return too_slow(c, e);
	return p[1].revents ? c->from->end(c->from->arg, e) : 0;
}

/* The same whether it is met while waiting for a question or while answering one. */
static int client_lost(int rc, struct err *e)
{
	if (rc == -ENODATA || peer_errno(-rc) == 0)
		return err_set(e, ERR_PEER, 0, "lazy pages: the client ended without a word");
	return err_set(e, ERR_PEER, -rc, "lazy pages: the connection to the client");
}

/* ---- what it says ---- */

/* The next len bytes, which stay until the next call. */
static int hear(struct client *c, size_t len, const uint8_t **bytes, struct err *e)
{
	int rc;

	if (c->in.from == c->in.to && await(c, POLLIN, e) < 0)
		return -1;
	rc = ps_input_peek(&c->in, len, bytes);
	if (rc == -ETIMEDOUT)
		return too_slow(c, e);
	return rc < 0 ? client_lost(rc, e) : 0;
}

/* A first command that is the same in both layouts is CLOSE, or nonsense. */
static int read_command(struct client *c, struct ps_command *command, struct err *e)
{
	const uint8_t *header;
	size_t len = c->layout == PS_LAYOUT_UNKNOWN ? PS_HEADER_MIN : (size_t)c->layout;

	if (hear(c, len, &header, e) < 0)
		return -1;
	if (c->layout == PS_LAYOUT_UNKNOWN) {
		c->layout = ps_detect(header);
		len = c->layout == PS_LAYOUT_UNKNOWN ? len : (size_t)c->layout;
		if (hear(c, len, &header, e) < 0)
			return -1;
	}
	if (ps_decode(c->layout, header, command) < 0)
		return err_set(e, ERR_PROTOCOL, 0, "lazy pages: the client says 0x%x, which is no command", command->code);
	c->in.from += len;
	return 0;
}

/* ---- what it is told ---- */

static int send_all(struct client *c, struct iovec *iov, int count, struct err *e)
{
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = (size_t)count };
	int rc;

	while ((rc = send_some(c->fd, &m, 0)) == -EAGAIN)
		if (await(c, POLLOUT, e) < 0)
			return -1;
	return rc < 0 ? client_lost(rc, e) : 0;
}

/* By TLS: a header is a record, pages begin another, for a stock client reads each by itself. Both fit one sending. */
static int say(struct client *c, const void *header, size_t len, const void *data, size_t data_len, struct err *e)
{
	struct iovec iov[] = { { (void *)(uintptr_t)header, len }, { (void *)(uintptr_t)data, data_len } };
	struct tls_cut cut = { .count = 0 };

	static_assert(LAZY_SERVE_PAGES * DRAY_PAGE_SIZE <= (TLS_CUT_RECORDS - 1) * (uint64_t)TLS_CUT_MAX, "a header, and pages");
	if (c->cut == TLS_CUT_NOT)
		return send_all(c, iov, 2, e);
	if (c->cut == TLS_CUT_BY_SEND)
		return (len && send_all(c, &iov[0], 1, e) < 0) || (data_len && send_all(c, &iov[1], 1, e) < 0) ? -1 : 0;
	tls_cut_add(&cut, header, len);
	tls_cut_add(&cut, data, data_len);
	return send_all(c, cut.iov, cut.count, e);
}

static int send_pages(struct client *c, const struct ps_command *reply, struct err *e)
{
	unsigned char header[PS_HEADER_MAX];
	uint64_t addr = reply->vaddr, left = reply->nr;
	size_t len = (size_t)c->layout;

	ps_encode(c->layout, reply, header);
	while (left > 0) {
		uint32_t n = left < LAZY_SERVE_PAGES ? (uint32_t)left : LAZY_SERVE_PAGES;

		if (c->from->read(c->from->arg, reply->dst, addr, n, c->data, e) < 0 || say(c, header, len, c->data, pages_to_bytes(n), e) < 0)
			return -1;
		len = 0;
		addr += pages_to_bytes(n);
		left -= n;
	}
	return 0;
}

static int check(const struct ps_command *get, struct err *e)
{
	const struct ps_command range = { .code = PS_ADD_F, .flags = PS_PRESENT, .nr = get->nr, .vaddr = get->vaddr };
	const char *fault = ps_range_fault(&range);

	if (!fault)
		return 0;
	return err_set(e, ERR_PROTOCOL, 0, "lazy pages: the client asks for %llu pages at 0x%llx of task %llu: %s", (unsigned long long)get->nr,
		       (unsigned long long)get->vaddr, (unsigned long long)get->dst, fault);
}

static int answer(struct client *c, const struct ps_command *get, struct err *e)
{
	struct ps_command reply = { .code = PS_ADD_F, .flags = PS_PRESENT, .vaddr = get->vaddr, .dst = get->dst };
	uint64_t most = get->nr < UINT32_MAX ? get->nr : UINT32_MAX; /* what an answer of either length can say */

	if (check(get, e) < 0)
		return -1;
	if (c->from->find(c->from->arg, get->dst, get->vaddr, most, &reply.nr, e) < 0)
		return err_wrap(e, "lazy pages: the client asks for %llu pages at 0x%llx of task %llu", (unsigned long long)get->nr,
				(unsigned long long)get->vaddr, (unsigned long long)get->dst);
	c->out->requests++;
	c->out->pages += reply.nr;
	if (send_pages(c, &reply, e) < 0)
		return -1;
	if (c->rules->progress)
		c->rules->progress(c->rules->arg, c->out);
	return 0;
}

static int serve(struct client *c, struct err *e)
{
	static const unsigned char fine[PS_STATUS_ANSWER];
	struct ps_command command;

	for (;;) {
		if (read_command(c, &command, e) < 0)
			return -1;
		if (ps_ends(&command) && c->layout == PS_LAYOUT_UNKNOWN && c->rules->inherited)
			ps_input_drop_rest(&c->in, PS_HEADER_MAX - PS_HEADER_MIN);
		if (ps_ends(&command))
			return say(c, fine, sizeof(fine), NULL, 0, e);
		if (command.code != PS_GET)
			return err_set(e, ERR_PROTOCOL, 0, "lazy pages: the client says %s", ps_name(command.code));
		if (answer(c, &command, e) < 0)
			return -1;
	}
}

/* ---- the session ---- */

static int serve_plain(int fd, enum tls_cutting cut, const struct lazy_pages *from, const struct lazy_rules *rules, struct lazy_report *out, struct err *e)
{
	struct client c = { .from = from, .rules = rules, .fd = fd, .cut = cut, .out = out };
	uint64_t deadline_us = rules->time_ms ? clock_us() + rules->time_ms * 1000 : 0;
	int rc = -1;

	out->let_in = true;
	c.data = malloc(pages_to_bytes(LAZY_SERVE_PAGES));
	if (!c.data || ps_input_begin(&c.in, fd, !rules->inherited, rules->idle_ms, deadline_us) < 0)
		err_set(e, ERR_SYSTEM, ENOMEM, "lazy pages");
	else
		rc = serve(&c, e);
	ps_input_finish(&c.in);
	free(c.data);
	return rc;
}

static int serve_by_tls(int fd, const struct lazy_pages *from, const struct lazy_rules *rules, struct lazy_report *out, struct err *e)
{
	struct tls_link l = TLS_LINK_NONE;
	int rc;

	if (tls_accept_stock(fd, rules->tls, rules->tls_name, true, &l, e) < 0)
		return -1;
	memcpy(out->name, l.peer, sizeof(out->name));
	rc = serve_plain(l.fd, l.cut, from, rules, out, e);
	if (rc < 0)
		tls_link_failed(&l, e);
	tls_link_close(&l);
	return rc;
}

int lazy_serve(int fd, const struct lazy_pages *from, const struct lazy_rules *rules, struct lazy_report *out, struct err *e)
{
	struct sock_tuning tuning = { 0 };

	*out = (struct lazy_report){ .let_in = false };
	assert(!(rules->inherited && rules->tls));
	if (!rules->inherited && sock_tune(fd, &tuning, e) < 0)
		return -1;
	return rules->tls ? serve_by_tls(fd, from, rules, out, e) : serve_plain(fd, TLS_CUT_NOT, from, rules, out, e);
}
