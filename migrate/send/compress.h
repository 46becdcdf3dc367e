/* SPDX-License-Identifier: Apache-2.0 */
/* compress.h - a frame's payload as it travels: lz4 blocks where that is wanted and gets anywhere, else the raw pages.
 * Threads: any; a compress_auto belongs to one stream. Can't fail. */
#ifndef DRAY_MIGRATE_COMPRESS_H
#define DRAY_MIGRATE_COMPRESS_H

#include <stddef.h>
#include <stdint.h>

#include "migrate/send/choose.h"
#include "migrate/send/sender.h"

/* raw: len bytes, whole pages. packed: frame_lz4_bound(len) bytes. Returns one of the two, its length in *out; adds FRAME_LZ4 to *flags with packed.
 * a learns what it took, where the mode is COMPRESS_AUTO. */
const uint8_t *compress_payload(enum compress_mode mode, struct compress_auto *a, const uint8_t *raw, size_t len, uint8_t *packed, size_t *out,
				uint16_t *flags);

#endif
