/* SPDX-License-Identifier: Apache-2.0 */
/* The codec gives back what it was given, and refuses what breaks a rule of docs/protocol.md. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/wire/frame.h"
#include "proto/wire/hello.h"
#include "proto/wire/stream_ack.h"
#include "proto/wire/manifest.h"

static struct frame_header pages_header(void)
{
	return (struct frame_header){ .kind = FRAME_PAGES, .mm = 3, .round = 2, .runs = 2, .data_pages = 4,
		.payload_len = 4 * 4096, .sequence = 77 };
}

static void header_survives_the_wire(void **state)
{
	struct frame_header in = pages_header(), out;
	uint8_t buf[FRAME_HEADER_SIZE];

	(void)state;
	in.flags = FRAME_CHECKSUM;
	in.checksum = 0x1122334455667788u;
	frame_header_encode(&in, buf);
	assert_int_equal(frame_header_decode(buf, &out), 0);
	assert_int_equal(out.kind, in.kind);
	assert_int_equal(out.flags, in.flags);
	assert_int_equal(out.mm, in.mm);
	assert_int_equal(out.round, in.round);
	assert_int_equal(out.runs, in.runs);
	assert_int_equal(out.data_pages, in.data_pages);
	assert_int_equal(out.payload_len, in.payload_len);
	assert_true(out.checksum == in.checksum);
	assert_true(out.sequence == in.sequence);
}

/* The bytes are the interface: this vector must never change. */
static void header_has_the_documented_bytes(void **state)
{
	static const uint8_t want[FRAME_HEADER_SIZE] = {
		'D', 'R', 'F', '1', 1, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0
	};
	struct frame_header in = pages_header();
	uint8_t buf[FRAME_HEADER_SIZE];

	(void)state;
	frame_header_encode(&in, buf);
	assert_memory_equal(buf, want, sizeof(want));
}

static int refused(const struct frame_header *h)
{
	uint8_t buf[FRAME_HEADER_SIZE];
	struct frame_header out;

	frame_header_encode(h, buf);
	return frame_header_decode(buf, &out);
}

#define REFUSES(field, value) do { \
	struct frame_header h_ = pages_header(); \
	h_.field = (value); \
	assert_int_equal(refused(&h_), -EPROTO); \
} while (0)

static void header_beyond_a_cap_is_refused(void **state)
{
	(void)state;
	REFUSES(kind, 0);
	REFUSES(kind, 4);
	REFUSES(flags, 4);
	REFUSES(flags, FRAME_LZ4 | 0x8000);
	REFUSES(round, 0);
	REFUSES(runs, 0);
	REFUSES(runs, FRAME_MAX_RUNS + 1);
	REFUSES(data_pages, 3);
	REFUSES(data_pages, FRAME_MAX_PAGES + 1);
	REFUSES(data_pages, UINT32_MAX);
	REFUSES(payload_len, 4 * 4096 - 1);
	REFUSES(payload_len, UINT32_MAX);
	REFUSES(checksum, 1);
	REFUSES(kind, FRAME_ROUND_END);
	REFUSES(kind, FRAME_END);
}

static void lz4_header_payload_is_bounded(void **state)
{
	struct frame_header h = pages_header();

	(void)state;
	h.flags = FRAME_LZ4;
	h.payload_len = 4 * 4096 + 4;
	assert_int_equal(refused(&h), 0);
	h.payload_len = 4 * 4096 + 5;
	assert_int_equal(refused(&h), -EPROTO);
	h.payload_len = 4;
	assert_int_equal(refused(&h), -EPROTO);
}

static void header_magic_and_reserved_bytes_are_checked(void **state)
{
	struct frame_header h = pages_header(), out;
	uint8_t buf[FRAME_HEADER_SIZE];
	static const unsigned at[] = { 0, 3, 5, 28, 31 };

	(void)state;
	for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		frame_header_encode(&h, buf);
		buf[at[i]] ^= 0x40;
		assert_int_equal(frame_header_decode(buf, &out), -EPROTO);
	}
}

static int runs_refused(uint64_t addr, uint32_t pages, uint32_t kind, uint32_t data_pages)
{
	struct frame_header h = { .kind = FRAME_PAGES, .runs = 1, .data_pages = data_pages };
	struct page_run in = { .addr = addr, .pages = pages, .kind = kind }, out;
	uint8_t buf[FRAME_RUN_SIZE];

	frame_runs_encode(&in, 1, buf);
	return frame_runs_decode(&h, buf, &out);
}

