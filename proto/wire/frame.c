/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire/frame.h"

#include <assert.h>
#include <errno.h>
#include <lz4.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY /* a digest's state has a size */
#include <xxhash.h>
#include <xxh_x86dispatch.h> /* the library's, by the widest vectors that the processor has; ours would have to run on any */

#include "proto/base/le.h"

/* Offsets in the header; docs/protocol.md draws them. */
enum {
	AT_MAGIC = 0,
	AT_KIND = 4,
	AT_ZERO8 = 5,
	AT_FLAGS = 6,
	AT_MM = 8,
	AT_ROUND = 12,
	AT_RUNS = 16,
	AT_DATA_PAGES = 20,
	AT_PAYLOAD_LEN = 24,
	AT_ZERO32 = 28,
	AT_CHECKSUM = 32,
	AT_SEQUENCE = 40,
};
enum { BLOCK_HEADER_SIZE = FRAME_BLOCK_HEADER_SIZE, FLAGS_KNOWN = FRAME_LZ4 | FRAME_CHECKSUM };

static_assert(sizeof(XXH3_state_t) <= sizeof(struct frame_sum), "frame_sum holds a digest's state");
static_assert(AT_SEQUENCE + 8 == FRAME_HEADER_SIZE, "the header has no room left");
static_assert(FRAME_BLOCK_SIZE <= LZ4_MAX_INPUT_SIZE, "a block is one lz4 call");

void frame_header_encode(const struct frame_header *h, void *buf)
{
	uint8_t *p = buf;

	memset(p, 0, FRAME_HEADER_SIZE);
	le32_put(p + AT_MAGIC, FRAME_MAGIC);
	p[AT_KIND] = h->kind;
	le16_put(p + AT_FLAGS, h->flags);
	le32_put(p + AT_MM, h->mm);
	le32_put(p + AT_ROUND, h->round);
	le32_put(p + AT_RUNS, h->runs);
	le32_put(p + AT_DATA_PAGES, h->data_pages);
	le32_put(p + AT_PAYLOAD_LEN, h->payload_len);
	le64_put(p + AT_CHECKSUM, h->checksum);
	le64_put(p + AT_SEQUENCE, h->sequence);
}

static size_t block_count(size_t raw_len)
{
	return (raw_len + FRAME_BLOCK_SIZE - 1) / FRAME_BLOCK_SIZE;
}

/* The caps make every product below fit 32 bits. */
static int check_pages_frame(const struct frame_header *h)
{
	size_t raw_len;

	if (h->round == 0 || h->runs == 0 || h->runs > FRAME_MAX_RUNS || h->data_pages > FRAME_MAX_PAGES)
		return -EPROTO;
	if (!(h->flags & FRAME_CHECKSUM) && h->checksum != 0)
		return -EPROTO;
	raw_len = (size_t)h->data_pages << DRAY_PAGE_SHIFT;
	if (!(h->flags & FRAME_LZ4))
		return h->payload_len == raw_len ? 0 : -EPROTO;
	if (h->payload_len > frame_lz4_bound(raw_len) || h->payload_len < block_count(raw_len) * (BLOCK_HEADER_SIZE + 1))
		return -EPROTO;
	return 0;
}

static int check_bare_frame(const struct frame_header *h)
{
	if (h->flags || h->mm || h->runs || h->data_pages || h->payload_len || h->checksum)
		return -EPROTO;
	return h->round == 0 && h->kind != FRAME_END ? -EPROTO : 0;
}

int frame_header_decode(const void *buf, struct frame_header *h)
{
	const uint8_t *p = buf;

	if (le32_get(p + AT_MAGIC) != FRAME_MAGIC || p[AT_ZERO8] != 0 || le32_get(p + AT_ZERO32) != 0)
		return -EPROTO;
	*h = (struct frame_header){
		.kind = p[AT_KIND],
		.flags = le16_get(p + AT_FLAGS),
		.mm = le32_get(p + AT_MM),
		.round = le32_get(p + AT_ROUND),
		.runs = le32_get(p + AT_RUNS),
		.data_pages = le32_get(p + AT_DATA_PAGES),
		.payload_len = le32_get(p + AT_PAYLOAD_LEN),
		.checksum = le64_get(p + AT_CHECKSUM),
		.sequence = le64_get(p + AT_SEQUENCE),
	};
	if (h->flags & ~FLAGS_KNOWN)
		return -EPROTO;
	switch (h->kind) {
	case FRAME_PAGES:
		return check_pages_frame(h);
	case FRAME_ROUND_END:
	case FRAME_END:
		return check_bare_frame(h);
	default:
		return -EPROTO;
	}
}

void frame_runs_encode(const struct page_run *runs, uint32_t count, void *buf)
{
	uint8_t *p = buf;

	for (uint32_t i = 0; i < count; i++, p += FRAME_RUN_SIZE) {
		le64_put(p, runs[i].addr);
		le32_put(p + 8, runs[i].pages);
		le32_put(p + 12, runs[i].kind);
	}
}

