/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/send/compress.h"

#include "proto/base/io.h"
#include "proto/wire/frame.h"

/* Whether lz4 gets anywhere: one block out of the middle. Random data is found out here at 1/16 of the cost. */
static bool looks_compressible(const uint8_t *raw, size_t len, uint8_t *scratch)
{
	size_t block = len < FRAME_BLOCK_SIZE ? len : FRAME_BLOCK_SIZE;
	size_t at = (len - block) / 2 / DRAY_PAGE_SIZE * DRAY_PAGE_SIZE;

	return frame_lz4_encode(raw + at, block, 8, scratch) < block / 20 * 19;
}

const uint8_t *compress_payload(enum compress_mode mode, struct compress_auto *a, const uint8_t *raw, size_t len, uint8_t *packed, size_t *out,
				uint16_t *flags)
{
	bool automatic = mode == COMPRESS_AUTO;
	uint64_t start;

	*out = len;
	if (len == 0 || mode == COMPRESS_NONE || (automatic && !compress_auto_wants(a)))
		return raw;
	start = clock_us();
	if (looks_compressible(raw, len, packed)) {
		size_t stored = frame_lz4_encode(raw, len, 1, packed);

		if (stored < len) {
			*flags |= FRAME_LZ4;
			*out = stored;
		}
	}
	if (automatic)
		compress_auto_compressed(a, len, *out, clock_us() - start);
	return *flags & FRAME_LZ4 ? packed : raw;
}