static void runs_are_checked_one_by_one(void **state)
{
	(void)state;
	assert_int_equal(runs_refused(0x1000, 1, RUN_DATA, 1), 0);
	assert_int_equal(runs_refused((1ull << 47) - 4096, 1, RUN_DATA, 1), 0);
	assert_int_equal(runs_refused(0x1000, FRAME_MAX_DROP_PAGES, RUN_DROP, 0), 0);
	assert_int_equal(runs_refused(0x1001, 1, RUN_DATA, 1), -EPROTO);
	assert_int_equal(runs_refused(1ull << 47, 1, RUN_DATA, 1), -EPROTO);
	assert_int_equal(runs_refused((1ull << 47) - 4096, 2, RUN_DATA, 2), -EPROTO);
	assert_int_equal(runs_refused(0xfffffffffffff000u, 2, RUN_DATA, 2), -EPROTO);
	assert_int_equal(runs_refused(0x1000, 0, RUN_DATA, 0), -EPROTO);
	assert_int_equal(runs_refused(0x1000, 1, 2, 0), -EPROTO);
	assert_int_equal(runs_refused(0x1000, FRAME_MAX_DROP_PAGES + 1, RUN_DROP, 0), -EPROTO);
	assert_int_equal(runs_refused(0x1000, 1, RUN_DATA, 2), -EPROTO);
	assert_int_equal(runs_refused(0x1000, 2, RUN_DROP, 2), -EPROTO);
}

static void run_table_survives_the_wire(void **state)
{
	struct page_run in[3] = { { 0x7000, 2, RUN_DATA }, { 0x1000, 9, RUN_DROP }, { 0x5000, 1, RUN_DATA } }, out[3];
	struct frame_header h = { .runs = 3, .data_pages = 3 };
	uint8_t buf[3 * FRAME_RUN_SIZE];

	(void)state;
	frame_runs_encode(in, 3, buf);
	assert_int_equal(frame_runs_decode(&h, buf, out), 0);
	assert_memory_equal(in, out, sizeof(in));
}

static void fill(uint8_t *p, size_t len, bool random)
{
	uint32_t x = 12345;

	for (size_t i = 0; i < len; i++) {
		x = x * 1664525u + 1013904223u;
		p[i] = random ? (uint8_t)(x >> 24) : (uint8_t)(i / 100);
	}
}

static void lz4_round_trip(size_t len, bool random)
{
	uint8_t *raw = malloc(len), *stored = malloc(frame_lz4_bound(len)), *back = malloc(len);
	size_t n;

	fill(raw, len, random);
	n = frame_lz4_encode(raw, len, 1, stored);
	assert_true(n <= frame_lz4_bound(len));
	if (random)
		assert_int_equal(n, frame_lz4_bound(len)); /* incompressible: raw blocks */
	else
		assert_true(n < len / 2);
	assert_int_equal(frame_lz4_decode(stored, n, back, len), 0);
	assert_memory_equal(raw, back, len);
	assert_int_equal(frame_lz4_decode(stored, n - 1, back, len), -EPROTO);
	assert_int_equal(frame_lz4_decode(stored, n, back, len - 4096), -EPROTO);
	free(raw);
	free(stored);
	free(back);
}

static void lz4_payload_comes_back_byte_for_byte(void **state)
{
	(void)state;
	lz4_round_trip(2 * 4096, false);
	lz4_round_trip(2 * 4096, true);
	lz4_round_trip(64 * 1024, false);
	lz4_round_trip(17 * 4096, true);
	lz4_round_trip(100 * 4096, false);
}

static void lz4_block_that_lies_is_refused(void **state)
{
	static uint8_t raw[8192], back[8192], stored[8200];

	(void)state;
	memset(stored, 0, sizeof(stored));
	stored[0] = 0xff;
	stored[1] = 0xff;
	assert_int_equal(frame_lz4_decode(stored, sizeof(stored), back, sizeof(back)), -EPROTO);
	fill(raw, sizeof(raw), true);
	assert_int_equal(frame_lz4_encode(raw, sizeof(raw), 1, stored), 8196);
	stored[0] = 0xff; /* raw, one byte less than the block */
	stored[1] = 0x1f;
	assert_int_equal(frame_lz4_decode(stored, 8196, back, sizeof(back)), -EPROTO);
	assert_int_equal(frame_lz4_decode(stored, 3, back, sizeof(back)), -EPROTO);
}

static void checksum_covers_table_and_payload(void **state)
{
	uint8_t table[32] = { 1 }, payload[4096] = { 2 };
	uint64_t sum = frame_checksum(table, sizeof(table), payload, sizeof(payload));

	(void)state;
	assert_true(sum == frame_checksum(table, sizeof(table), payload, sizeof(payload)));
	table[31] = 1;
	assert_true(sum != frame_checksum(table, sizeof(table), payload, sizeof(payload)));
	table[31] = 0;
	payload[4095] = 1;
	assert_true(sum != frame_checksum(table, sizeof(table), payload, sizeof(payload)));
}

