/* SPDX-License-Identifier: Apache-2.0 */
/* The page server's codec: the bytes that criu's releases send, told apart by their first header, given back as they came. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/wire/ps_command.h"

/* pid 0x1234, one page at 0x10000. The bytes are the interface: they must never change. */
static const struct vector {
	const char *name;
	struct ps_command c;
	const char *hex24, *hex32;
} vectors[] = {
	{ "PARENT", { .code = PS_PARENT, .dst = 0x123401 },
	  "050000000000000000000000000000000134120000000000",
	  "0500000000000000000000000000000000000000000000000134120000000000" },
	{ "OPEN2", { .code = PS_OPEN2, .dst = 0x123401 },
	  "040000000000000000000000000000000134120000000000",
	  "0400000000000000000000000000000000000000000000000134120000000000" },
	{ "present", { .code = PS_ADD_F, .flags = PS_PRESENT, .nr = 1, .vaddr = 0x10000, .dst = 0x123401 },
	  "060004000100000000000100000000000134120000000000",
	  "0600040000000000010000000000000000000100000000000134120000000000" },
	{ "in parent", { .code = PS_ADD_F, .flags = PS_IN_PARENT, .nr = 1, .vaddr = 0x10000, .dst = 0x123401 },
	  "060001000100000000000100000000000134120000000000",
	  "0600010000000000010000000000000000000100000000000134120000000000" },
	{ "GET", { .code = PS_GET, .nr = 1, .vaddr = 0x10000, .dst = 0x1234 },
	  "070000000100000000000100000000003412000000000000",
	  "0700000000000000010000000000000000000100000000003412000000000000" },
	{ "CLOSE", { .code = PS_CLOSE },
	  "231000000000000000000000000000000000000000000000",
	  "2310000000000000000000000000000000000000000000000000000000000000" },
	{ "ADD", { .code = PS_ADD, .flags = PS_PRESENT, .nr = 1, .vaddr = 0x10000, .dst = 0x12340a },
	  "010000000100000000000100000000000a34120000000000",
	  "0100000000000000010000000000000000000100000000000a34120000000000" },
	{ "HOLE", { .code = PS_HOLE, .flags = PS_IN_PARENT, .nr = 1, .vaddr = 0x10000, .dst = 0x12340a },
	  "020000000100000000000100000000000a34120000000000",
	  "0200000000000000010000000000000000000100000000000a34120000000000" },
};
enum { VECTORS = sizeof(vectors) / sizeof(vectors[0]) };

static void from_hex(const char *hex, uint8_t *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; hex[2 * i]; i++)
		out[i] = (uint8_t)((strchr(digits, hex[2 * i]) - digits) << 4 | (strchr(digits, hex[2 * i + 1]) - digits));
}

static void headers_have_the_bytes_of_criu(void **state)
{
	uint8_t want[PS_HEADER_MAX], have[PS_HEADER_MAX];

	(void)state;
	for (unsigned i = 0; i < VECTORS; i++) {
		assert_int_equal(strlen(vectors[i].hex24), 2 * PS_LAYOUT_24);
		assert_int_equal(strlen(vectors[i].hex32), 2 * PS_LAYOUT_32);
		from_hex(vectors[i].hex24, want);
		ps_encode(PS_LAYOUT_24, &vectors[i].c, have);
		assert_memory_equal(have, want, PS_LAYOUT_24);
		from_hex(vectors[i].hex32, want);
		ps_encode(PS_LAYOUT_32, &vectors[i].c, have);
		assert_memory_equal(have, want, PS_LAYOUT_32);
	}
}

static void decoded_as(enum ps_layout layout, const char *hex, const struct ps_command *want)
{
	struct ps_command c;
	uint8_t buf[PS_HEADER_MAX];

	from_hex(hex, buf);
	assert_int_equal(ps_decode(layout, buf, &c), 0);
	assert_int_equal(c.code, want->code);
	assert_int_equal(c.flags, want->flags);
	assert_true(c.nr == want->nr && c.vaddr == want->vaddr && c.dst == want->dst);
}

static void headers_are_understood(void **state)
{
	(void)state;
	for (unsigned i = 0; i < VECTORS; i++) {
		decoded_as(PS_LAYOUT_24, vectors[i].hex24, &vectors[i].c);
		decoded_as(PS_LAYOUT_32, vectors[i].hex32, &vectors[i].c);
	}
}

static void the_first_header_gives_the_layout_away(void **state)
{
	uint8_t buf[PS_HEADER_MAX];

	(void)state;
	for (unsigned i = 0; i < VECTORS; i++) {
		enum ps_layout none = vectors[i].c.code == PS_CLOSE ? PS_LAYOUT_UNKNOWN : PS_LAYOUT_24;

		from_hex(vectors[i].hex24, buf);
		assert_int_equal(ps_detect(buf), none);
		from_hex(vectors[i].hex32, buf);
		assert_int_equal(ps_detect(buf), none ? PS_LAYOUT_32 : PS_LAYOUT_UNKNOWN);
	}
}

