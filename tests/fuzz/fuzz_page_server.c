/* SPDX-License-Identifier: Apache-2.0 */
/* A page-server session's bytes: layout, then commands; what was understood must survive encoding, and a range that was passed must not overflow. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "proto/wire/ps_command.h"
#include "proto/wire/runs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* 0: the session ends here. */
static size_t one_command(enum ps_layout layout, const uint8_t *data, size_t size)
{
	struct ps_command c, again;
	uint8_t back[PS_HEADER_MAX];
	enum ps_kind kind;
	uint64_t id;

	if (size < layout || ps_decode(layout, data, &c) < 0)
		return 0;
	ps_encode(layout, &c, back);
	assert(ps_decode(layout, back, &again) == 0 && again.code == c.code && again.flags == c.flags);
	assert(again.nr == c.nr && again.vaddr == c.vaddr && again.dst == c.dst);
	if (ps_dst_decode(c.dst, &kind, &id) == 0 && (c.dst & 0xff) <= PS_SHMEM)
		assert(ps_dst_encode(kind, id) == c.dst);
	if (ps_ends(&c) || !ps_is_range(&c))
		return ps_ends(&c) ? 0 : layout;
	if (ps_range_fault(&c))
		return 0;
	assert(c.vaddr + pages_to_bytes(c.nr) > c.vaddr && c.vaddr + pages_to_bytes(c.nr) <= INT64_MAX);
	return layout;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum ps_layout layout = size < PS_HEADER_MIN ? PS_LAYOUT_UNKNOWN : ps_detect(data);
	size_t used;

	while (layout && (used = one_command(layout, data, size)) > 0) {
		data += used;
		size -= used;
	}
	return 0;
}
