/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire/late.h"

#include <errno.h>
#include <xxhash.h>

#include "proto/base/le.h"

enum { AT_ADDR = 0, AT_PAGES = 8, AT_KIND = 12, AT_CHECKSUM = 16 };
#define ADDRESS_END (1ull << 47)

void late_encode(const struct late_message *m, unsigned char buf[LATE_HEADER_SIZE])
{
	le64_put(buf + AT_ADDR, m->addr);
	le32_put(buf + AT_PAGES, m->pages);
	le32_put(buf + AT_KIND, m->kind);
	le64_put(buf + AT_CHECKSUM, m->checksum);
}

static bool range_is_sane(const struct late_message *m, uint32_t max_pages)
{
	return m->pages >= 1 && m->pages <= max_pages && (m->addr & (DRAY_PAGE_SIZE - 1)) == 0 && m->addr < ADDRESS_END &&
	       pages_to_bytes(m->pages) <= ADDRESS_END - m->addr;
}

static bool is_sane(const struct late_message *m, bool from_source)
{
	switch ((enum late_kind)m->kind) {
	case LATE_WANT:
		return !from_source && m->checksum == 0 && range_is_sane(m, 1);
	case LATE_ALL:
		return !from_source && m->checksum == 0 && m->addr == 0 && m->pages == 0;
	case LATE_DATA:
		return from_source && range_is_sane(m, LATE_MAX_PAGES);
	case LATE_ZERO:
		return from_source && m->checksum == 0 && range_is_sane(m, UINT32_MAX);
	}
	return false;
}

int late_decode(const unsigned char buf[LATE_HEADER_SIZE], bool from_source, struct late_message *m)
{
	*m = (struct late_message){ .addr = le64_get(buf + AT_ADDR), .pages = le32_get(buf + AT_PAGES), .kind = le32_get(buf + AT_KIND),
				    .checksum = le64_get(buf + AT_CHECKSUM) };
	return is_sane(m, from_source) ? 0 : -EPROTO;
}

uint64_t late_checksum(uint64_t addr, const void *data, uint32_t pages)
{
	return XXH3_64bits_withSeed(data, pages_to_bytes(pages), addr);
}
