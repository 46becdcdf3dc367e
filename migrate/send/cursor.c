/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/send/cursor.h"

#include "proto/wire/frame.h"

static uint32_t cut_at(uint64_t addr, uint32_t pages, uint32_t room, uint32_t align)
{
	uint64_t first, end;

	if (pages <= room)
		return pages;
	first = bytes_to_pages(addr);
	end = (first + room) & ~(uint64_t)(align - 1);
	return end > first ? (uint32_t)(end - first) : room;
}

size_t cursor_take(struct cursor *c, uint32_t max_pages, uint32_t align, struct page_run *out, size_t max_runs, uint32_t *data_pages)
{
	size_t n = 0;

	*data_pages = 0;
	while (n < max_runs && c->at < c->count) {
		struct page_run r = c->run[c->at];

		r.addr += pages_to_bytes(c->into);
		r.pages -= c->into;
		if (r.kind == RUN_DATA) {
			if (*data_pages == max_pages)
				break;
			r.pages = cut_at(r.addr, r.pages, max_pages - *data_pages, align);
			*data_pages += r.pages;
		} else if (r.pages > FRAME_MAX_DROP_PAGES) {
			r.pages = FRAME_MAX_DROP_PAGES;
		}
		out[n++] = r;
		c->into += r.pages;
		if (c->into == c->run[c->at].pages) {
			c->at++;
			c->into = 0;
		} else if (r.kind == RUN_DATA) {
			break; /* cut: this is as much as goes */
		}
	}
	return n;
}
