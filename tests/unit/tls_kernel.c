/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets that the kernel encrypts, with a peer that is OpenSSL: records begin where sends do, an end is said and understood, and what is no data is
 * neither data nor a cut connection. Where the kernel has no TLS there is nothing to see: tests/vm runs it where it has. */
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
#include "proto/base/sock.h"
#include "proto/base/tls_control.h"
#include "proto/base/tls_priv.h"
#include "proto/base/tls_relay.h"
#include "tests/lib/certs.h"

enum { PATIENCE_MS = 120000 };

struct ends {
	struct tls_config ours, theirs;
	enum tls_role role; /* of the peer */
	int peer_fd;
	struct tls_context *context;
	struct tls_session *peer;
	struct err refused; /* by the peer */
	struct tls_link link;
};

static void tcp_pair(int fd[2])
{
	struct err e = { 0 };
	int listener = sock_listen("127.0.0.1:0", 0, &e);
	char address[32];

	assert_true(listener >= 0);
	snprintf(address, sizeof(address), "127.0.0.1:%d", sock_port(listener));
	fd[0] = sock_connect(address, 0, PATIENCE_MS, &e);
	fd[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd[0] >= 0 && fd[1] >= 0);
	close(listener);
}

static void *shake_hands(void *arg)
{
	struct ends *x = arg;

	x->peer = tls_open(x->context, x->peer_fd, x->role, NULL, PATIENCE_MS, &x->refused);
	return NULL;
}

/* A peer of that role, which speaks that version at most, and a link with that certificate. */
static void meet_version(struct ends *x, enum tls_role peer, const char *our_certificate, int version)
{
	const struct tls_wish wish = { .role = peer == TLS_SERVER ? TLS_CLIENT : TLS_SERVER, .timeout_ms = PATIENCE_MS, .kernel = true, .stock = true,
				       .cut = true };
	struct err e = { 0 };
	struct tls_gate *g;
	pthread_t thread;
	int fd[2];

	*x = (struct ends){ .ours = certs_of(our_certificate, "ca"), .theirs = certs_of("host-b", "ca"), .role = peer, .link = TLS_LINK_NONE };
	x->ours.no_name_check = x->theirs.no_name_check = true;
	x->context = tls_context_create(&x->theirs, true, false, &e);
	g = tls_gate_start(&x->ours, &e);
	assert_non_null(x->context);
	assert_non_null(g);
	assert_int_equal(SSL_CTX_set_max_proto_version(x->context->ssl, version), 1);
	tcp_pair(fd);
	x->peer_fd = fd[1];
	assert_int_equal(pthread_create(&thread, NULL, shake_hands, x), 0);
	assert_int_equal(tls_gate_wrap(g, fd[0], &wish, &x->link, &e), 0);
	pthread_join(thread, NULL);
	tls_gate_stop(g);
	assert_int_equal(x->link.cut, x->link.in_kernel ? TLS_CUT_BY_SEND : TLS_CUT_BY_LENGTH);
}

static void meet(struct ends *x, enum tls_role peer, const char *our_certificate)
{
	meet_version(x, peer, our_certificate, TLS1_3_VERSION);
}

static void part(struct ends *x)
{
	close(x->peer_fd); /* first: the link waits for that end */
	tls_link_close(&x->link);
	tls_close(x->peer);
	tls_context_destroy(x->context);
}

static bool has_kernel(struct ends *x)
{
	if (!x->link.in_kernel)
		part(x);
	return x->link.in_kernel;
}

/* What the peer reads next; 0: the end. */
static ssize_t peer_reads(struct ends *x, void *buf, size_t len)
{
	ssize_t n;

	while ((n = tls_read(x->peer, buf, len)) == -EAGAIN)
		assert_int_equal(wait_readable(x->peer_fd, PATIENCE_MS), 1);
	return n;
}

static void peer_says(struct ends *x, const char *text)
{
	assert_int_equal(tls_write(x->peer, text, strlen(text)), strlen(text));
	assert_int_equal(tls_flush(x->peer), 0);
}

static uint8_t byte_at(size_t at)
{
	return (uint8_t)(at * 7 + at / 251);
}

