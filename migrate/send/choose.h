/* SPDX-License-Identifier: Apache-2.0 */
/* choose.h - whether compression pays on a stream, from what was measured on it. Pure. One object a stream, one thread.
 * (Which extractor: sender_choose_extract in sender.h, in the same file.) */
#ifndef DRAY_MIGRATE_CHOOSE_H
#define DRAY_MIGRATE_CHOOSE_H

#include <stdbool.h>
#include <stdint.h>

/* Speeds in bytes per second of one stream; ratio in percent, raw over stored: 300 is three to one. */
bool compress_pays(uint64_t link, uint64_t compress, unsigned ratio_percent);

/* AUTO: sends raw until it knows the link, then tries a few frames with lz4, then does what pays, and looks again after a while. */
struct compress_auto {
	enum { AUTO_MEASURE_LINK, AUTO_TRY, AUTO_ON, AUTO_OFF } state;
	uint64_t limit;               /* --max-bandwidth's share of this stream; 0 none */
	uint64_t link;                /* last measured */
	uint64_t sent, sent_us;       /* in AUTO_MEASURE_LINK */
	uint64_t raw, stored, spent_us; /* in AUTO_TRY */
	uint64_t left;                /* bytes until the next look */
};
void compress_auto_init(struct compress_auto *a, uint64_t limit);
bool compress_auto_wants(const struct compress_auto *a); /* the next frame: lz4? */
void compress_auto_sent(struct compress_auto *a, uint64_t bytes, uint64_t us); /* bytes took so long to hand to the kernel */
void compress_auto_compressed(struct compress_auto *a, uint64_t raw, uint64_t stored, uint64_t us);

#endif
