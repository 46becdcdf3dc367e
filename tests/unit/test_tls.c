/* SPDX-License-Identifier: Apache-2.0 */
/* Who is let in and who is not, each side told why; and bytes through relays: all of them, both ways, ends kept apart. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/io.h"
#include "proto/base/le.h"
#include "proto/base/sock.h"
#include "proto/base/tls_priv.h"
#include "proto/base/tls_relay.h"
#include "tests/lib/certs.h"

enum { HANDSHAKE_MS = 120000 };

/* A connection over TCP: [0] of who connected, [1] of who listened. */
static void tcp_pair(int fd[2])
{
	struct err e = { 0 };
	int listener = sock_listen("127.0.0.1:0", 0, &e);
	char address[32];

	assert_true(listener >= 0);
	snprintf(address, sizeof(address), "127.0.0.1:%d", sock_port(listener));
	fd[0] = sock_connect(address, 0, HANDSHAKE_MS, &e);
	fd[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd[0] >= 0 && fd[1] >= 0);
	close(listener);
}

static struct tls_gate *gate(const struct tls_config *c)
{
	struct err e = { 0 };
	struct tls_gate *g = tls_gate_start(c, &e);

	if (!g)
		fail_msg("%s", e.text);
	return g;
}

struct ends {
	struct tls_link client, server;
	struct err client_err, server_err;
};

/* A handshake between the two, and a byte from the server so that a client learns what became of its certificate. */
static void meet(const struct tls_config *client, const struct tls_config *server, const char *name, bool stock, struct ends *m)
{
	struct tls_gate *c = gate(client), *s = gate(server);
	int fd[2];
	char byte;

	*m = (struct ends){ .client = TLS_LINK_NONE, .server = TLS_LINK_NONE };
	tcp_pair(fd);
	assert_int_equal(tls_gate_begin(c, fd[0], &(struct tls_wish){ TLS_CLIENT, name, HANDSHAKE_MS, false, stock, false }, &m->client, &m->client_err), 0);
	assert_int_equal(tls_gate_begin(s, fd[1], &(struct tls_wish){ TLS_SERVER, NULL, HANDSHAKE_MS, false, stock, false }, &m->server, &m->server_err), 0);
	if (tls_gate_finish(&m->server, &m->server_err) == 0)
		assert_int_equal(write_full(m->server.fd, "!", 1), 0);
	if (tls_gate_finish(&m->client, &m->client_err) == 0 && read_full(m->client.fd, &byte, 1) < 0) {
		err_set(&m->client_err, ERR_PEER, 0, "cut");
		tls_link_explain(&m->client, &m->client_err);
	}
	tls_gate_stop(c);
	tls_gate_stop(s);
}

static void part(struct ends *m)
{
	tls_link_close(&m->client);
	tls_link_close(&m->server);
}

