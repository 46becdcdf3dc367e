/* SPDX-License-Identifier: Apache-2.0 */
/* late.h - what travels on the connections of post-copy, after the process runs at the destination: pages that it was not given before.
 * Pure: no I/O, no allocation. All little-endian; the exchange is specified in docs/protocol.md.
 *
 *   want  (24 bytes), destination to source:  u64 address | u32 pages | u32 kind | u64 zero
 *   pages (24 bytes), source to destination:  u64 address | u32 pages | u32 kind | u64 checksum | pages x 4096 bytes if kind says so
 *
 * Threads: any. Fails: -EPROTO, permanent. */
#ifndef DRAY_WIRE_LATE_H
#define DRAY_WIRE_LATE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/wire/runs.h"

enum { LATE_HEADER_SIZE = 24, LATE_MAX_PAGES = 256 /* 1 MiB */, LATE_AROUND_PAGES = 16 /* what a fault brings along at most */ };

/* The two connections, by the index of their hello. A page that somebody waits for is never behind one that nobody asked for. */
enum late_connection { LATE_FAULTS = 0, LATE_PUSH = 1, LATE_CONNECTIONS };

enum late_kind {
	LATE_WANT = 1,  /* somebody waits for this page */
	LATE_ALL = 2,   /* every page is there: the source's copy is not needed any more. No address, no pages */
	LATE_DATA = 3,  /* contents follow */
	LATE_ZERO = 4,  /* a run of pages full of zeros; or it isn't mapped */
};

struct late_message {
	uint64_t addr;
	uint32_t pages;
	uint32_t kind;     /* enum late_kind */
	uint64_t checksum; /* of LATE_DATA: XXH3-64 of the contents, seeded with the address */
};

void late_encode(const struct late_message *m, unsigned char buf[LATE_HEADER_SIZE]);
/* from_source: which of the two directions it came in. 0, or -EPROTO. */
int late_decode(const unsigned char buf[LATE_HEADER_SIZE], bool from_source, struct late_message *m);
uint64_t late_checksum(uint64_t addr, const void *data, uint32_t pages);

#endif
