/* SPDX-License-Identifier: Apache-2.0 */
/* pagemap_stream.h - one pagemap-*.img, a range at a time: read along with a buffer of 64 KiB however long it is, for who needs its ranges once and in their
 * order. What it says is checked as it comes (pagemap_table.h).
 * Threads: a stream belongs to one. Lifetime: open, close; close accepts a zeroed one. Fails: err naming the file. */
#ifndef DRAY_PAGESERVER_PAGEMAP_STREAM_H
#define DRAY_PAGESERVER_PAGEMAP_STREAM_H

#include "pageserver/images/pagemap_table.h"

struct pagemap_stream {
	struct image_in *in;
	struct pagemap_table table; /* of the last range */
	char name[IMAGE_NAME_MAX];
};

/* Reads as far as the head: pages_id. ERR_GONE when there is none. */
int pagemap_stream_open(struct pagemap_stream *s, int dirfd, enum pagemap_kind kind, uint64_t id, struct err *e);
/* 1 with the next range, 0 at the end, -1. */
int pagemap_stream_next(struct pagemap_stream *s, struct pagemap_range *out, struct err *e);
static inline uint32_t pagemap_stream_pages_id(const struct pagemap_stream *s)
{
	return s->table.pages_id;
}
void pagemap_stream_close(struct pagemap_stream *s);

#endif