/* Nothing says what a sender of 32 bytes fills them with. */
static void filling_may_be_anything(void **state)
{
	const struct ps_command get = { .code = PS_GET, .nr = 1, .vaddr = 0x10000, .dst = 0x1234 }, open = { .code = PS_OPEN2, .dst = 0x123401 };
	uint8_t buf[PS_HEADER_MAX];
	struct ps_command c;

	(void)state;
	for (unsigned nr = 1; nr <= 1024; nr++) {
		struct ps_command many = get;

		many.nr = nr;
		ps_encode(PS_LAYOUT_32, &many, buf);
		memset(buf + 4, 0x55, 4);
		assert_int_equal(ps_detect(buf), PS_LAYOUT_32);
		assert_int_equal(ps_decode(PS_LAYOUT_32, buf, &c), 0);
		assert_true(c.nr == nr && c.vaddr == get.vaddr && c.dst == get.dst);
	}
	ps_encode(PS_LAYOUT_32, &open, buf);
	memset(buf + 4, 0x55, 4);
	assert_int_equal(ps_detect(buf), PS_LAYOUT_32);
}

static void what_is_no_command_is_refused(void **state)
{
	static const uint16_t codes[] = { 0, 8, 0x23, 0x1022, 0x1025, 0x4d45, UINT16_MAX };
	uint8_t buf[PS_HEADER_MAX] = { 0 };
	struct ps_command c;

	(void)state;
	for (unsigned i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		buf[0] = (uint8_t)codes[i];
		buf[1] = (uint8_t)(codes[i] >> 8);
		assert_int_equal(ps_detect(buf), PS_LAYOUT_UNKNOWN);
		assert_int_equal(ps_decode(PS_LAYOUT_32, buf, &c), -EPROTO);
		assert_int_equal(c.code, codes[i]);
		assert_string_equal(ps_name(codes[i]), "?");
	}
}

static void only_a_bare_close_ends(void **state)
{
	struct ps_command c = { .code = PS_CLOSE };

	(void)state;
	assert_true(ps_ends(&c));
	c.flags = 1;
	assert_false(ps_ends(&c));
	c = (struct ps_command){ .code = PS_FORCE_CLOSE };
	assert_true(ps_ends(&c));
	c.code = PS_ADD_F;
	assert_false(ps_ends(&c));
}

static void ranges_are_sound_or_named(void **state)
{
	static const struct { uint16_t flags; uint64_t vaddr, nr; bool sound; } cases[] = {
		{ PS_PRESENT, 0, 1, true },
		{ PS_PRESENT | PS_LAZY, 0x7ffffffff000, 1, true },
		{ PS_IN_PARENT, 0x1000, 1u << 20, true },
		{ PS_LAZY, 0x1000, 1, true },
		{ PS_PRESENT, 0x7ffffffffffff000 - 0x1000, 1, true },
		{ PS_PRESENT, 0x7ffffffffffff000, 1, false },
		{ PS_PRESENT, 0x8000000000000000, 1, false },
		{ PS_PRESENT, 0xfffffffffffff000, 1, false },
		{ PS_PRESENT, 0x1000, 0, false },
		{ PS_PRESENT, 0x1001, 1, false },
		{ PS_PRESENT, 0x1000, UINT64_MAX, false },
		{ PS_PRESENT, 0x1000, UINT64_MAX >> 12, false },
		{ PS_PRESENT, 0, 1ull << 52, false },
		{ 0, 0x1000, 1, false },
		{ PS_PRESENT | PS_IN_PARENT, 0x1000, 1, false },
		{ 0x8004, 0x1000, 1, false },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ps_command c = { .code = PS_ADD_F, .flags = cases[i].flags, .vaddr = cases[i].vaddr, .nr = cases[i].nr };

		if (!ps_range_fault(&c) != cases[i].sound)
			fail_msg("case %u", i);
	}
}

static void types_of_all_releases_are_known(void **state)
{
	static const uint8_t task[] = { 1, 10, 11, 16, 17 }, shmem[] = { 2, 27, 28, 29, 32, 33, 34 };
	unsigned known = 0;
	enum ps_kind kind;
	uint64_t id;

	(void)state;
	for (unsigned i = 0; i < sizeof(task); i++) {
		assert_int_equal(ps_dst_decode(0x123400u | task[i], &kind, &id), 0);
		assert_true(kind == PS_TASK && id == 0x1234);
	}
	for (unsigned i = 0; i < sizeof(shmem); i++) {
		assert_int_equal(ps_dst_decode(0xffffffffffffff00u | shmem[i], &kind, &id), 0);
		assert_true(kind == PS_SHMEM && id == UINT64_MAX >> 8);
	}
	for (unsigned t = 0; t < 256; t++)
		known += ps_dst_decode(t, &kind, &id) == 0;
	assert_int_equal(known, sizeof(task) + sizeof(shmem));
	assert_true(ps_dst_encode(PS_SHMEM, 0x1234) == 0x123402);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_have_the_bytes_of_criu),
		cmocka_unit_test(headers_are_understood),
		cmocka_unit_test(the_first_header_gives_the_layout_away),
		cmocka_unit_test(filling_may_be_anything),
		cmocka_unit_test(what_is_no_command_is_refused),
		cmocka_unit_test(only_a_bare_close_ends),
		cmocka_unit_test(ranges_are_sound_or_named),
		cmocka_unit_test(types_of_all_releases_are_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
