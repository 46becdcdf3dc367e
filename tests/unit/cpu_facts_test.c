/* SPDX-License-Identifier: Apache-2.0 */
/* What a processor lacks is named by what was asked to be compared, and only by that; the message carries the facts there and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "migrate/images/cpu_facts.h"

static struct cpu_facts here(void)
{
	struct cpu_facts f;

	cpu_facts_read(&f);
	return f;
}

static void a_processor_can_do_what_itself_can(void **state)
{
	struct cpu_facts f = here();
	struct err e = { 0 };

	(void)state;
	assert_int_equal(f.words, CPU_WORDS);
	assert_true(f.word[0] & 1); /* x87 */
	assert_true(f.name[0]);
	assert_int_equal(cpu_facts_compare(&f, &f, CPU_CAP_ALL, &e), 0);
}

static void a_missing_instruction_is_named(void **state)
{
	struct cpu_facts image = here(), f = image;
	struct err e = { 0 };

	(void)state;
	image.word[9] |= 1u << 16; /* avx512f */
	f.word[9] &= ~(1u << 16);
	assert_int_equal(cpu_facts_compare(&image, &f, CPU_CAP_INS, &e), -1);
	assert_int_equal(e.kind, ERR_MISMATCH);
	assert_non_null(strstr(e.text, " avx512f"));
	assert_int_equal(cpu_facts_compare(&image, &f, CPU_CAP_FPU, &e), 0);
	assert_int_equal(cpu_facts_compare(&f, &image, CPU_CAP_INS, &e), 0); /* more than was there is no harm */
}

static void all_missing_instructions_fit_the_message(void **state)
{
	struct cpu_facts image = here(), f = image;
	struct err e = { 0 };

	(void)state;
	memset(image.word, 0xff, sizeof(image.word));
	memset(f.word, 0, sizeof(f.word));
	assert_int_equal(cpu_facts_compare(&image, &f, CPU_CAP_INS, &e), -1);
	assert_non_null(strstr(e.text, " fpu"));
	assert_true(strlen(e.text) < sizeof(e.text));
}

static void any_differing_bit_is_found_when_all_are_compared(void **state)
{
	const struct cpu_facts f = here();
	struct err e = { 0 };

	(void)state;
	for (unsigned bit = 0; bit < CPU_WORDS * 32; bit++) {
		struct cpu_facts image = f;

		image.word[bit / 32] ^= 1u << bit % 32;
		assert_int_equal(cpu_facts_compare(&image, &f, CPU_CAP_CPU, &e), -1);
		assert_int_equal(cpu_facts_compare(&image, &f, CPU_CAP_FPU, &e), 0);
		assert_int_equal(cpu_facts_compare(&image, &f, 0, &e), 0);
	}
	assert_non_null(strstr(e.text, "capability word 18 (CPUID 7 edx)"));
}

static void register_state_must_fit(void **state)
{
	struct cpu_facts image = here(), f = image;
	struct err e = { 0 };

	(void)state;
	image.xfeatures = f.xfeatures | 1ull << 18;
	assert_int_equal(cpu_facts_compare(&image, &f, CPU_CAP_FPU, &e), -1);
	assert_non_null(strstr(e.text, "0x40000"));
	assert_int_equal(cpu_facts_compare(&image, &f, CPU_CAP_INS | CPU_CAP_CPU, &e), 0);
	image = f;
	image.xsave_size++;
	assert_int_equal(cpu_facts_compare(&image, &f, CPU_CAP_FPU, &e), -1);
	image.xsave_size -= 2;
	assert_int_equal(cpu_facts_compare(&image, &f, CPU_CAP_FPU, &e), 0);
}

static void the_message_carries_all(void **state)
{
	struct cpu_facts f = here(), back;
	struct err e = { 0 };
	struct cpu_message m;

	(void)state;
	cpu_facts_pack(&f, &m);
	assert_int_equal(cpu_facts_unpack(&m.entry, &back, &e), 0);
	assert_memory_equal(&f, &back, offsetof(struct cpu_facts, name));
	assert_string_equal(f.name, back.name);
}

static void old_images_have_fewer_words(void **state)
{
	struct cpu_facts f = here(), back;
	struct err e = { 0 };
	struct cpu_message m;

	(void)state;
	cpu_facts_pack(&f, &m);
	m.x86.capability_ver = 1;
	assert_int_equal(cpu_facts_unpack(&m.entry, &back, &e), -1);
	m.x86.n_capability = CPU_WORDS_V1;
	assert_int_equal(cpu_facts_unpack(&m.entry, &back, &e), 0);
	assert_int_equal(cpu_facts_compare(&back, &f, CPU_CAP_ALL, &e), 0);
}

static void what_is_no_such_message_is_refused(void **state)
{
	struct cpu_facts f = here(), back;
	struct err e = { 0 };
	struct cpu_message m;

	(void)state;
	cpu_facts_pack(&f, &m);
	m.x86.capability_ver = 3;
	assert_int_equal(cpu_facts_unpack(&m.entry, &back, &e), -1);
	assert_int_equal(e.kind, ERR_PROTOCOL);
	cpu_facts_pack(&f, &m);
	m.x86.n_capability = 0;
	assert_int_equal(cpu_facts_unpack(&m.entry, &back, &e), -1);
	cpu_facts_pack(&f, &m);
	m.entry.n_x86_entry = 0;
	assert_int_equal(cpu_facts_unpack(&m.entry, &back, &e), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_processor_can_do_what_itself_can),
		cmocka_unit_test(a_missing_instruction_is_named),
		cmocka_unit_test(all_missing_instructions_fit_the_message),
		cmocka_unit_test(any_differing_bit_is_found_when_all_are_compared),
		cmocka_unit_test(register_state_must_fit),
		cmocka_unit_test(the_message_carries_all),
		cmocka_unit_test(old_images_have_fewer_words),
		cmocka_unit_test(what_is_no_such_message_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
