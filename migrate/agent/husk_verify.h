/* SPDX-License-Identifier: Apache-2.0 */
/* husk_verify.h - the destination's half of --verify: staged memory against the source's digests. In the husk; one thread. */
#ifndef DRAY_MIGRATE_HUSK_VERIFY_H
#define DRAY_MIGRATE_HUSK_VERIFY_H

#include "control.pb-c.h"
#include "pageserver/place.h"
#include "proto/base/err.h"

/* *bad: address of the first range that differs, or of the first page that holds something where the source has nothing; 0: all equal.
 * -1: ranges that a source can't have meant. */
int husk_verify(struct place *place, const Drayage__Verify *msg, uint64_t *bad, struct err *e);

#endif
