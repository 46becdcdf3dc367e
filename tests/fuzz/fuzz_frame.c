/* SPDX-License-Identifier: Apache-2.0 */
/* Frame decoding: header (48 bytes), run table, lz4 payload, as they follow each other in the input. What decodes must encode back to
 * the same bytes. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/wire/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct page_run run[FRAME_MAX_RUNS];
	static uint8_t back[FRAME_MAX_RUNS * FRAME_RUN_SIZE];
	static uint8_t raw[FRAME_MAX_PAGES * 4096];
	struct frame_header h;
	size_t table_len;

	if (size < FRAME_HEADER_SIZE || frame_header_decode(data, &h) < 0)
		return 0;
	frame_header_encode(&h, back);
	assert(memcmp(back, data, FRAME_HEADER_SIZE) == 0);
	data += FRAME_HEADER_SIZE;
	size -= FRAME_HEADER_SIZE;
	table_len = (size_t)h.runs * FRAME_RUN_SIZE;
	if (h.kind != FRAME_PAGES || size < table_len || frame_runs_decode(&h, data, run) < 0)
		return 0;
	frame_runs_encode(run, h.runs, back);
	assert(memcmp(back, data, table_len) == 0);
	data += table_len;
	size -= table_len;
	if (h.flags & FRAME_LZ4)
		(void)frame_lz4_decode(data, size < h.payload_len ? size : h.payload_len, raw, (size_t)h.data_pages * 4096);
	return 0;
}
