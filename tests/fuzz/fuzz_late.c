/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of post-copy, either way: what is understood is in range and encodes back to the same bytes. */
#include <assert.h>
#include <string.h>

#include "proto/wire/late.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (int from_source = 0; from_source < 2; from_source++) {
		unsigned char back[LATE_HEADER_SIZE];
		struct late_message m;

		if (size < LATE_HEADER_SIZE || late_decode(data, from_source, &m) < 0)
			continue;
		assert(m.addr % DRAY_PAGE_SIZE == 0 && m.addr + pages_to_bytes(m.pages) <= 1ull << 47);
		late_encode(&m, back);
		assert(memcmp(back, data, sizeof(back)) == 0);
	}
	return 0;
}
