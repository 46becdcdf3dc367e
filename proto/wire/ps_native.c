/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire/ps_native.h"

#include <errno.h>

#include "proto/base/le.h"

enum { AT_VALUE = 0, AT_KIND = 4, AT_TEXT = 6 };

void ps_native_answer_encode(const struct ps_native_answer *a, void *buf)
{
	uint8_t *p = buf;

	le32_put(p + AT_VALUE, a->value);
	le16_put(p + AT_KIND, a->kind);
	le16_put(p + AT_TEXT, a->text);
}

int ps_native_answer_decode(const void *buf, struct ps_native_answer *a)
{
	const uint8_t *p = buf;

	*a = (struct ps_native_answer){ .value = le32_get(p + AT_VALUE), .kind = le16_get(p + AT_KIND), .text = le16_get(p + AT_TEXT) };
	if (a->kind == PS_NATIVE_ALIVE)
		return a->value || a->text ? -EPROTO : 0;
	if (a->kind == PS_NATIVE_TAKEN)
		return a->text ? -EPROTO : 0;
	if (a->kind >= ERR_KINDS || a->text >= sizeof(((struct err *)0)->text))
		return -EPROTO;
	return a->text && !a->kind ? -EPROTO : 0;
}

uint64_t ps_native_taken(uint64_t since, uint32_t low)
{
	uint32_t on = low - (uint32_t)since;

	return on <= INT32_MAX ? since + on : since;
}

/* The caps of a run make the sum fit. */
static uint64_t all_pages(const struct page_run *runs, uint32_t count)
{
	uint64_t pages = 0;

	for (uint32_t i = 0; i < count; i++)
		pages += runs[i].pages;
	return pages;
}

struct ps_command ps_native_command(const struct page_run *runs, uint32_t count, uint16_t flags, uint64_t dst)
{
	return (struct ps_command){ .code = PS_FRAME, .flags = flags, .nr = all_pages(runs, count), .vaddr = runs[0].addr, .dst = dst };
}

int ps_native_check(const struct ps_command *c, const struct frame_header *h, uint64_t sequence, const struct page_run *runs)
{
	if (h->kind != FRAME_PAGES || h->mm != 0 || h->round != PS_NATIVE_ROUND || h->sequence != sequence)
		return -EPROTO;
	if (c->nr > PS_FRAME_PAGES || c->nr != all_pages(runs, h->runs) || c->vaddr != runs[0].addr)
		return -EPROTO;
	return c->flags & PS_PRESENT ? 0 : -EPROTO;
}
