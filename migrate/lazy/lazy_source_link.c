/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/lazy/lazy_source_link.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "proto/base/io.h"
#include "proto/base/le.h"
#include "proto/base/tls_control.h"
#include "proto/wire/runs.h"

enum { STATUS_MS = 30 * 1000 };

int lazy_link_init(struct lazy_link *l, int fd, const struct tls_link *tls, enum ps_layout layout, struct err *e)
{
	*l = (struct lazy_link){ .fd = fd, .tls = tls, .layout = layout, .data = malloc(pages_to_bytes(LAZY_PIECE_PAGES)) };
	return l->data ? 0 : err_set(e, ERR_SYSTEM, ENOMEM, "lazy pages");
}

void lazy_link_finish(struct lazy_link *l)
{
	free(l->data);
	*l = (struct lazy_link){ .fd = -1 };
}

/* An end is the same whether it is met while asking or while waiting: num is what errno said, 0 of an end of the stream. TLS may know more. */
static int lost(const struct lazy_link *l, int num, const char *what, struct err *e)
{
	if (peer_errno(num) == 0)
		err_set(e, ERR_PEER, 0, "the source ended the connection");
	else
		err_set(e, ERR_PEER, num, "%s", what);
	if (l->tls)
		tls_link_failed(l->tls, e);
	return -1;
}

/* By TLS a command is a record. */
static int say(struct lazy_link *l, const struct ps_command *c, struct err *e)
{
	unsigned char out[TLS_CUT_HEAD + PS_HEADER_MAX];
	size_t head = l->tls && l->tls->cut == TLS_CUT_BY_LENGTH ? TLS_CUT_HEAD : 0;
	int rc;

	le32_put(out, (uint32_t)l->layout);
	ps_encode(l->layout, c, out + head);
	rc = write_full(l->fd, out, head + (size_t)l->layout);
	return rc < 0 ? lost(l, -rc, "ask the source", e) : 0;
}

int lazy_link_ask(struct lazy_link *l, uint64_t pid, uint64_t vaddr, uint64_t pages, struct err *e)
{
	const struct ps_command get = { .code = PS_GET, .nr = pages < LAZY_PIECE_PAGES ? pages : LAZY_PIECE_PAGES, .vaddr = vaddr, .dst = pid };

	if (say(l, &get, e) < 0)
		return -1;
	l->waiting++;
	return 0;
}

/* As much as is there. 1: buf is full, 0: not yet. */
static int more(struct lazy_link *l, void *buf, size_t size, size_t *have, struct err *e)
{
	while (*have < size) {
		ssize_t n = tls_recv(l->fd, (unsigned char *)buf + *have, size - *have, MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n <= 0)
			return lost(l, n < 0 ? errno : 0, "hear the source", e);
		*have += (size_t)n;
	}
	return 1;
}

static int check(const struct lazy_link *l, struct err *e)
{
	const struct ps_command *a = &l->answer;
	const char *fault = ps_range_fault(a);

	if (a->code == PS_ADD_F && a->flags == PS_PRESENT && !fault && a->nr <= LAZY_PIECE_PAGES && l->waiting > 0)
		return 0;
	return err_set(e, ERR_PROTOCOL, 0, "the source answers with %s of %llu pages at %llx%s%s", ps_name(a->code),
		       (unsigned long long)a->nr, (unsigned long long)a->vaddr, fault ? ": " : "", fault ? fault : "");
}

int lazy_link_receive(struct lazy_link *l, struct err *e)
{
	bool begun = l->have == (size_t)l->layout;
	int rc = more(l, l->header, (size_t)l->layout, &l->have, e);

	if (rc <= 0)
		return rc;
	if (!begun && (ps_decode(l->layout, l->header, &l->answer) < 0 || check(l, e) < 0))
		return err_is_set(e) ? -1 : err_set(e, ERR_PROTOCOL, 0, "the source says what is no command");
	rc = more(l, l->data, pages_to_bytes(l->answer.nr), &l->got, e);
	if (rc <= 0)
		return rc;
	l->have = l->got = 0;
	l->waiting--;
	return 1;
}

static int last_word(const struct lazy_link *l, unsigned char status[PS_STATUS_ANSWER])
{
	int rc = wait_readable(l->fd, STATUS_MS);
	ssize_t n;

	if (rc <= 0)
		return rc < 0 ? rc : -ETIMEDOUT;
	do
		n = tls_recv(l->fd, status, PS_STATUS_ANSWER, MSG_WAITALL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n == PS_STATUS_ANSWER ? 0 : -EPIPE;
}

int lazy_link_close(struct lazy_link *l, struct err *e)
{
	const struct ps_command c = { .code = PS_CLOSE };
	unsigned char status[PS_STATUS_ANSWER];
	int rc;

	if (say(l, &c, e) < 0)
		return -1;
	rc = last_word(l, status);
	if (rc < 0)
		return lost(l, -rc, "the source's last word", e);
	return le32_get(status) ? err_set(e, ERR_PEER, 0, "the source ends with status %u", le32_get(status)) : 0;
}
