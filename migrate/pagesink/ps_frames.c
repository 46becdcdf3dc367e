/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/pagesink/ps_frames.h"

#include <stdlib.h>
#include <string.h>

#include "migrate/extract/copy.h"
#include "migrate/send/compress.h"
#include "proto/wire/hello.h"
#include "proto/wire/ps_native.h"

enum { MAX_PAGES = PS_FRAMES_IOV - 1 /* what stays in a core's second-level cache while it is looked at, checked and sent */ };

struct ps_frames {
	struct frame_sum sum;
	enum compress_mode mode;
	uint64_t features;
	uint32_t max_pages;
	struct compress_auto compress;
	uint64_t sequence;
	uint64_t sent; /* bytes of what was handed out */
	/* the frame that is being made: */
	uint16_t flags;
	uint32_t pages, data_pages, runs;
	struct page_run run[MAX_PAGES];
	bool direct;
	size_t gathered; /* bytes in raw */
	int pieces;      /* of its payload, at iov[1] */
	struct iovec iov[PS_FRAMES_IOV];
	uint8_t head[PS_HEADER_MAX + FRAME_HEADER_SIZE + MAX_PAGES * FRAME_RUN_SIZE];
	uint8_t *raw, *packed;
};

struct ps_frames *ps_frames_create(enum compress_mode mode, uint64_t features, uint32_t max_pages)
{
	struct ps_frames *f = aligned_alloc(64, (sizeof(*f) + 63) & ~(size_t)63);

	if (!f)
		return NULL;
	memset(f, 0, sizeof(*f));
	f->features = features;
	f->mode = features & HELLO_FEATURE_LZ4 ? mode : COMPRESS_NONE;
	f->max_pages = max_pages < MAX_PAGES ? max_pages : MAX_PAGES;
	compress_auto_init(&f->compress, 0);
	f->raw = malloc(pages_to_bytes(MAX_PAGES));
	f->packed = malloc(frame_lz4_bound(pages_to_bytes(MAX_PAGES)));
	if (f->raw && f->packed && f->max_pages)
		return f;
	ps_frames_destroy(f);
	return NULL;
}

void ps_frames_destroy(struct ps_frames *f)
{
	if (!f)
		return;
	free(f->raw);
	free(f->packed);
	free(f);
}

static void add_run(struct ps_frames *f, uint64_t vaddr, enum run_kind kind)
{
	struct page_run *last = f->runs ? &f->run[f->runs - 1] : NULL;

	if (last && last->kind == (uint32_t)kind && run_end(last) == vaddr)
		last->pages++;
	else
		f->run[f->runs++] = (struct page_run){ .addr = vaddr, .pages = 1, .kind = kind };
	f->pages++;
}

static void add_data(struct ps_frames *f, const uint8_t *page)
{
	struct iovec *last = &f->iov[f->pieces];

	f->data_pages++;
	if (f->pieces && (uint8_t *)last->iov_base + last->iov_len == page)
		last->iov_len += DRAY_PAGE_SIZE;
	else
		f->iov[++f->pieces] = (struct iovec){ .iov_base = (void *)(uintptr_t)page, .iov_len = DRAY_PAGE_SIZE };
}

static const uint8_t *gather(struct ps_frames *f, const uint8_t *page)
{
	uint8_t *to = f->raw + f->gathered;

	memcpy(to, page, DRAY_PAGE_SIZE);
	f->gathered += DRAY_PAGE_SIZE;
	return to;
}

uint64_t ps_frames_add(struct ps_frames *f, uint64_t vaddr, uint64_t nr, uint16_t flags, const uint8_t *data)
{
	bool direct = nr >= PS_FRAMES_DIRECT;
	uint64_t taken = 0;

	if (f->pages && (f->flags != flags || direct || f->direct))
		return 0;
	f->flags = flags;
	for (; taken < nr && f->pages < f->max_pages; taken++, vaddr += DRAY_PAGE_SIZE, data += DRAY_PAGE_SIZE) {
		bool zero = page_is_zero(data);

		add_run(f, vaddr, zero ? RUN_DROP : RUN_DATA);
		if (!zero)
			add_data(f, direct ? data : gather(f, data));
	}
	f->direct = direct;
	return taken;
}

/* lz4 wants its pages in one piece. */
static const uint8_t *in_one_piece(struct ps_frames *f)
{
	uint8_t *to = f->raw;

	if (f->pieces == 1)
		return f->iov[1].iov_base;
	for (int i = 1; i <= f->pieces; i++) { /* direct ones: nothing was gathered */
		memcpy(to, f->iov[i].iov_base, f->iov[i].iov_len);
		to += f->iov[i].iov_len;
	}
	return f->raw;
}

/* Makes the payload what travels; its length. */
static size_t make_payload(struct ps_frames *f, uint16_t *flags)
{
	size_t len = pages_to_bytes(f->data_pages), out = len;
	const uint8_t *payload;

	if (!len || f->mode == COMPRESS_NONE || (f->mode == COMPRESS_AUTO && !compress_auto_wants(&f->compress)))
		return len;
	payload = compress_payload(f->mode, &f->compress, in_one_piece(f), len, f->packed, &out, flags);
	f->iov[1] = (struct iovec){ .iov_base = (void *)(uintptr_t)payload, .iov_len = out };
	f->pieces = 1;
	return out;
}

static uint64_t checksum(struct ps_frames *f, const uint8_t *table)
{
	frame_sum_begin(&f->sum, table, f->runs * (size_t)FRAME_RUN_SIZE);
	for (int i = 1; i <= f->pieces; i++)
		frame_sum_add(&f->sum, f->iov[i].iov_base, f->iov[i].iov_len);
	return frame_sum_end(&f->sum);
}

int ps_frames_take(struct ps_frames *f, uint64_t dst, struct iovec **iov)
{
	struct frame_header h = { .kind = FRAME_PAGES, .round = PS_NATIVE_ROUND, .runs = f->runs, .data_pages = f->data_pages };
	struct ps_command c;
	uint8_t *table = f->head + PS_HEADER_MAX + FRAME_HEADER_SIZE;
	size_t head = PS_HEADER_MAX + FRAME_HEADER_SIZE + f->runs * (size_t)FRAME_RUN_SIZE;

	if (!f->pages)
		return 0;
	c = ps_native_command(f->run, f->runs, f->flags, dst);
	ps_encode(PS_LAYOUT_32, &c, f->head);
	frame_runs_encode(f->run, f->runs, table);
	h.payload_len = (uint32_t)make_payload(f, &h.flags);
	h.sequence = f->sequence++;
	if (f->features & HELLO_FEATURE_CHECKSUM) {
		h.flags |= FRAME_CHECKSUM;
		h.checksum = checksum(f, table);
	}
	frame_header_encode(&h, f->head + PS_HEADER_MAX);
	f->iov[0] = (struct iovec){ .iov_base = f->head, .iov_len = head };
	f->sent = head + h.payload_len;
	*iov = f->iov;
	return f->pieces + 1;
}

void ps_frames_sent(struct ps_frames *f, uint64_t us)
{
	compress_auto_sent(&f->compress, f->sent, us);
	f->pages = f->data_pages = f->runs = 0;
	f->gathered = 0;
	f->pieces = 0;
	f->direct = false;
}