static void checksum_in_pieces_is_the_same(void **state)
{
	static const size_t sizes[] = { 0, 5, 100, 300, 4096, 70000 };
	static uint8_t payload[70000];
	uint8_t table[32] = { 7 };
	struct frame_sum s;

	(void)state;
	fill(payload, sizeof(payload), true);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t half = sizes[i] / 3;

		frame_sum_begin(&s, table, sizeof(table));
		frame_sum_add(&s, payload, half);
		frame_sum_add(&s, payload + half, sizes[i] - half);
		assert_true(frame_sum_end(&s) == frame_checksum(table, sizeof(table), payload, sizes[i]));
	}
}

static struct hello stream_hello(void)
{
	return (struct hello){ .version = HELLO_VERSION, .role = HELLO_STREAM, .index = 15, .features = 5, .id = { { 1, 2, 3 } },
		.max_frame_pages = FRAME_MAX_PAGES, .max_control_len = 9 };
}

static void hello_survives_the_wire(void **state)
{
	struct hello in = stream_hello(), out;
	uint8_t buf[HELLO_SIZE];

	(void)state;
	hello_encode(&in, buf);
	assert_memory_equal(buf, "DRAY\r\n\x1a\n\x01\x00\x02\x00\x0f", 13);
	assert_int_equal(hello_decode(buf, &out), 0);
	assert_int_equal(out.role, in.role);
	assert_int_equal(out.index, in.index);
	assert_true(out.features == in.features);
	assert_memory_equal(&out.id, &in.id, sizeof(in.id));
	assert_int_equal(out.max_frame_pages, in.max_frame_pages);
	assert_int_equal(out.max_control_len, in.max_control_len);
}

static void a_token_travels_with_its_role_only(void **state)
{
	struct hello in = stream_hello(), out;
	struct stream_token other;
	uint8_t buf[HELLO_SIZE];

	(void)state;
	stream_token_new(&in.token);
	in.role = HELLO_AGAIN;
	hello_encode(&in, buf);
	assert_int_equal(hello_decode(buf, &out), 0);
	assert_true(stream_token_equal(&in.token, &out.token));
	for (unsigned i = 0; i < STREAM_TOKEN_SIZE; i++) {
		other = in.token;
		other.byte[i] ^= 0x80;
		assert_false(stream_token_equal(&in.token, &other));
	}
	buf[10] = HELLO_STREAM;
	assert_int_equal(hello_decode(buf, &out), 0);
	assert_true(stream_token_equal(&out.token, &(struct stream_token){ 0 }));
}

static void an_acknowledgement_has_the_documented_bytes(void **state)
{
	uint8_t buf[STREAM_ACK_SIZE];
	uint64_t next;
	uint32_t part;

	(void)state;
	stream_ack_encode_part(0x1122334455667788, 0xaabbccdd, buf);
	assert_memory_equal(buf, "DRA1\xdd\xcc\xbb\xaa\x88\x77\x66\x55\x44\x33\x22\x11", sizeof(buf));
	assert_int_equal(stream_ack_decode_part(buf, &next, &part), 0);
	assert_true(next == 0x1122334455667788 && part == 0xaabbccdd);
	stream_ack_encode(0x1122334455667788, buf);
	assert_memory_equal(buf, "DRA1\0\0\0\0\x88\x77\x66\x55\x44\x33\x22\x11", sizeof(buf));
	assert_int_equal(stream_ack_decode(buf, &next), 0);
	assert_true(next == 0x1122334455667788);
	for (unsigned i = 0; i < 8; i++) {
		buf[i] ^= 1;
		assert_int_equal(stream_ack_decode(buf, &next), -EPROTO);
		buf[i] ^= 1;
	}
}

static int hello_refused(struct hello h, int *version)
{
	uint8_t buf[HELLO_SIZE];
	struct hello out;
	int rc;

	hello_encode(&h, buf);
	rc = hello_decode(buf, &out);
	*version = out.version;
	return rc;
}

static void hello_of_another_version_is_told_from_noise(void **state)
{
	struct hello h = stream_hello(), out;
	uint8_t noise[HELLO_SIZE] = "GET / HTTP/1.1\r\nHost: localhost\r\n";
	int version;

	(void)state;
	h.version = 2;
	h.role = 99;
	h.status = HELLO_BAD_VERSION;
	assert_int_equal(hello_refused(h, &version), -EPROTONOSUPPORT);
	assert_int_equal(version, 2);
	hello_encode(&h, noise);
	assert_int_equal(hello_decode(noise, &out), -EPROTONOSUPPORT);
	assert_int_equal(out.status, HELLO_BAD_VERSION);
	memcpy(noise, "GET / HTTP/1.1\r\n", 16);
	assert_int_equal(hello_decode(noise, &out), -EPROTO);
	h = stream_hello();
	h.role = HELLO_IMAGES_MORE + 1;
	assert_int_equal(hello_refused(h, &version), -EPROTO);
	h = stream_hello();
	h.index = STREAMS_MAX;
	assert_int_equal(hello_refused(h, &version), -EPROTO);
	h = stream_hello();
	h.role = HELLO_CONTROL;
	h.index = 1;
	assert_int_equal(hello_refused(h, &version), -EPROTO);
	h = stream_hello();
	h.status = HELLO_REFUSED + 1;
	assert_int_equal(hello_refused(h, &version), -EPROTO);
}

