/* SPDX-License-Identifier: Apache-2.0 */
/* Control messages arrive whole or not at all; what a peer sends wrongly ends in an error of the right kind, in bounded time
 * and memory. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "control.pb-c.h"
#include "proto/base/io.h"
#include "proto/base/le.h"
#include "proto/wire/control.h"

struct pair { int a, b; };

static int setup(void **state)
{
	static struct pair p;
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0)
		return -1;
	p = (struct pair){ fd[0], fd[1] };
	*state = &p;
	return 0;
}

static int teardown(void **state)
{
	struct pair *p = *state;

	if (p->a >= 0)
		close(p->a);
	close(p->b);
	return 0;
}

static void messages_arrive_as_sent(void **state)
{
	struct pair *p = *state;
	Drayage__RoundReady ready = DRAYAGE__ROUND_READY__INIT, *got;
	struct err e = { 0 };

	ready.round = 41;
	assert_int_equal(control_send(p->a, CONTROL_ROUND_READY, &ready.base, &e), 0);
	got = (Drayage__RoundReady *)control_expect(p->b, 1000, CONTROL_ROUND_READY, &e);
	assert_non_null(got);
	assert_int_equal(got->round, 41);
	protobuf_c_message_free_unpacked(&got->base, NULL);
}

static void every_type_has_a_name_and_a_descriptor(void **state)
{
	(void)state;
	for (unsigned t = 1; t < CONTROL_TYPES; t++) {
		assert_non_null(control_descriptor((enum control_type)t));
		assert_string_equal(control_descriptor((enum control_type)t)->short_name, control_type_name((enum control_type)t));
	}
	assert_null(control_descriptor((enum control_type)0));
	assert_null(control_descriptor(CONTROL_TYPES));
	assert_string_equal(control_type_name(CONTROL_TYPES), "unknown");
}

static void another_message_than_the_one_due_is_a_protocol_error(void **state)
{
	struct pair *p = *state;
	Drayage__RoundReady ready = DRAYAGE__ROUND_READY__INIT;
	struct err e = { 0 };

	assert_int_equal(control_send(p->a, CONTROL_ROUND_READY, &ready.base, &e), 0);
	assert_null(control_expect(p->b, 1000, CONTROL_PREPARED, &e));
	assert_int_equal(e.kind, ERR_PROTOCOL);
	assert_string_equal(e.text, "RoundReady came where Prepared belongs");
}

static void send_abort(int fd, uint32_t kind, const char *text)
{
	Drayage__Abort a = DRAYAGE__ABORT__INIT;
	struct err e = { 0 };

	a.kind = kind;
	a.number = ENOSPC;
	a.text = (char *)(uintptr_t)text;
	assert_int_equal(control_send(fd, CONTROL_ABORT, &a.base, &e), 0);
}

static void abort_becomes_an_error_of_its_kind(void **state)
{
	struct pair *p = *state;
	struct err e = { 0 };

	send_abort(p->a, ERR_LIMIT, "no\nroom\x1b[31m left");
	assert_null(control_expect(p->b, 1000, CONTROL_PREPARED, &e));
	assert_int_equal(e.kind, ERR_LIMIT);
	assert_int_equal(e.num, ENOSPC);
	assert_string_equal(e.text, "the other side says: no?room?[31m left");
}

static void abort_of_an_unknown_kind_is_the_peers_error(void **state)
{
	struct pair *p = *state;
	struct err e = { 0 };

	send_abort(p->a, 0, "x");
	assert_null(control_expect(p->b, 1000, CONTROL_PREPARED, &e));
	assert_int_equal(e.kind, ERR_PEER);
	send_abort(p->a, 4000000000u, "x");
	assert_null(control_expect(p->b, 1000, CONTROL_PREPARED, &e));
	assert_int_equal(e.kind, ERR_PEER);
}

static void silence_ends_at_the_deadline(void **state)
{
	struct pair *p = *state;
	struct err e = { 0 };

	assert_null(control_expect(p->b, 20, CONTROL_PREPARED, &e));
	assert_int_equal(e.kind, ERR_TIMEOUT);
	assert_int_equal(write_full(p->a, "\x05\0\0", 3), 0);
	assert_null(control_expect(p->b, 20, CONTROL_PREPARED, &e));
	assert_int_equal(e.kind, ERR_TIMEOUT);
}

static void a_cut_connection_is_the_peers_error(void **state)
{
	struct pair *p = *state;
	struct err e = { 0 };

	assert_int_equal(write_full(p->a, "\x05\0\0", 3), 0);
	close(p->a);
	p->a = -1;
	assert_null(control_expect(p->b, 1000, CONTROL_PREPARED, &e));
	assert_int_equal(e.kind, ERR_PEER);
}

/* Who speaks to it first learns the same as who listens. */
static void an_abort_is_heard_by_who_sends_too(void **state)
{
	struct pair *p = *state;
	Drayage__RoundReady ready = DRAYAGE__ROUND_READY__INIT;
	struct err e = { 0 };

	assert_int_equal(control_send(p->a, CONTROL_ROUND_READY, &ready.base, &e), 0);
	send_abort(p->a, ERR_LIMIT, "no room left");
	close(p->a);
	p->a = -1;
	assert_int_equal(control_send(p->b, CONTROL_ROUND_READY, &ready.base, &e), -1);
	assert_int_equal(e.kind, ERR_LIMIT);
	assert_string_equal(e.text, "the other side says: no room left");
	assert_int_equal(control_send(p->b, CONTROL_ROUND_READY, &ready.base, &e), -1);
	assert_int_equal(e.kind, ERR_PEER);
	assert_string_equal(e.text, "send RoundReady: the connection was cut");
}