static const struct stranger {
	const char *client, *client_ca, *client_name, *client_allow; /* client_name: of the server, as connected to */
	const char *server, *server_ca, *server_allow;
	bool no_name_check;
	const char *crl;
	const char *client_words, *server_words; /* NULL: content */
} strangers[] = {
	/* let in */
	{ .client = "host-b", .server = "host-a", .client_name = "host-a" },
	{ .client = "host-b", .server = "host-a", .client_name = "127.0.0.1" },
	{ .client = "host-b", .server = "host-a", .client_name = "::1", .crl = "crl" },
	{ .client = "host-b", .server = "host-a", .client_name = "elsewhere", .no_name_check = true },
	{ .client = "host-b", .server = "host-a", .client_name = "elsewhere", .client_allow = "host-c,host-a" },
	{ .client = "host-b", .server = "host-a", .client_name = "host-a", .server_allow = "host-c,host-b" },
	{ .client = "host-b", .server = "host-a", .client_name = "host-a", .server_allow = "10.77.0.2" },
	{ .client = "host-b", .server = "wild", .client_name = "any.example.org" },
	{ .client = "under", .server = "host-a", .client_name = "host-a", .server_allow = "host-b" },
	{ .client = "client-only", .server = "server-only", .client_name = "host-a" },
	/* not let in, by the server */
	{ .client = "stranger", .server = "host-a", .client_name = "host-a",
	  .client_words = "its CA did not sign it", .server_words = "unable to get local issuer" },
	{ .client = "expired", .server = "host-a", .client_name = "host-a", .client_words = "expired", .server_words = "certificate has expired" },
	{ .client = "later", .server = "host-a", .client_name = "host-a", .client_words = "not valid yet", .server_words = "certificate is not yet valid" },
	{ .client = "by-nobody", .server = "host-a", .client_name = "host-a",
	  .client_words = "its CA did not sign it", .server_words = "invalid CA certificate" },
	{ .client = "server-only", .server = "host-a", .client_name = "host-a",
	  .client_words = "not made for this use", .server_words = "certificate purpose" },
	{ .client = "revoked", .server = "host-a", .client_name = "host-a", .crl = "crl",
	  .client_words = "revoked", .server_words = "certificate revoked" },
	{ .client = "under", .server = "host-a", .client_name = "host-a", .crl = "crl", /* which is not of who signed it */
	  .client_words = "its log says which", .server_words = "unable to get certificate CRL" },
	{ .client = "host-b", .server = "host-a", .client_name = "host-a", .server_allow = "host-c,host-bb,host",
	  .client_words = "the name in it is not one that it lets in", .server_words = "of host-b, not of any that --tls-allow names" },
	{ .client = "wild", .server = "host-a", .client_name = "host-a", .server_allow = "any.example.org",
	  .client_words = "the name in it is not one", .server_words = "not of any that --tls-allow names" },
	{ .client = "host-b", .server = "host-a", .client_name = "host-a", .server_allow = ",",
	  .client_words = "the name in it is not one", .server_words = "not of any that --tls-allow names" },
	/* not let in, by the client */
	{ .client = "host-b", .server = "stranger", .client_name = "host-a",
	  .client_words = "unable to get local issuer", .server_words = "its CA did not sign it" },
	{ .client = "host-b", .server = "expired", .client_name = "host-a", .client_words = "certificate has expired", .server_words = "expired" },
	{ .client = "host-b", .server = "client-only", .client_name = "host-b",
	  .client_words = "certificate purpose", .server_words = "not made for this use" },
	{ .client = "host-b", .server = "host-a", .client_name = "host-a", .crl = "stale",
	  .client_words = "CRL has expired", .server_words = "the CRL over there has" },
	{ .client = "host-b", .server = "revoked", .client_name = "host-a", .crl = "crl",
	  .client_words = "certificate revoked", .server_words = "revoked" },
	{ .client = "host-b", .server = "host-a", .client_name = "host-c",
	  .client_words = "of host-a, not of host-c", .server_words = "the name in it is not one" },
	{ .client = "host-b", .server = "host-a", .client_name = "127.0.0.2",
	  .client_words = "not of 127.0.0.2", .server_words = "the name in it is not one" },
	{ .client = "host-b", .server = "host-a", .client_name = "host-a", .client_allow = "host-c",
	  .client_words = "not of any that --tls-allow names", .server_words = "the name in it is not one" },
};

static void said(const char *who, size_t row, const struct err *e, const char *want)
{
	if (!want && err_is_set(e))
		fail_msg("row %zu, %s: %s", row, who, e->text);
	if (want && !strstr(e->text, want))
		fail_msg("row %zu, %s: \"%s\" does not say \"%s\"", row, who, e->text, want);
	if (want && e->kind != ERR_PERMISSION)
		fail_msg("row %zu, %s: %s is no matter of permission", row, who, err_kind_name(e->kind));
}