static bool run_valid(const struct page_run *r)
{
	if (r->kind != RUN_DATA && r->kind != RUN_DROP)
		return false;
	if (r->pages == 0 || r->pages > (r->kind == RUN_DATA ? FRAME_MAX_PAGES : FRAME_MAX_DROP_PAGES))
		return false;
	if (r->addr & (DRAY_PAGE_SIZE - 1) || r->addr >= FRAME_SPACE_END)
		return false;
	return pages_to_bytes(r->pages) <= FRAME_SPACE_END - r->addr;
}

int frame_runs_decode(const struct frame_header *h, const void *buf, struct page_run *runs)
{
	const uint8_t *p = buf;
	uint64_t data_pages = 0;

	for (uint32_t i = 0; i < h->runs; i++, p += FRAME_RUN_SIZE) {
		runs[i] = (struct page_run){ .addr = le64_get(p), .pages = le32_get(p + 8), .kind = le32_get(p + 12) };
		if (!run_valid(&runs[i]))
			return -EPROTO;
		if (runs[i].kind == RUN_DATA)
			data_pages += runs[i].pages;
	}
	return data_pages == h->data_pages ? 0 : -EPROTO;
}

/* Two digests, the second seeded with the first: the payload need not lie behind the table in memory. */
uint64_t frame_checksum(const void *run_table, size_t table_len, const void *payload, size_t payload_len)
{
	return XXH3_64bits_withSeed(payload, payload_len, XXH3_64bits(run_table, table_len));
}

void frame_sum_begin(struct frame_sum *s, const void *run_table, size_t table_len)
{
	XXH3_state_t *x = (XXH3_state_t *)(void *)s->state;

	XXH3_INITSTATE(x);
	XXH3_64bits_reset_withSeed(x, XXH3_64bits(run_table, table_len));
}

void frame_sum_add(struct frame_sum *s, const void *piece, size_t len)
{
	XXH3_64bits_update((XXH3_state_t *)(void *)s->state, piece, len);
}

uint64_t frame_sum_end(const struct frame_sum *s)
{
	return XXH3_64bits_digest((const XXH3_state_t *)(const void *)s->state);
}

size_t frame_lz4_bound(size_t raw_len)
{
	return raw_len + block_count(raw_len) * BLOCK_HEADER_SIZE;
}

/* Given one byte less than the block has, lz4 gives up early on what doesn't shrink. */
static size_t encode_block(const uint8_t *raw, size_t len, int acceleration, uint8_t *dst)
{
	int n = LZ4_compress_fast((const char *)raw, (char *)dst + BLOCK_HEADER_SIZE, (int)len, (int)len - 1, acceleration);

	if (n > 0) {
		le32_put(dst, (uint32_t)n);
		return BLOCK_HEADER_SIZE + (size_t)n;
	}
	le32_put(dst, (uint32_t)len | FRAME_BLOCK_RAW);
	memcpy(dst + BLOCK_HEADER_SIZE, raw, len);
	return BLOCK_HEADER_SIZE + len;
}

size_t frame_lz4_encode(const void *raw, size_t raw_len, int acceleration, void *dst)
{
	const uint8_t *from = raw;
	uint8_t *to = dst;

	while (raw_len > 0) {
		size_t len = raw_len < FRAME_BLOCK_SIZE ? raw_len : FRAME_BLOCK_SIZE;

		to += encode_block(from, len, acceleration, to);
		from += len;
		raw_len -= len;
	}
	return (size_t)(to - (uint8_t *)dst);
}

int frame_block_stored(const void *block_header, size_t raw_len)
{
	uint32_t word = le32_get(block_header);
	size_t len = word & ~FRAME_BLOCK_RAW;

	if (word & FRAME_BLOCK_RAW ? len != raw_len : len == 0 || len >= raw_len)
		return -EPROTO;
	return len <= FRAME_BLOCK_SIZE ? (int)len : -EPROTO;
}

static int decode_block(const uint8_t *stored, uint32_t word, uint8_t *raw, size_t len)
{
	size_t stored_len = word & ~FRAME_BLOCK_RAW;

	if (word & FRAME_BLOCK_RAW) {
		memcpy(raw, stored, len);
		return 0;
	}
	return LZ4_decompress_safe((const char *)stored, (char *)raw, (int)stored_len, (int)len) == (int)len ? 0 : -EPROTO;
}

int frame_lz4_decode(const void *payload, size_t payload_len, void *raw, size_t raw_len)
{
	const uint8_t *from = payload;
	uint8_t *to = raw;

	while (raw_len > 0) {
		size_t len = raw_len < FRAME_BLOCK_SIZE ? raw_len : FRAME_BLOCK_SIZE;
		size_t stored;
		int rc;

		if (payload_len < BLOCK_HEADER_SIZE)
			return -EPROTO;
		rc = frame_block_stored(from, len);
		if (rc < 0)
			return -EPROTO;
		stored = (size_t)rc;
		if (stored > payload_len - BLOCK_HEADER_SIZE || decode_block(from + BLOCK_HEADER_SIZE, le32_get(from), to, len) < 0)
			return -EPROTO;
		from += BLOCK_HEADER_SIZE + stored;
		payload_len -= BLOCK_HEADER_SIZE + stored;
		to += len;
		raw_len -= len;
	}
	return payload_len == 0 ? 0 : -EPROTO;
}
