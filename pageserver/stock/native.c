/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/native.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/wire/runs.h"

struct native_frames {
	struct frame_sum sum;
	struct ps_input *in;
	uint64_t sequence;
	struct frame_header header;
	uint16_t page_flags;
	uint64_t dst;
	uint32_t next;      /* run */
	size_t raw_left;    /* of its pages, not out of the payload yet */
	size_t stored_left; /* of its payload */
	size_t block_at, block_len;
	struct page_run run[FRAME_MAX_RUNS];
	uint8_t table[FRAME_MAX_RUNS * FRAME_RUN_SIZE];
	uint8_t block[FRAME_BLOCK_SIZE];
};

static const uint8_t zeros[16 * 4096];

struct native_frames *native_frames_create(struct ps_input *in)
{
	struct native_frames *f = aligned_alloc(64, (sizeof(*f) + 63) & ~(size_t)63);

	if (f) {
		memset(f, 0, sizeof(*f));
		f->in = in;
	}
	return f;
}

void native_frames_destroy(struct native_frames *f)
{
	free(f);
}

/* What is behind a command may not be missing. */
static int take(struct native_frames *f, size_t len, const uint8_t **bytes)
{
	int rc = ps_input_take(f->in, len, bytes);

	return rc == -ENODATA ? -EPIPE : rc;
}

static int read_head(struct native_frames *f)
{
	const uint8_t *bytes;
	size_t len;
	int rc = take(f, FRAME_HEADER_SIZE, &bytes);

	if (rc == 0)
		rc = frame_header_decode(bytes, &f->header);
	if (rc < 0)
		return rc;
	if (f->header.kind != FRAME_PAGES)
		return -EPROTO;
	len = (size_t)f->header.runs * FRAME_RUN_SIZE;
	rc = take(f, len, &bytes);
	if (rc == 0)
		memcpy(f->table, bytes, len);
	return rc < 0 ? rc : frame_runs_decode(&f->header, f->table, f->run);
}

int native_frame_begin(struct native_frames *f, const struct ps_command *c)
{
	int rc = read_head(f);

	if (rc == 0)
		rc = ps_native_check(c, &f->header, f->sequence, f->run);
	if (rc < 0)
		return rc;
	f->page_flags = c->flags;
	f->dst = c->dst;
	f->next = 0;
	f->raw_left = pages_to_bytes(f->header.data_pages);
	f->stored_left = f->header.payload_len;
	f->block_at = f->block_len = 0;
	frame_sum_begin(&f->sum, f->table, (size_t)f->header.runs * FRAME_RUN_SIZE);
	return 0;
}

uint32_t native_frame_taken(const struct native_frames *f)
{
	return (uint32_t)(PS_HEADER_MAX + FRAME_HEADER_SIZE + f->header.runs * FRAME_RUN_SIZE + f->header.payload_len - f->stored_left);
}

void native_frame_resume(struct native_frames *f)
{
	f->next = 0;
}

bool native_frame_run(struct native_frames *f, struct ps_command *range)
{
	const struct page_run *r = &f->run[f->next];

	if (f->next == f->header.runs)
		return false;
	*range = (struct ps_command){ .code = PS_ADD_F, .flags = f->page_flags, .nr = r->pages, .vaddr = r->addr, .dst = f->dst };
	f->next++;
	return true;
}

static void sum_add(struct native_frames *f, const uint8_t *bytes, size_t len)
{
	f->stored_left -= len;
	if (f->header.flags & FRAME_CHECKSUM)
		frame_sum_add(&f->sum, bytes, len);
}

static int next_block(struct native_frames *f)
{
	size_t raw_len = f->raw_left < FRAME_BLOCK_SIZE ? f->raw_left : FRAME_BLOCK_SIZE, len;
	const uint8_t *bytes;
	int stored, rc;

	if (f->stored_left < FRAME_BLOCK_HEADER_SIZE)
		return -EPROTO;
	rc = ps_input_peek(f->in, FRAME_BLOCK_HEADER_SIZE, &bytes);
	if (rc < 0)
		return rc == -ENODATA ? -EPIPE : rc;
	stored = frame_block_stored(bytes, raw_len);
	if (stored < 0)
		return stored;
	len = FRAME_BLOCK_HEADER_SIZE + (size_t)stored;
	if (len > f->stored_left)
		return -EPROTO;
	rc = take(f, len, &bytes);
	if (rc < 0)
		return rc;
	sum_add(f, bytes, len);
	f->raw_left -= raw_len;
	f->block_at = 0;
	f->block_len = raw_len;
	return frame_lz4_decode(bytes, len, f->block, raw_len);
}

static ssize_t from_block(struct native_frames *f, uint64_t max, const uint8_t **pages)
{
	int rc = f->block_at == f->block_len ? next_block(f) : 0;
	size_t have = f->block_len - f->block_at;

	if (rc < 0)
		return rc;
	have = have < max ? have : (size_t)max;
	*pages = f->block + f->block_at;
	f->block_at += have;
	return (ssize_t)have;
}

static ssize_t from_raw(struct native_frames *f, uint64_t max, uint8_t *into, const uint8_t **pages)
{
	ssize_t n = ps_input_pages_into(f->in, max, into, pages);

	if (n > 0)
		sum_add(f, *pages, (size_t)n);
	return n;
}

ssize_t native_frame_pages(struct native_frames *f, uint64_t max, uint8_t *into, const uint8_t **pages)
{
	if (f->run[f->next - 1].kind == RUN_DATA)
		return f->header.flags & FRAME_LZ4 ? from_block(f, max, pages) : from_raw(f, max, into, pages);
	*pages = zeros;
	return max < sizeof(zeros) ? (ssize_t)max : (ssize_t)sizeof(zeros);
}

int native_frame_end(struct native_frames *f)
{
	if (f->stored_left)
		return -EPROTO;
	f->sequence++;
	return f->header.flags & FRAME_CHECKSUM && frame_sum_end(&f->sum) != f->header.checksum ? -EILSEQ : 0;
}