static void strangers_are_kept_out(bool stock)
{
	for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
		const struct stranger *t = &strangers[i];
		struct tls_config client = certs_of(t->client, "ca"), server = certs_of(t->server, "ca");
		struct ends m;

		client.no_name_check = t->no_name_check;
		client.allow = t->client_allow;
		server.allow = t->server_allow;
		if (t->crl)
			client.cacrl = server.cacrl = certs_path(t->crl, ".pem");
		meet(&client, &server, t->client_name, stock, &m);
		said("client", i, &m.client_err, t->client_words);
		said("server", i, &m.server_err, t->server_words);
		if (!t->client_words && strcmp(t->server, "host-a") == 0) {
			assert_string_equal(m.server.peer, "host-b");
			assert_string_equal(m.client.peer, "host-a");
		}
		part(&m);
	}
}

static void strangers_are_kept_out_by_name_and_authority(void **state)
{
	(void)state;
	strangers_are_kept_out(false);
}

static void the_same_where_older_peers_are_allowed(void **state)
{
	(void)state;
	strangers_are_kept_out(true);
}

static void files_that_are_none_are_named(void **state)
{
	struct tls_config good = certs_of("host-a", "ca"), c;
	struct err e = { 0 };
	const char *junk = certs_path("junk", ".pem");
	char command[256];

	(void)state;
	snprintf(command, sizeof(command), "echo junk > %s; openssl ec -in %s -aes256 -passout pass:x -out %s 2> /dev/null", junk,
		 certs_path("host-a", ".key"), certs_path("locked", ".key"));
	assert_int_equal(system(command), 0);
#define REFUSED(field, path, words)                                                                                               \
	do {                                                                                                                      \
		c = good;                                                                                                         \
		c.field = path;                                                                                                   \
		assert_null(tls_gate_start(&c, &e));                                                                              \
		assert_non_null(strstr(e.text, path));                                                                            \
		assert_non_null(strstr(e.text, words));                                                                           \
	} while (0)
	REFUSED(cert, "/nonexistent/cert", "No such file");
	REFUSED(key, "/nonexistent/key", "No such file");
	REFUSED(cacert, "/nonexistent/ca", "No such file");
	REFUSED(cacrl, "/nonexistent/crl", "No such file");
	REFUSED(cert, junk, "certificate");
	REFUSED(key, junk, "key");
	REFUSED(cacert, junk, "CA");
	REFUSED(cacrl, junk, "CRL");
	REFUSED(key, certs_path("host-b", ".key"), "mismatch");
	REFUSED(key, certs_path("locked", ".key"), "key");
	c = (struct tls_config){ .on = true };
	assert_null(tls_gate_start(&c, &e));
	assert_non_null(strstr(e.text, TLS_DEFAULT_CERT));
	assert_false(tls_configured(&(struct tls_config){ 0 }));
	assert_true(tls_configured(&(struct tls_config){ .cert = "x" }));
}

static void plain_text_is_answered_in_a_way_that_it_knows(void **state)
{
	struct tls_config server = certs_of("host-a", "ca");
	struct tls_gate *s = gate(&server);
	unsigned char answer[64] = { 0 };
	struct tls_link l;
	struct err e = { 0 };
	int fd[2];

	(void)state;
	tcp_pair(fd);
	assert_int_equal(write_full(fd[0], "DRAY\r\n\x1a\n and so on", 18), 0);
	assert_int_equal(tls_gate_wrap(s, fd[1], &(struct tls_wish){ TLS_SERVER, NULL, HANDSHAKE_MS, true, false, false }, &l, &e), -1);
	assert_non_null(strstr(e.text, "does not speak it"));
	assert_int_equal(read_full(fd[0], answer, TLS_REFUSAL_SIZE), 0);
	assert_true(tls_is_alert(answer, TLS_REFUSAL_SIZE));
	close(fd[0]);
	tls_gate_stop(s);
}