static void migration_ids_differ_and_parse_back(void **state)
{
	struct migration_id a, b;
	char text[33];

	(void)state;
	migration_id_new(&a);
	migration_id_new(&b);
	assert_memory_not_equal(&a, &b, sizeof(a));
	migration_id_format(&a, text);
	assert_int_equal(strlen(text), 32);
	assert_true(migration_id_parse(text, &b));
	assert_memory_equal(&a, &b, sizeof(a));
	text[31] = '\0';
	assert_false(migration_id_parse(text, &b));
	assert_false(migration_id_parse("0123456789abcdef0123456789abcdef0", &b));
	assert_false(migration_id_parse("0123456789abcdef0123456789abcdeg", &b));
	assert_false(migration_id_parse("", &b));
}

static struct manifest of(uint32_t mm, uint32_t round, uint64_t addr, uint32_t pages, uint32_t kind)
{
	struct manifest m = { 0 };

	manifest_add(&m, mm, round, &(struct page_run){ .addr = addr, .pages = pages, .kind = kind });
	return m;
}

static void manifest_ignores_order_and_splitting(void **state)
{
	struct manifest whole = { 0 }, parts = { 0 }, part;

	(void)state;
	part = of(0, 1, 0x10000, 10, RUN_DATA);
	manifest_merge(&whole, &part);
	part = of(0, 2, 0x40000, 3, RUN_DATA);
	manifest_merge(&whole, &part);
	for (unsigned i = 3; i-- > 0;) {
		part = of(0, 2, 0x40000 + i * 4096, 1, RUN_DATA);
		manifest_merge(&parts, &part);
	}
	part = of(0, 1, 0x14000, 6, RUN_DATA);
	manifest_merge(&parts, &part);
	part = of(0, 1, 0x10000, 4, RUN_DATA);
	manifest_merge(&parts, &part);
	assert_true(manifest_equal(&whole, &parts));
	assert_int_equal(whole.pages, 13);
}

static void manifest_tells_every_difference(void **state)
{
	struct manifest a = of(0, 1, 0x10000, 2, RUN_DATA), b;

	(void)state;
	b = of(1, 1, 0x10000, 2, RUN_DATA);
	assert_false(manifest_equal(&a, &b));
	b = of(0, 2, 0x10000, 2, RUN_DATA);
	assert_false(manifest_equal(&a, &b));
	b = of(0, 1, 0x11000, 2, RUN_DATA);
	assert_false(manifest_equal(&a, &b));
	b = of(0, 1, 0x10000, 2, RUN_DROP);
	assert_false(manifest_equal(&a, &b));
	/* the same page twice is not two pages */
	b = of(0, 1, 0x10000, 1, RUN_DATA);
	manifest_merge(&b, &b);
	assert_int_equal(a.pages, b.pages);
	assert_false(manifest_equal(&a, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header_survives_the_wire),
		cmocka_unit_test(header_has_the_documented_bytes),
		cmocka_unit_test(header_beyond_a_cap_is_refused),
		cmocka_unit_test(lz4_header_payload_is_bounded),
		cmocka_unit_test(header_magic_and_reserved_bytes_are_checked),
		cmocka_unit_test(runs_are_checked_one_by_one),
		cmocka_unit_test(run_table_survives_the_wire),
		cmocka_unit_test(lz4_payload_comes_back_byte_for_byte),
		cmocka_unit_test(lz4_block_that_lies_is_refused),
		cmocka_unit_test(checksum_covers_table_and_payload),
		cmocka_unit_test(checksum_in_pieces_is_the_same),
		cmocka_unit_test(hello_survives_the_wire),
		cmocka_unit_test(a_token_travels_with_its_role_only),
		cmocka_unit_test(an_acknowledgement_has_the_documented_bytes),
		cmocka_unit_test(hello_of_another_version_is_told_from_noise),
		cmocka_unit_test(migration_ids_differ_and_parse_back),
		cmocka_unit_test(manifest_ignores_order_and_splitting),
		cmocka_unit_test(manifest_tells_every_difference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
