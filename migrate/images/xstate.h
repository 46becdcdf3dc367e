/* SPDX-License-Identifier: Apache-2.0 */
/* xstate.h - an x86 extended state area (the NT_X86_XSTATE register set, standard format) and the messages that images carry it in.
 * Where a component lies in the area is the processor's matter: a layout says so, that of this machine by CPUID leaf 0xd.
 * Pure but for xstate_layout_host. Threads: any. */
#ifndef DRAY_MIGRATE_XSTATE_H
#define DRAY_MIGRATE_XSTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "images.pb-c.h"
#include "proto/base/err.h"

/* Numbers of the components, as in XCR0. */
enum xstate_component { XSTATE_X87 = 0, XSTATE_SSE = 1, XSTATE_YMM = 2, XSTATE_BNDREGS = 3, XSTATE_BNDCSR = 4, XSTATE_OPMASK = 5, XSTATE_ZMM_HI256 = 6, XSTATE_HI16_ZMM = 7, XSTATE_PKRU = 9,
	XSTATE_COMPONENTS = 19 };
enum { XSTATE_LEGACY = 512, XSTATE_HEADER = 64, XSTATE_MAX = 64 * 1024 };

struct xstate_layout {
	struct xstate_place { uint32_t offset, size; } at[XSTATE_COMPONENTS]; /* size 0: the processor has none */
	uint32_t size; /* of the whole area */
};
/* Of this machine, restricted to what the kernel enabled. A processor without XSAVE gives a layout of the legacy area alone. */
void xstate_layout_host(struct xstate_layout *l);

/* Room for what a user_x86_xsave_entry points to, so that nothing is allocated. */
struct xstate_words {
	uint32_t ymmh[64], pkru[2];
	uint64_t bndregs[8], bndcsr[8], opmask[8], zmm_upper[64], hi16_zmm[128];
};
/* What area says beyond the legacy part. out borrows room. False: the area has no header (legacy only); out is not to be used then. */
bool xstate_to_entry(const struct xstate_layout *l, const void *area, size_t len, struct xstate_words *room, UserX86XsaveEntry *out);

/* Builds an area of l->size bytes (at most XSTATE_MAX, zeroed by us) from the messages. A component that this processor lacks, in a state other than
 * its first, is ERR_MISMATCH; counts that are no register set are ERR_MISMATCH too. */
int xstate_from_entry(const struct xstate_layout *l, const UserX86FpregsEntry *fp, void *area, struct err *e);

#endif