static void a_peer_that_speaks_no_tls_is_named_as_such(void **state)
{
	struct tls_config client = certs_of("host-b", "ca");
	struct tls_gate *c = gate(&client);
	const struct tls_wish wish = { TLS_CLIENT, "host-a", HANDSHAKE_MS, true, false, false };
	unsigned char hello[64];
	struct tls_link l;
	struct err e = { 0 };
	int fd[2];

	(void)state;
	tcp_pair(fd);
	assert_int_equal(tls_gate_begin(c, fd[0], &wish, &l, &e), 0);
	assert_int_equal(read_full(fd[1], hello, sizeof(hello)), 0);
	assert_true(tls_is_hello(hello, sizeof(hello)));
	shutdown(fd[1], SHUT_WR);
	assert_int_equal(tls_gate_finish(&l, &e), -1);
	assert_non_null(strstr(e.text, "does it speak TLS?"));
	close(fd[1]);

	tcp_pair(fd);
	assert_int_equal(write_full(fd[1], "220 mail.example ESMTP\r\n", 24), 0);
	assert_int_equal(tls_gate_wrap(c, fd[0], &wish, &l, &e), -1);
	assert_non_null(strstr(e.text, "does not speak it"));
	close(fd[1]);
	tls_gate_stop(c);
}

static void a_silent_peer_is_given_up(void **state)
{
	struct tls_config config = certs_of("host-a", "ca");
	struct tls_gate *g = gate(&config);

	(void)state;
	for (int role = TLS_CLIENT; role <= TLS_SERVER; role++) {
		struct tls_link l;
		struct err e = { 0 };
		int fd[2];

		tcp_pair(fd);
		assert_int_equal(tls_gate_wrap(g, fd[0], &(struct tls_wish){ (enum tls_role)role, NULL, 50, false, false, false }, &l, &e), -1);
		assert_int_equal(e.kind, ERR_TIMEOUT);
		close(fd[1]);
	}
	tls_gate_stop(g);
}

/* However long it may take: who opens many connections shall not have a process for each that was dropped. */
static void a_handshake_that_nobody_waits_for_ends(void **state)
{
	struct tls_config config = certs_of("host-a", "ca");
	struct tls_gate *g = gate(&config);

	(void)state;
	for (int role = TLS_CLIENT; role <= TLS_SERVER; role++) {
		struct tls_link l;
		struct err e = { 0 };
		char byte;
		int fd[2];

		tcp_pair(fd);
		assert_int_equal(tls_gate_begin(g, fd[0], &(struct tls_wish){ (enum tls_role)role, NULL, 3600 * 1000, false, false, false }, &l, &e), 0);
		if (role == TLS_CLIENT)
			assert_int_equal(read_full(fd[1], &byte, 1), 0); /* it is under way */
		tls_link_close(&l);
		while (read(fd[1], &byte, 1) > 0)
			;
		close(fd[1]);
	}
	tls_gate_stop(g);
}

static void connect_friends(struct ends *m, bool stock)
{
	struct tls_config client = certs_of("host-b", "ca"), server = certs_of("host-a", "ca");

	meet(&client, &server, "host-a", stock, m);
	assert_false(err_is_set(&m->client_err) || err_is_set(&m->server_err));
}

static void peer_reads(struct tls_session *peer, int fd, char *buf, size_t len)
{
	for (size_t have = 0; have < len;) {
		ssize_t n = tls_read(peer, buf + have, len - have);

		assert_true(n > 0 || n == -EAGAIN);
		if (n == -EAGAIN)
			assert_int_equal(wait_readable(fd, HANDSHAKE_MS), 1);
		have += n > 0 ? (size_t)n : 0;
	}
}

/* As stock criu's library does behind some 400 GB; whoever runs into that with the kernel's TLS is told to do without. */
static void a_relay_follows_changes_of_keys(void **state)
{
	struct tls_config mine = certs_of("host-a", "ca"), theirs = certs_of("host-b", "ca");
	struct err e = { 0 };
	struct tls_context *x = tls_context_create(&theirs, true, false, &e);
	struct tls_gate *g = gate(&mine);
	struct tls_session *peer;
	struct tls_link l;
	char buf[4];
	int fd[2];

	(void)state;
	assert_non_null(x);
	tcp_pair(fd);
	assert_int_equal(tls_gate_begin(g, fd[1], &(struct tls_wish){ TLS_SERVER, NULL, HANDSHAKE_MS, false, true, false }, &l, &e), 0);
	peer = tls_open(x, fd[0], TLS_CLIENT, "host-a", HANDSHAKE_MS, &e);
	assert_non_null(peer);
	assert_int_equal(tls_gate_finish(&l, &e), 0);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(SSL_key_update(peer->ssl, i & 1 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED), 1);
		assert_int_equal(tls_write(peer, "come", 4), 4);
		assert_int_equal(tls_flush(peer), 0);
		assert_int_equal(read_full(l.fd, buf, 4), 0);
		assert_memory_equal(buf, "come", 4);
		assert_int_equal(write_full(l.fd, "back", 4), 0);
		peer_reads(peer, fd[0], buf, 4);
		assert_memory_equal(buf, "back", 4);
	}
	tls_link_close(&l);
	tls_close(peer);
	close(fd[0]);
	tls_gate_stop(g);
	tls_context_destroy(x);
}

