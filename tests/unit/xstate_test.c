/* SPDX-License-Identifier: Apache-2.0 */
/* An extended state goes into CRIU's messages and comes back, wherever a processor lays its parts; what this one lacks is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "migrate/images/xstate.h"

/* As Intel's and as AMD's processors place them. */
static const struct xstate_layout intel = { .at = { [XSTATE_YMM] = { 576, 256 }, [XSTATE_OPMASK] = { 1088, 64 }, [XSTATE_ZMM_HI256] = { 1152, 512 },
	[XSTATE_HI16_ZMM] = { 1664, 1024 }, [XSTATE_PKRU] = { 2688, 8 } }, .size = 2696 };
static const struct xstate_layout amd = { .at = { [XSTATE_YMM] = { 576, 256 }, [XSTATE_OPMASK] = { 832, 64 }, [XSTATE_ZMM_HI256] = { 896, 512 },
	[XSTATE_HI16_ZMM] = { 1408, 1024 }, [XSTATE_PKRU] = { 2432, 8 } }, .size = 2440 };
static const struct xstate_layout old = { .at = { [XSTATE_YMM] = { 576, 256 } }, .size = 832 };

static const unsigned all[] = { XSTATE_YMM, XSTATE_OPMASK, XSTATE_ZMM_HI256, XSTATE_HI16_ZMM, XSTATE_PKRU };

static void fill(const struct xstate_layout *l, unsigned char *area)
{
	uint64_t bv = 3;

	memset(area, 0, l->size);
	for (unsigned i = 0; i < XSTATE_LEGACY - 96; i++) /* behind the registers the legacy area is nobody's */
		area[i] = (unsigned char)(i * 7 + 1);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		const struct xstate_place *p = &l->at[all[i]];

		for (unsigned k = 0; k < p->size; k++)
			area[p->offset + k] = (unsigned char)(all[i] * 31 + k);
		bv |= p->size ? 1ull << all[i] : 0;
	}
	memcpy(area + XSTATE_LEGACY, &bv, sizeof(bv));
}

struct legacy_words {
	uint16_t h[4];
	uint64_t ip, dp;
	uint32_t mxcsr, mask, st[32], xmm[64];
};

static UserX86FpregsEntry legacy_entry(const unsigned char *area, struct legacy_words *w)
{
	UserX86FpregsEntry fp = USER_X86_FPREGS_ENTRY__INIT;

	memcpy(w, area, sizeof(*w));
	fp.cwd = w->h[0], fp.swd = w->h[1], fp.twd = w->h[2], fp.fop = w->h[3];
	fp.rip = w->ip, fp.rdp = w->dp, fp.mxcsr = w->mxcsr, fp.mxcsr_mask = w->mask;
	fp.n_st_space = 32, fp.st_space = w->st;
	fp.n_xmm_space = 64, fp.xmm_space = w->xmm;
	return fp;
}

static int convert(const struct xstate_layout *from, const struct xstate_layout *to, void *out, struct err *e)
{
	unsigned char area[4096];
	struct legacy_words words;
	struct xstate_words room;
	UserX86XsaveEntry xs;
	UserX86FpregsEntry fp;

	fill(from, area);
	fp = legacy_entry(area, &words);
	assert_true(xstate_to_entry(from, area, from->size, &room, &xs));
	fp.xsave = &xs;
	return xstate_from_entry(to, &fp, out, e);
}

static void it_comes_back_as_it_was(void **state)
{
	unsigned char before[4096], after[4096];
	struct err e = { 0 };

	(void)state;
	fill(&intel, before);
	assert_int_equal(convert(&intel, &intel, after, &e), 0);
	assert_memory_equal(before, after, intel.size);
}

static void each_part_finds_its_place_on_another_processor(void **state)
{
	unsigned char before[4096], after[4096];
	struct err e = { 0 };

	(void)state;
	fill(&amd, before);
	assert_int_equal(convert(&intel, &amd, after, &e), 0);
	assert_memory_equal(before, after, amd.size);
}

static void what_this_processor_lacks_is_refused(void **state)
{
	unsigned char after[4096];
	struct err e = { 0 };

	(void)state;
	assert_int_equal(convert(&intel, &old, after, &e), -1);
	assert_int_equal(e.kind, ERR_MISMATCH);
	assert_int_equal(convert(&old, &intel, after, &e), 0);
}

static void the_messages_hold_as_many_words_as_stock_wants(void **state)
{
	unsigned char area[4096];
	struct xstate_words room;
	UserX86XsaveEntry xs;

	(void)state;
	fill(&intel, area);
	assert_true(xstate_to_entry(&intel, area, intel.size, &room, &xs));
	assert_int_equal(xs.n_ymmh_space, 64);
	assert_int_equal(xs.n_opmask_reg, 8);
	assert_int_equal(xs.n_zmm_upper, 64);
	assert_int_equal(xs.n_hi16_zmm, 128);
	assert_int_equal(xs.n_pkru, 2);
	assert_false(xstate_to_entry(&intel, area, XSTATE_LEGACY, &room, &xs));
}

static void counts_that_are_no_registers_are_refused(void **state)
{
	unsigned char area[4096], after[4096];
	struct legacy_words words;
	struct xstate_words room;
	UserX86XsaveEntry xs;
	UserX86FpregsEntry fp;
	struct err e = { 0 };

	(void)state;
	fill(&intel, area);
	fp = legacy_entry(area, &words);
	assert_true(xstate_to_entry(&intel, area, intel.size, &room, &xs));
	fp.xsave = &xs;
	xs.n_ymmh_space = 63;
	assert_int_equal(xstate_from_entry(&intel, &fp, after, &e), -1);
	xs.n_ymmh_space = 64;
	fp.n_xmm_space = 0;
	assert_int_equal(xstate_from_entry(&intel, &fp, after, &e), -1);
	assert_int_equal(e.kind, ERR_MISMATCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_comes_back_as_it_was),
		cmocka_unit_test(each_part_finds_its_place_on_another_processor),
		cmocka_unit_test(what_this_processor_lacks_is_refused),
		cmocka_unit_test(the_messages_hold_as_many_words_as_stock_wants),
		cmocka_unit_test(counts_that_are_no_registers_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
