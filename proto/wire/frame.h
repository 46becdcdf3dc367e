/* SPDX-License-Identifier: Apache-2.0 */
/* frame.h - encode and decode the frames of a stream connection. Pure: no I/O, no allocation, no globals.
 *
 * A stream starts with a hello (hello.h), then carries frames. Layout, all little-endian:
 *
 *   header (48 bytes) | run table: runs x 16 bytes {u64 addr, u32 pages, u32 kind} | payload
 *
 * payload of a raw frame: the pages of the RUN_DATA runs in order; of an lz4 frame: blocks of up to 64 KiB of those bytes, each
 * {u32 stored_len | LZ4_BLOCK_RAW, bytes}. RUN_DROP runs have no payload. Zero pages travel as runs of kind RUN_DROP in anonymous
 * memory (the sender must know that a dropped page reads as zero there), else as data.
 * The whole format is specified in docs/protocol.md.
 * Threads: any. Fails: negative errno; -EPROTO is permanent. */
#ifndef DRAY_WIRE_FRAME_H
#define DRAY_WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/wire/runs.h"

enum {
	FRAME_HEADER_SIZE = 48,
	FRAME_RUN_SIZE = 16,
	FRAME_MAX_RUNS = 1024,             /* = UIO_MAXIOV: one vmsplice or recvmsg takes them all */
	FRAME_MAX_PAGES = 1024,            /* data pages: 4 MiB raw */
	FRAME_BLOCK_SIZE = 64 * 1024,      /* uncompressed bytes of an lz4 block; the last may be shorter */
	FRAME_MAX_DROP_PAGES = 1 << 26,    /* a RUN_DROP run carries nothing, so it may be long: 256 GiB */
};
#define FRAME_MAGIC 0x31465244u /* "DRF1" */
#define FRAME_BLOCK_RAW 0x80000000u
#define FRAME_SPACE_END (1ull << 47) /* of addresses */

enum frame_kind {
	FRAME_PAGES = 1,
	FRAME_ROUND_END = 2, /* this stream has nothing more for the round; header only */
	FRAME_END = 3,       /* no frame follows; header only */
};
enum frame_flag {
	FRAME_LZ4 = 1,      /* payload is lz4 blocks */
	FRAME_CHECKSUM = 2, /* checksum holds XXH3-64 of the payload as it travels, seeded with XXH3-64 of the run table */
};

struct frame_header {
	uint8_t kind;  /* enum frame_kind */
	uint16_t flags;
	uint32_t mm;    /* address space within the migration, from 0 */
	uint32_t round; /* from 1 */
	uint32_t runs;  /* entries in the run table */
	uint32_t data_pages; /* sum over RUN_DATA runs */
	uint32_t payload_len; /* bytes behind the run table */
	uint64_t checksum;
	uint64_t sequence; /* of the frame within its stream, from 0 */
};

/* Writes FRAME_HEADER_SIZE bytes. */
void frame_header_encode(const struct frame_header *h, void *buf);
/* 0, or -EPROTO: bad magic, unknown kind or flag, a cap exceeded, lengths that disagree. */
int frame_header_decode(const void *buf, struct frame_header *h);
void frame_runs_encode(const struct page_run *runs, uint32_t count, void *buf);
/* Checks each run: aligned, below 2^47, not empty, not overflowing, sum of data pages equal to h->data_pages. 0 or -EPROTO. */
int frame_runs_decode(const struct frame_header *h, const void *buf, struct page_run *runs);
uint64_t frame_checksum(const void *run_table, size_t table_len, const void *payload, size_t payload_len);
/* The same for a payload that comes in pieces, in order. */
struct frame_sum {
	_Alignas(64) unsigned char state[640];
};
void frame_sum_begin(struct frame_sum *s, const void *run_table, size_t table_len);
void frame_sum_add(struct frame_sum *s, const void *piece, size_t len);
uint64_t frame_sum_end(const struct frame_sum *s);

/* lz4 payload <-> page bytes. Encode: dst must hold frame_lz4_bound(raw_len); returns the stored length. A block that does not
 * shrink is stored raw. Decode: exactly raw_len bytes must come out, else -EPROTO. */
size_t frame_lz4_bound(size_t raw_len);
size_t frame_lz4_encode(const void *raw, size_t raw_len, int acceleration, void *dst);
int frame_lz4_decode(const void *payload, size_t payload_len, void *raw, size_t raw_len);
/* One block at a time: the stored length that its first 4 bytes announce, -EPROTO if a block of raw_len can't have it. */
enum { FRAME_BLOCK_HEADER_SIZE = 4 };
int frame_block_stored(const void *block_header, size_t raw_len);

#endif