/* Bytes that tell their place, so that what is lost, doubled or swapped shows. */
enum { BULK = 48 << 20, PIECE = 100003 };

static uint8_t byte_at(size_t i, uint8_t salt)
{
	return (uint8_t)((i * 2654435761u) >> 13) ^ salt;
}

struct bulk {
	int fd;
	uint8_t salt;
};

static void *send_bulk(void *arg)
{
	const struct bulk *b = arg;
	uint8_t *buf = malloc(PIECE);

	for (size_t at = 0; at < BULK;) {
		size_t n = BULK - at < PIECE ? BULK - at : PIECE;

		for (size_t i = 0; i < n; i++)
			buf[i] = byte_at(at + i, b->salt);
		if (write_full(b->fd, buf, n) < 0)
			break;
		at += n;
	}
	shutdown(b->fd, SHUT_WR);
	free(buf);
	return NULL;
}

static void *check_bulk(void *arg)
{
	const struct bulk *b = arg;
	uint8_t *buf = malloc(PIECE);
	size_t at = 0;
	ssize_t n;

	while ((n = read(b->fd, buf, PIECE)) > 0)
		for (ssize_t i = 0; i < n; i++, at++)
			if (buf[i] != byte_at(at, b->salt)) {
				free(buf);
				return (void *)1;
			}
	free(buf);
	return n == 0 && at == BULK ? NULL : (void *)2;
}

static void all_bytes_arrive_both_ways_at_once(void **state)
{
	(void)state;
	for (int stock = 0; stock < 2; stock++) {
		struct ends m;
		struct bulk there, back;
		pthread_t t[4];
		void *wrong = NULL;

		connect_friends(&m, stock);
		there = (struct bulk){ m.client.fd, 1 };
		back = (struct bulk){ m.server.fd, 2 };
		assert_int_equal(pthread_create(&t[0], NULL, send_bulk, &there), 0);
		assert_int_equal(pthread_create(&t[1], NULL, send_bulk, &back), 0);
		assert_int_equal(pthread_create(&t[2], NULL, check_bulk, &(struct bulk){ m.server.fd, 1 }), 0);
		assert_int_equal(pthread_create(&t[3], NULL, check_bulk, &(struct bulk){ m.client.fd, 2 }), 0);
		for (int i = 0; i < 4; i++) {
			void *bad;

			pthread_join(t[i], &bad);
			wrong = wrong ? wrong : bad;
		}
		assert_null(wrong);
		part(&m);
	}
}

static void a_half_closed_side_still_hears(void **state)
{
	struct ends m;
	char buf[8];

	(void)state;
	connect_friends(&m, false);
	assert_int_equal(write_full(m.client.fd, "last", 4), 0);
	shutdown(m.client.fd, SHUT_WR);
	assert_int_equal(read_full(m.server.fd, buf, 4), 0);
	assert_memory_equal(buf, "last", 4);
	assert_int_equal(read(m.server.fd, buf, 1), 0);
	assert_int_equal(write_full(m.server.fd, "heard", 5), 0);
	assert_int_equal(read_full(m.client.fd, buf, 5), 0);
	assert_memory_equal(buf, "heard", 5);
	part(&m);
}

