/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/conduct/link.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "control.pb-c.h"
#include "migrate/send/sender.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/sock.h"
#include "proto/wire/control.h"
#include "proto/wire/frame.h"
#include "proto/wire/range_list.h"

enum { CONNECT_MS = 5000, HANDSHAKE_MS = 30000, ANSWER_MS = 20000, DEAD_AFTER_MS = 20000, FORGET_AGAIN_MS = 100, FORGET_PATIENCE_US = 5 * 1000 * 1000 };

/* The usual time, or less where less is left. */
static int within(const struct link_config *c, int usual_ms)
{
	return c->patience_ms > 0 && c->patience_ms < usual_ms ? c->patience_ms : usual_ms;
}

static int check_answer(const struct link_config *c, const struct hello *h, struct err *e)
{
	switch ((enum hello_status)h->status) {
	case HELLO_OK:
		return 0;
	case HELLO_BAD_VERSION:
		return err_set(e, ERR_PROTOCOL, 0, "%s speaks another version of the protocol (%u, not %u)", c->address, h->version,
			       HELLO_VERSION);
	case HELLO_UNKNOWN_ID:
		return err_set(e, h->role == HELLO_AGAIN ? ERR_CONFLICT : ERR_PEER, 0, "%s does not know this migration (any more)", c->address);
	case HELLO_BUSY:
		return err_set(e, ERR_LIMIT, 0, "%s takes no further migration now", c->address);
	case HELLO_REFUSED:
		return err_set(e, ERR_CONFLICT, 0, h->role == HELLO_AGAIN ? "%s refuses the connection" : "%s has a migration of this id under way",
			       c->address);
	}
	return err_set(e, ERR_PROTOCOL, 0, "%s answers with status %u", c->address, h->status);
}

/* len bytes of an answer that is none. */
static int no_answer(const struct link_config *c, const unsigned char *buf, size_t len, int rc, struct err *e)
{
	if (tls_is_alert(buf, len))
		return err_set(e, ERR_PERMISSION, 0, "%s speaks TLS and nothing else: this side needs credentials (--tls, --tls-cert)", c->address);
	return err_set(e, ERR_PEER, peer_errno(-rc), "%s ends the connection instead of a hello: is a dray agent listening there?", c->address);
}

static int exchange(const struct link_config *c, int fd, struct hello *h, struct err *e)
{
	unsigned char buf[HELLO_SIZE];
	int rc;

	hello_encode(h, buf);
	rc = write_full(fd, buf, sizeof(buf));
	if (rc < 0 && peer_errno(-rc) != 0) /* one that hung up may have said why */
		return err_set(e, ERR_PEER, -rc, "%s", c->address);
	rc = wait_readable(fd, within(c, ANSWER_MS));
	if (rc == 0)
		return err_set(e, ERR_TIMEOUT, 0, "%s does not answer the hello: is a dray agent listening there?", c->address);
	memset(buf, 0, sizeof(buf));
	rc = rc < 0 ? rc : read_full(fd, buf, sizeof(buf));
	if (rc < 0)
		return no_answer(c, buf, sizeof(buf), rc, e);
	rc = hello_decode(buf, h);
	if (rc < 0 && h->status != HELLO_BAD_VERSION)
		return err_set(e, ERR_PROTOCOL, 0, "%s is no dray agent", c->address);
	return check_answer(c, h, e);
}

/* Takes l->fd; afterwards it carries plain bytes. */
static int wrap(const struct link_config *c, struct tls_link *l, struct err *e)
{
	char host[SOCK_HOST_MAX];
	struct tls_wish wish = { .role = TLS_CLIENT, .name = host, .timeout_ms = within(c, HANDSHAKE_MS), .kernel = true };
	uint16_t port;
	int fd = l->fd;

	*l = TLS_LINK_NONE;
	if (sock_parse(c->address, DRAY_DEFAULT_PORT, host, &port, e) < 0) {
		close(fd);
		return -1;
	}
	return tls_gate_wrap(c->tls, fd, &wish, l, e) < 0 ? err_wrap(e, "%s", c->address) : 0;
}