static void records_begin_where_sends_do(void **state)
{
	static const size_t sends[] = { 96, 32, 37 * 4096, 32, 4096, 32, 64 * 4096, 24 };
	static uint8_t bytes[64 * 4096], got[TLS_CUT_MAX + 1];
	int small = 4096;
	struct ends x;

	(void)state;
	meet(&x, TLS_SERVER, "host-a");
	if (!has_kernel(&x))
		skip();
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = byte_at(i);
	/* so that a send stops in the midst */
	assert_int_equal(setsockopt(x.link.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	for (size_t i = 0; i < sizeof(sends) / sizeof(sends[0]); i++) {
		struct iovec iov = { bytes, sends[i] };
		struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
		size_t have = 0;

		while (have < sends[i]) {
			size_t want = sends[i] - have < TLS_CUT_MAX ? sends[i] - have : TLS_CUT_MAX;
			int rc = send_some(x.link.fd, &m, 0);

			assert_true(rc == 0 || rc == -EAGAIN);
			assert_int_equal(peer_reads(&x, got, sizeof(got)), want);
			assert_memory_equal(got, bytes + have, want);
			have += want;
		}
	}
	tls_link_shut(&x.link);
	assert_int_equal(peer_reads(&x, got, sizeof(got)), 0);
	assert_true(SSL_get_shutdown(x.peer->ssl) & SSL_RECEIVED_SHUTDOWN);
	part(&x);
}

static void a_closure_is_the_end(void **state)
{
	char got[16];
	struct ends x;

	(void)state;
	meet(&x, TLS_CLIENT, "host-a");
	if (!has_kernel(&x))
		skip();
	peer_says(&x, "last");
	assert_int_equal(tls_bye(x.peer), 0);
	assert_int_equal(tls_recv(x.link.fd, got, sizeof(got), MSG_WAITALL), 4);
	for (int i = 0; i < 3; i++)
		assert_int_equal(tls_recv(x.link.fd, got, sizeof(got), 0), 0);
	assert_int_equal(wait_readable(x.link.fd, PATIENCE_MS), 1); /* as an end is */
	part(&x);
}

static void tickets_are_skipped(void **state)
{
	char got[16];
	struct ends x;

	(void)state;
	meet(&x, TLS_SERVER, "host-a");
	if (!has_kernel(&x))
		skip();
	for (int i = 0; i < 2; i++) {
		assert_int_equal(SSL_new_session_ticket(x.peer->ssl), 1);
		assert_int_equal(SSL_do_handshake(x.peer->ssl), 1);
	}
	peer_says(&x, "data");
	assert_int_equal(wait_readable(x.link.fd, PATIENCE_MS), 1);
	assert_int_equal(recv(x.link.fd, got, sizeof(got), 0), -1);
	assert_int_equal(errno, EIO);
	assert_int_equal(tls_recv(x.link.fd, got, sizeof(got), 0), 4);
	assert_memory_equal(got, "data", 4);
	part(&x);
}

/* What a read that fails is explained by. */
static void fails_with(struct ends *x, const char *words)
{
	struct err e = { 0 };
	char got[16];

	assert_int_equal(wait_readable(x->link.fd, PATIENCE_MS), 1);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(tls_recv(x->link.fd, got, sizeof(got), 0), -1);
		assert_int_equal(errno, EIO);
		if (strstr(words, "changes them"))
			break; /* that is said once more, and then no more */
	}
	err_set(&e, ERR_PEER, EIO, "read");
	tls_link_failed(&x->link, &e);
	if (!strstr(e.text, words))
		fail_msg("%s", e.text);
}

static void a_change_of_keys_is_named(void **state)
{
	struct ends x;

	(void)state;
	meet(&x, TLS_CLIENT, "host-a");
	if (!has_kernel(&x))
		skip();
	assert_int_equal(SSL_key_update(x.peer->ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
	peer_says(&x, "unreadable");
	fails_with(&x, "changes its keys");
	part(&x);
}

static void an_alert_is_explained(void **state)
{
	struct ends x;

	(void)state;
	meet(&x, TLS_SERVER, "stranger");
	if (!has_kernel(&x))
		skip();
	assert_null(x.peer);
	fails_with(&x, "its CA did not sign it");
	part(&x);
}

static void changed_bytes_are_no_end(void **state)
{
	static const unsigned char changed[5 + 64] = { 0x17, 3, 3, 0, 64 };
	struct ends x;

	(void)state;
	meet(&x, TLS_CLIENT, "host-a");
	if (!has_kernel(&x))
		skip();
	assert_int_equal(write_full(x.peer_fd, changed, sizeof(changed)), 0);
	fails_with(&x, "somebody changes them on the way");
	part(&x);
}

static void a_reset_is_one(void **state)
{
	const struct linger none = { .l_onoff = 1, .l_linger = 0 };
	char got[16];
	struct ends x;

	(void)state;
	meet(&x, TLS_CLIENT, "host-a");
	if (!has_kernel(&x))
		skip();
	assert_int_equal(setsockopt(x.peer_fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)), 0);
	close(x.peer_fd);
	assert_int_equal(wait_readable(x.link.fd, PATIENCE_MS), 1);
	assert_int_equal(tls_recv(x.link.fd, got, sizeof(got), 0), -1);
	assert_int_equal(errno, ECONNRESET);
	x.peer_fd = -1;
	part(&x);
}

static void an_older_peer_has_a_relay(void **state)
{
	char got[16];
	struct ends x;

	(void)state;
	meet_version(&x, TLS_CLIENT, "host-a", TLS1_2_VERSION);
	assert_false(x.link.in_kernel);
	peer_says(&x, "old");
	assert_int_equal(tls_recv(x.link.fd, got, 3, MSG_WAITALL), 3);
	part(&x);
}

static void nobody_asks_the_kernel_where_that_is_forbidden(void **state)
{
	struct ends x;

	(void)state;
	setenv(TLS_KERNEL_VARIABLE, "0", 1);
	meet(&x, TLS_CLIENT, "host-a");
	unsetenv(TLS_KERNEL_VARIABLE);
	assert_false(x.link.in_kernel);
	part(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_begin_where_sends_do),
		cmocka_unit_test(a_closure_is_the_end),
		cmocka_unit_test(tickets_are_skipped),
		cmocka_unit_test(a_change_of_keys_is_named),
		cmocka_unit_test(an_alert_is_explained),
		cmocka_unit_test(changed_bytes_are_no_end),
		cmocka_unit_test(a_reset_is_one),
		cmocka_unit_test(an_older_peer_has_a_relay),
		cmocka_unit_test(nobody_asks_the_kernel_where_that_is_forbidden),
	};

	return cmocka_run_group_tests(tests, certs_setup, NULL);
}