/* What a monitor does to wake its reader: the other direction goes on. */
static void a_side_that_reads_no_more_still_speaks(void **state)
{
	struct ends m;
	char buf[8];

	(void)state;
	connect_friends(&m, false);
	shutdown(m.client.fd, SHUT_RD);
	assert_int_equal(read(m.client.fd, buf, 1), 0);
	assert_int_equal(write_full(m.server.fd, "into the void", 13), 0);
	assert_int_equal(write_full(m.client.fd, "bye", 3), 0);
	assert_int_equal(read_full(m.server.fd, buf, 3), 0);
	assert_memory_equal(buf, "bye", 3);
	part(&m);
}

static void the_end_of_one_side_is_the_others(void **state)
{
	struct ends m;
	char buf[1];

	(void)state;
	connect_friends(&m, false);
	close(m.server.fd);
	m.server.fd = -1;
	assert_int_equal(read(m.client.fd, buf, 1), 0);
	/* The relays end with both: the words' other ends close. */
	close(m.client.fd);
	m.client.fd = -1;
	assert_int_equal(read(m.client.words, buf, 1), 0);
	assert_int_equal(read(m.server.words, buf, 1), 0);
	part(&m);
}

static void what_was_written_before_closing_arrives(void **state)
{
	struct ends m;
	uint8_t *all = malloc(400000);
	size_t have = 0;
	ssize_t n;

	(void)state;
	connect_friends(&m, false);
	for (size_t i = 0; i < 400000; i++)
		all[i] = byte_at(i, 3);
	/* Unread bytes at the side that closes must not cost the other what it was told. */
	assert_int_equal(write_full(m.server.fd, "unread", 6), 0);
	assert_int_equal(write_full(m.client.fd, all, 400000), 0);
	close(m.client.fd);
	m.client.fd = -1;
	while ((n = read(m.server.fd, all, 400000)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(all[i], byte_at(have + (size_t)i, 3));
		have += (size_t)n;
	}
	assert_int_equal(n, 0);
	assert_int_equal(have, 400000);
	free(all);
	part(&m);
}

/* A handshake that takes no longer than that, which a slow machine may have to try more than once. */
static void wrap_impatient(struct tls_gate *g, struct tls_gate *peers, int timeout_ms, struct tls_link *l, struct tls_link *peer)
{
	const struct tls_wish server = { TLS_SERVER, NULL, timeout_ms, false, false, false }, client = { TLS_CLIENT, "host-a", HANDSHAKE_MS, false, false, false };
	struct err e = { 0 }, ignored;
	int fd[2], rc;

	do {
		tcp_pair(fd);
		assert_int_equal(tls_gate_begin(peers, fd[0], &client, peer, &e), 0);
		rc = tls_gate_wrap(g, fd[1], &server, l, &e);
		if (tls_gate_finish(peer, &ignored) < 0 && rc == 0)
			tls_link_close(l);
	} while (l->fd < 0 || peer->fd < 0);
}

static void a_peer_that_takes_nothing_keeps_no_relay(void **state)
{
	struct tls_config mine = certs_of("host-a", "ca"), theirs = certs_of("host-b", "ca");
	struct tls_gate *g = gate(&mine), *peers = gate(&theirs);
	static char bytes[64 * 1024];
	struct tls_link l, peer;
	struct pollfd relay;

	(void)state;
	wrap_impatient(g, peers, 2000, &l, &peer);
	for (struct pollfd p = { .fd = l.fd, .events = POLLOUT }; poll(&p, 1, 500) > 0;) /* until nothing more goes anywhere */
		if (send(l.fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			assert_int_equal(errno, EAGAIN);
	relay = (struct pollfd){ .fd = l.words, .events = POLLIN };
	close(l.fd);
	l.fd = -1;
	assert_int_equal(poll(&relay, 1, HANDSHAKE_MS), 1);
	assert_int_equal(read(l.words, bytes, 1), 0);
	tls_link_close(&l);
	tls_link_close(&peer);
	tls_gate_stop(g);
	tls_gate_stop(peers);
}

/* A reader that gets a record at a time, as criu's does. */
struct record_reader {
	int fd;
	size_t len[16], count;
};

static void *read_records(void *arg)
{
	struct record_reader *r = arg;
	struct tls_config config = certs_of("host-a", "ca");
	struct err e = { 0 };
	struct tls_context *x = tls_context_create(&config, true, false, &e);
	struct tls_session *s = x ? tls_open(x, r->fd, TLS_SERVER, NULL, HANDSHAKE_MS, &e) : NULL;
	static char buf[1 << 20];
	ssize_t n = s ? 1 : 0;

	while (n > 0 || n == -EAGAIN) {
		n = tls_read(s, buf, sizeof(buf));
		if (n > 0 && r->count < 16)
			r->len[r->count++] = (size_t)n;
		else if (n == -EAGAIN)
			wait_readable(r->fd, HANDSHAKE_MS);
	}
	tls_close(s);
	tls_context_destroy(x);
	return NULL;
}

static void records_are_cut_where_their_user_says(void **state)
{
	static const uint32_t lens[] = { 32, TLS_CUT_MAX, TLS_CUT_MAX, 4096, 1, 24, 96 };
	static uint8_t bytes[TLS_CUT_HEAD + TLS_CUT_MAX + 1];
	size_t anyhow = 0;
	struct tls_config config = certs_of("host-b", "ca");
	struct tls_gate *g = gate(&config);
	struct record_reader r = { .count = 0 };
	struct tls_link l;
	struct err e = { 0 };
	pthread_t thread;
	int fd[2];

	(void)state;
	tcp_pair(fd);
	r.fd = fd[1];
	assert_int_equal(pthread_create(&thread, NULL, read_records, &r), 0);
	assert_int_equal(tls_gate_wrap(g, fd[0], &(struct tls_wish){ TLS_CLIENT, "host-a", HANDSHAKE_MS, false, true, true }, &l, &e), 0);
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		le32_put(bytes, lens[i]);
		/* in two pieces, neither of which is a record */
		assert_int_equal(write_full(l.fd, bytes, 2), 0);
		assert_int_equal(write_full(l.fd, bytes + 2, TLS_CUT_HEAD - 2 + lens[i]), 0);
	}
	le32_put(bytes, 0); /* cut no more */
	assert_int_equal(write_full(l.fd, bytes, sizeof(bytes)), 0);
	tls_link_close(&l);
	tls_gate_stop(g);
	pthread_join(thread, NULL);
	close(fd[1]);
	assert_true(r.count > sizeof(lens) / sizeof(lens[0]));
	for (size_t i = 0; i < r.count; i++)
		if (i < sizeof(lens) / sizeof(lens[0]))
			assert_int_equal(r.len[i], lens[i]);
		else
			anyhow += r.len[i];
	assert_int_equal(anyhow, TLS_CUT_MAX + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(strangers_are_kept_out_by_name_and_authority),
		cmocka_unit_test(the_same_where_older_peers_are_allowed),
		cmocka_unit_test(files_that_are_none_are_named),
		cmocka_unit_test(plain_text_is_answered_in_a_way_that_it_knows),
		cmocka_unit_test(a_peer_that_speaks_no_tls_is_named_as_such),
		cmocka_unit_test(a_silent_peer_is_given_up),
		cmocka_unit_test(a_handshake_that_nobody_waits_for_ends),
		cmocka_unit_test(a_relay_follows_changes_of_keys),
		cmocka_unit_test(all_bytes_arrive_both_ways_at_once),
		cmocka_unit_test(a_half_closed_side_still_hears),
		cmocka_unit_test(a_side_that_reads_no_more_still_speaks),
		cmocka_unit_test(the_end_of_one_side_is_the_others),
		cmocka_unit_test(what_was_written_before_closing_arrives),
		cmocka_unit_test(a_peer_that_takes_nothing_keeps_no_relay),
		cmocka_unit_test(records_are_cut_where_their_user_says),
	};

	return cmocka_run_group_tests(tests, certs_setup, NULL);
}
