/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/images/xstate.h"

#include <cpuid.h>
#include <string.h>

enum { LEAF_XSTATE = 0xd, LEAF_FEATURES = 1 };

/* struct _fpstate without its end: what every area begins with. */
struct legacy {
	uint16_t cwd, swd, twd, fop;
	uint64_t rip, rdp;
	uint32_t mxcsr, mxcsr_mask, st[32], xmm[64], padding[24];
};
_Static_assert(sizeof(struct legacy) == XSTATE_LEGACY, "the processor's layout");

static uint64_t enabled_components(void)
{
	unsigned a, b, c, d;

	if (!__get_cpuid(LEAF_FEATURES, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	return (uint64_t)d << 32 | a;
}

void xstate_layout_host(struct xstate_layout *l)
{
	uint64_t enabled = enabled_components();
	unsigned a, b, c, d;

	*l = (struct xstate_layout){ .size = XSTATE_LEGACY };
	if (!enabled)
		return;
	l->size = XSTATE_LEGACY + XSTATE_HEADER;
	for (unsigned i = XSTATE_YMM; i < XSTATE_COMPONENTS; i++) {
		if (!(enabled >> i & 1) || !__get_cpuid_count(LEAF_XSTATE, i, &a, &b, &c, &d) || !a)
			continue;
		l->at[i] = (struct xstate_place){ .offset = b, .size = a };
		if (b + a > l->size)
			l->size = b + a;
	}
}

/* The parts of the message, in one table for both ways. bytes: what the message holds, the area's component may be longer. */
struct part {
	unsigned component;
	size_t bytes, word;
	size_t count, at;  /* offsets in the message: n_..., pointer */
	size_t room;       /* offset in struct xstate_words */
};
#define PART(number, field, words) \
	{ number, sizeof(((struct xstate_words *)0)->words), sizeof(((struct xstate_words *)0)->words[0]), offsetof(UserX86XsaveEntry, n_##field), \
	  offsetof(UserX86XsaveEntry, field), offsetof(struct xstate_words, words) }
static const struct part parts[] = {
	PART(XSTATE_YMM, ymmh_space, ymmh), PART(XSTATE_BNDREGS, bndreg_state, bndregs), PART(XSTATE_BNDCSR, bndcsr_state, bndcsr),
	PART(XSTATE_OPMASK, opmask_reg, opmask), PART(XSTATE_ZMM_HI256, zmm_upper, zmm_upper), PART(XSTATE_HI16_ZMM, hi16_zmm, hi16_zmm), PART(XSTATE_PKRU, pkru, pkru),
};
enum { PARTS = sizeof(parts) / sizeof(parts[0]) };

bool xstate_to_entry(const struct xstate_layout *l, const void *area, size_t len, struct xstate_words *room, UserX86XsaveEntry *out)
{
	if (len < XSTATE_LEGACY + XSTATE_HEADER)
		return false;
	user_x86_xsave_entry__init(out);
	memcpy(&out->xstate_bv, (const char *)area + XSTATE_LEGACY, sizeof(out->xstate_bv));
	for (size_t i = 0; i < PARTS; i++) {
		const struct part *p = &parts[i];
		const struct xstate_place *where = &l->at[p->component];
		char *words = (char *)room + p->room;

		if (where->size < p->bytes || where->offset + p->bytes > len)
			continue;
		memcpy(words, (const char *)area + where->offset, p->bytes);
		*(size_t *)((char *)out + p->count) = p->bytes / p->word;
		*(void **)((char *)out + p->at) = words;
	}
	return true;
}

static int legacy_from_entry(const UserX86FpregsEntry *fp, struct legacy *x, struct err *e)
{
	if (fp->n_st_space != 32 || fp->n_xmm_space != 64)
		return err_set(e, ERR_MISMATCH, 0, "floating point registers of %zu and %zu words", fp->n_st_space, fp->n_xmm_space);
	x->cwd = (uint16_t)fp->cwd, x->swd = (uint16_t)fp->swd, x->twd = (uint16_t)fp->twd, x->fop = (uint16_t)fp->fop;
	x->rip = fp->rip, x->rdp = fp->rdp, x->mxcsr = fp->mxcsr, x->mxcsr_mask = fp->mxcsr_mask;
	memcpy(x->st, fp->st_space, sizeof(x->st));
	memcpy(x->xmm, fp->xmm_space, sizeof(x->xmm));
	return 0;
}

static int part_from_entry(const struct xstate_layout *l, const struct part *p, const UserX86XsaveEntry *xs, char *area, struct err *e)
{
	size_t count = *(const size_t *)((const char *)xs + p->count);
	const void *words = *(void *const *)((const char *)xs + p->at);
	const struct xstate_place *where = &l->at[p->component];

	if (!(xs->xstate_bv >> p->component & 1))
		return 0;
	if (count * p->word != p->bytes)
		return err_set(e, ERR_MISMATCH, 0, "extended state %u of %zu words of %zu bytes, not %zu bytes", p->component, count, p->word, p->bytes);
	if (where->size < p->bytes)
		return err_set(e, ERR_MISMATCH, 0, "extended state %u is in use, and this processor has none", p->component);
	memcpy(area + where->offset, words, p->bytes);
	return 0;
}

int xstate_from_entry(const struct xstate_layout *l, const UserX86FpregsEntry *fp, void *area, struct err *e)
{
	uint64_t known = 1 << XSTATE_X87 | 1 << XSTATE_SSE, bv = known;
	struct legacy x = { 0 };

	memset(area, 0, l->size);
	if (legacy_from_entry(fp, &x, e) < 0)
		return -1;
	memcpy(area, &x, sizeof(x));
	if (l->size < XSTATE_LEGACY + XSTATE_HEADER)
		return 0;
	for (size_t i = 0; fp->xsave && i < PARTS; i++) {
		known |= 1ull << parts[i].component;
		if (part_from_entry(l, &parts[i], fp->xsave, area, e) < 0)
			return -1;
	}
	/* The legacy part is always there, so it always counts: a component that is not in the bitmap gets its first state. */
	if (fp->xsave)
		bv |= fp->xsave->xstate_bv & known;
	memcpy((char *)area + XSTATE_LEGACY, &bv, sizeof(bv));
	return 0;
}
