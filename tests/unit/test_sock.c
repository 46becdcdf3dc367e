/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses mean what their text says; connecting ends at its deadline; a connection on this host isn't paced. */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/sock.h"

static void parses(const char *text, const char *want_host, unsigned want_port)
{
	char host[SOCK_HOST_MAX];
	struct err e = { 0 };
	uint16_t port;

	assert_int_equal(sock_parse(text, 7000, host, &port, &e), 0);
	assert_string_equal(host, want_host);
	assert_int_equal(port, want_port);
}

static void addresses_are_understood(void **state)
{
	(void)state;
	parses("host", "host", 7000);
	parses("host:1", "host", 1);
	parses("10.0.0.1:65535", "10.0.0.1", 65535);
	parses("[::1]:80", "::1", 80);
	parses("[fe80::1%eth0]", "fe80::1%eth0", 7000);
	parses("::1", "::1", 7000);
	parses(":0", "", 0);
}

static void bad_addresses_are_usage_errors(void **state)
{
	static const char *const bad[] = { "", "host:", "host:x", "host:65536", "host:99999999999999999999", "[::1", "[::1]80", "[]:1",
		"host:-1", "host: 1" };
	char host[SOCK_HOST_MAX], longer[400];
	uint16_t port;

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err e = { 0 };

		assert_int_equal(sock_parse(bad[i], 1, host, &port, &e), -1);
		assert_int_equal(e.kind, ERR_USAGE);
	}
	memset(longer, 'a', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(sock_parse(longer, 1, host, &port, &(struct err){ 0 }), -1);
}

static void connects(const char *address)
{
	struct err e = { 0 };
	int listener = sock_listen(address, 0, &e), fd, port;
	char target[64], name[SOCK_NAME_MAX], congestion[16];

	if (listener < 0 && e.num == EADDRNOTAVAIL)
		return; /* no IPv6 here */
	assert_true(listener >= 0);
	assert_true(sock_is_loopback(listener));
	port = sock_port(listener);
	assert_true(port > 0);
	snprintf(target, sizeof(target), "%s:%d", address, port);
	fd = sock_connect(target, 1, 1000, &e);
	assert_true(fd >= 0);
	sock_name(fd, true, name);
	assert_string_equal(name, target);
	close(fd);
	fd = sock_connect_tuned(target, 1, 1000, &(struct sock_tuning){ .congestion = "auto", .dead_after_ms = 5000 }, &e);
	assert_true(fd >= 0);
	sock_congestion(fd, congestion);
	assert_true(strcmp(congestion, "cubic") == 0 || strcmp(congestion, "reno") == 0);
	assert_int_equal(sock_tune(fd, &(struct sock_tuning){ .congestion = "nosuch" }, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	close(fd);
	assert_int_equal(sock_connect_tuned(target, 1, 1000, &(struct sock_tuning){ .congestion = "nosuch" }, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	close(listener);
}

static void both_families_connect_unpaced_on_this_host(void **state)
{
	(void)state;
	connects("127.0.0.1");
	connects("[::1]");
}

static void nobody_there_is_the_peers_error(void **state)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int held = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* does not listen, and keeps others from the port */
	struct err e = { 0 };
	char target[64];

	(void)state;
	assert_int_equal(bind(held, (struct sockaddr *)&at, sizeof(at)), 0);
	snprintf(target, sizeof(target), "127.0.0.1:%d", sock_port(held));
	assert_int_equal(sock_connect(target, 1, 1000, &e), -1);
	assert_int_equal(e.kind, ERR_PEER);
	assert_int_equal(e.num, ECONNREFUSED);
	close(held);
	assert_int_equal(sock_connect(":1", 1, 1000, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
}

static void a_port_in_use_is_a_conflict(void **state)
{
	struct err e = { 0 };
	int listener = sock_listen("127.0.0.1:0", 0, &e);
	char target[64];

	(void)state;
	snprintf(target, sizeof(target), "127.0.0.1:%d", sock_port(listener));
	assert_int_equal(sock_listen(target, 1, &e), -1);
	assert_int_equal(e.kind, ERR_CONFLICT);
	close(listener);
}

static void every_address_is_not_loopback(void **state)
{
	struct err e = { 0 };
	int listener = sock_listen("0.0.0.0:0", 0, &e);

	(void)state;
	assert_true(listener >= 0);
	assert_false(sock_is_loopback(listener));
	close(listener);
}

/* A full backlog: the kernel drops further handshakes, so the answer never comes. */
static void connecting_ends_at_the_deadline(void **state)
{
	struct err e = { 0 };
	int listener = sock_listen("127.0.0.1:0", 0, &e), fds[8], n = 0, fd;
	char target[64];

	(void)state;
	assert_int_equal(listen(listener, 0), 0);
	snprintf(target, sizeof(target), "127.0.0.1:%d", sock_port(listener));
	do {
		fd = sock_connect(target, 1, 50, &e);
		if (fd >= 0)
			fds[n++] = fd;
	} while (fd >= 0 && n < 8);
	assert_int_equal(fd, -1);
	assert_int_equal(e.kind, ERR_TIMEOUT);
	while (n > 0)
		close(fds[--n]);
	close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_understood),
		cmocka_unit_test(bad_addresses_are_usage_errors),
		cmocka_unit_test(both_families_connect_unpaced_on_this_host),
		cmocka_unit_test(nobody_there_is_the_peers_error),
		cmocka_unit_test(a_port_in_use_is_a_conflict),
		cmocka_unit_test(every_address_is_not_loopback),
		cmocka_unit_test(connecting_ends_at_the_deadline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
