/* SPDX-License-Identifier: Apache-2.0 */
/* verify.h - --verify: inside the freeze, compares the digest of every byte of memory at the source with the destination's.
 * Costs what reading the whole memory costs on both sides; the report says how much. */
#ifndef DRAY_MIGRATE_VERIFY_H
#define DRAY_MIGRATE_VERIFY_H

#include "migrate/conduct/source_priv.h"

/* ERR_MISMATCH names the first range that differs. */
int verify_memory(struct source *s);

#endif
