/* SPDX-License-Identifier: Apache-2.0 */
/* bucket.h - a token bucket: bytes per second over all streams. Pure: the caller brings the time. It belongs to a lock. */
#ifndef DRAY_MIGRATE_BUCKET_H
#define DRAY_MIGRATE_BUCKET_H

#include <stdint.h>

struct bucket {
	uint64_t rate;   /* bytes per second; 0: unlimited */
	int64_t tokens;  /* bytes that may go now; negative: a debt that time pays off */
	uint64_t last_us;
};

void bucket_init(struct bucket *b, uint64_t rate, uint64_t now_us);
/* What may be saved up while nothing is sent: 20 ms' worth, one frame at least. */
int64_t bucket_burst(const struct bucket *b);
/* Takes bytes, always; returns how many microseconds to wait before sending them. */
uint64_t bucket_take(struct bucket *b, uint64_t bytes, uint64_t now_us);

#endif