static int connect_tuned(const struct link_config *c, struct link_facts *facts, struct err *e)
{
	struct sock_tuning tuning = { .congestion = c->congestion, .dead_after_ms = DEAD_AFTER_MS };
	cleanup_fd int fd = sock_connect_tuned(c->address, DRAY_DEFAULT_PORT, within(c, CONNECT_MS), &tuning, e);

	if (fd < 0)
		return -1;
	facts->rtt_us = sock_rtt_us(fd);
	facts->bytes_per_s = sender_link_speed(fd);
	return steal_fd(&fd);
}

/* A refusal by TLS 1.3 comes only when the first answer should. */
static int exchange_explained(const struct link_config *c, const struct tls_link *l, struct hello *h, struct err *e)
{
	int rc = exchange(c, l->fd, h, e);

	if (rc < 0 && c->tls)
		tls_link_failed(l, e);
	return rc;
}

int link_open(const struct link_config *c, enum hello_role role, uint32_t index, struct link_facts *facts, struct err *e)
{
	struct hello h = { .version = HELLO_VERSION, .role = (uint8_t)role, .index = index, .features = c->features, .id = c->id,
			   .max_frame_pages = FRAME_MAX_PAGES, .max_control_len = CONTROL_MAX };
	struct tls_link l = TLS_LINK_NONE;
	struct link_facts found = { .tls = "none" };
	int fd = -1;

	if (role == HELLO_AGAIN)
		h.token = c->token;
	l.fd = connect_tuned(c, &found, e);
	if (l.fd < 0 || (c->tls && wrap(c, &l, e) < 0))
		return -1;
	if (exchange_explained(c, &l, &h, e) == 0) {
		fd = steal_fd(&l.fd);
		found.features = h.features & c->features;
		if (c->tls)
			found.tls = l.in_kernel ? "kernel" : "relay";
	}
	tls_link_close(&l);
	if (facts)
		*facts = found;
	return fd;
}

/* The connection that was asked on; -1. */
static int ask(const struct link_config *c, Drayage__Outcome **answer, struct err *e)
{
	cleanup_fd int fd = link_open(c, HELLO_QUERY, 0, NULL, e);
	Drayage__Query query = DRAYAGE__QUERY__INIT;

	if (fd < 0)
		return -1;
	query.id.data = (uint8_t *)(uintptr_t)c->id.byte;
	query.id.len = sizeof(c->id.byte);
	query.identity = (char *)(uintptr_t)(c->identity ? c->identity : "");
	if (control_send(fd, CONTROL_QUERY, &query.base, e) < 0)
		return -1;
	*answer = (Drayage__Outcome *)control_expect(fd, ANSWER_MS, CONTROL_OUTCOME, e);
	return *answer ? steal_fd(&fd) : -1;
}

int link_query(const struct link_config *c, enum link_outcome *outcome, uint32_t *pid, struct run_list *missing, struct err *e)
{
	Drayage__Outcome *answer;
	cleanup_fd int fd = ask(c, &answer, e);
	int rc;

	if (fd < 0)
		return -1;
	*outcome = answer->what == DRAYAGE__OUTCOME__WHAT__RUNNING_HERE ? LINK_RUNNING :
		   answer->what == DRAYAGE__OUTCOME__WHAT__ABORTED      ? LINK_ABORTED :
									  LINK_UNKNOWN;
	*pid = answer->has_pid ? answer->pid : 0;
	rc = range_list_read(answer->late, answer->n_late, missing, e);
	protobuf_c_message_free_unpacked(&answer->base, NULL);
	return rc;
}

static bool forget_once(const struct link_config *c)
{
	Drayage__Done done = DRAYAGE__DONE__INIT;
	Drayage__Outcome *answer;
	struct err ignored;
	cleanup_fd int fd = ask(c, &answer, &ignored);
	bool told = fd >= 0;

	if (!told)
		return false;
	if (answer->n_late == 0)
		told = control_send(fd, CONTROL_DONE, &done.base, &ignored) == 0;
	protobuf_c_message_free_unpacked(&answer->base, NULL);
	return told;
}

/* A session that is just ending, or who answered the question before, may be in the way for a moment. */
void link_forget(const struct link_config *c)
{
	uint64_t end = clock_us() + FORGET_PATIENCE_US;

	while (!forget_once(c) && clock_us() < end)
		poll(NULL, 0, FORGET_AGAIN_MS);
}