static void put_header(int fd, uint32_t length, uint16_t type, uint16_t zero)
{
	uint8_t head[CONTROL_HEADER_SIZE];

	le32_put(head, length);
	le16_put(head + 4, type);
	le16_put(head + 6, zero);
	assert_int_equal(write_full(fd, head, sizeof(head)), 0);
}

static void headers_beyond_the_caps_are_refused(void **state)
{
	struct pair *p = *state;
	struct err e = { 0 };
	static const struct { uint32_t length; uint16_t type, zero; } bad[] = {
		{ CONTROL_MAX + 1u, CONTROL_STATE, 0 }, { UINT32_MAX, CONTROL_STATE, 0 }, { 0, 0, 0 }, { 0, CONTROL_TYPES, 0 },
		{ 0, CONTROL_STATE, 1 },
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		err_clear(&e);
		put_header(p->a, bad[i].length, bad[i].type, bad[i].zero);
		assert_null(control_expect(p->b, 1000, CONTROL_STATE, &e));
		assert_int_equal(e.kind, ERR_PROTOCOL);
	}
}

static void a_malformed_message_is_refused(void **state)
{
	struct pair *p = *state;
	struct err e = { 0 };

	put_header(p->a, 4, CONTROL_STATE, 0);
	assert_int_equal(write_full(p->a, "\xff\xff\xff\xff", 4), 0);
	assert_null(control_expect(p->b, 1000, CONTROL_STATE, &e));
	assert_int_equal(e.kind, ERR_PROTOCOL);
	put_header(p->a, 0, CONTROL_STATE, 0); /* the required field is missing */
	assert_null(control_expect(p->b, 1000, CONTROL_STATE, &e));
	assert_int_equal(e.kind, ERR_PROTOCOL);
}

static long peak_kib(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_maxrss;
}

static void announced_bytes_cost_nothing_until_they_come(void **state)
{
	struct pair *p = *state;
	struct err e = { 0 };
	long before = peak_kib();

	put_header(p->a, CONTROL_MAX, CONTROL_STATE, 0);
	assert_null(control_expect(p->b, 20, CONTROL_STATE, &e));
	assert_int_equal(e.kind, ERR_TIMEOUT);
	assert_true(peak_kib() - before < 8 * 1024);
}

struct feed { int fd; const uint8_t *buf; size_t len; };

static void *feeder(void *arg)
{
	const struct feed *f = arg;

	write_full(f->fd, f->buf, f->len);
	return NULL;
}

static ProtobufCMessage *through(struct pair *p, const uint8_t *buf, size_t len, struct err *e)
{
	struct feed f = { p->a, buf, len };
	ProtobufCMessage *msg;
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, feeder, &f), 0);
	msg = control_expect(p->b, 120000, CONTROL_STATE, e);
	pthread_join(t, NULL);
	return msg;
}

static void a_large_message_arrives_whole(void **state)
{
	struct pair *p = *state;
	Drayage__State s = DRAYAGE__STATE__INIT, *got;
	size_t len = 5000001, packed;
	uint8_t *data = malloc(len), *buf;
	struct err e = { 0 };

	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 31 >> 3);
	s.tree.data = data;
	s.tree.len = len;
	packed = protobuf_c_message_get_packed_size(&s.base);
	buf = malloc(CONTROL_HEADER_SIZE + packed);
	control_header_encode(&(struct control_header){ (uint32_t)packed, CONTROL_STATE }, buf);
	protobuf_c_message_pack(&s.base, buf + CONTROL_HEADER_SIZE);
	got = (Drayage__State *)through(p, buf, CONTROL_HEADER_SIZE + packed, &e);
	assert_non_null(got);
	assert_int_equal(got->tree.len, len);
	assert_memory_equal(got->tree.data, data, len);
	protobuf_c_message_free_unpacked(&got->base, NULL);
	free(data);
	free(buf);
}

/* Unknown fields of two bytes each unpack into some forty times their size. */
static void a_message_that_swells_is_refused(void **state)
{
	struct pair *p = *state;
	size_t len = 16 << 20;
	uint8_t *buf = malloc(CONTROL_HEADER_SIZE + len);
	struct err e = { 0 };

	control_header_encode(&(struct control_header){ (uint32_t)len, CONTROL_STATE }, buf);
	memcpy(buf + CONTROL_HEADER_SIZE, "\x0a\x00", 2);
	for (size_t i = 2; i < len; i += 2)
		memcpy(buf + CONTROL_HEADER_SIZE + i, "\x78\x01", 2);
	assert_null(through(p, buf, CONTROL_HEADER_SIZE + len, &e));
	assert_int_equal(e.kind, ERR_PROTOCOL);
	free(buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(messages_arrive_as_sent, setup, teardown),
		cmocka_unit_test(every_type_has_a_name_and_a_descriptor),
		cmocka_unit_test_setup_teardown(another_message_than_the_one_due_is_a_protocol_error, setup, teardown),
		cmocka_unit_test_setup_teardown(abort_becomes_an_error_of_its_kind, setup, teardown),
		cmocka_unit_test_setup_teardown(abort_of_an_unknown_kind_is_the_peers_error, setup, teardown),
		cmocka_unit_test_setup_teardown(silence_ends_at_the_deadline, setup, teardown),
		cmocka_unit_test_setup_teardown(a_cut_connection_is_the_peers_error, setup, teardown),
		cmocka_unit_test_setup_teardown(an_abort_is_heard_by_who_sends_too, setup, teardown),
		cmocka_unit_test_setup_teardown(headers_beyond_the_caps_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_malformed_message_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(announced_bytes_cost_nothing_until_they_come, setup, teardown),
		cmocka_unit_test_setup_teardown(a_large_message_arrives_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(a_message_that_swells_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
