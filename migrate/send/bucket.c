/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/send/bucket.h"

enum { SECOND_US = 1000000, BURST_MIN = 128 * 1024 };

void bucket_init(struct bucket *b, uint64_t rate, uint64_t now_us)
{
	*b = (struct bucket){ .rate = rate, .last_us = now_us };
}

int64_t bucket_burst(const struct bucket *b)
{
	uint64_t burst = b->rate / 50;

	return burst > BURST_MIN ? (int64_t)burst : BURST_MIN;
}

uint64_t bucket_take(struct bucket *b, uint64_t bytes, uint64_t now_us)
{
	uint64_t passed = now_us - b->last_us;

	if (b->rate == 0)
		return 0;
	/* Long pauses fill the bucket whatever their length: no product that could overflow. */
	if (passed > 10 * (uint64_t)SECOND_US)
		passed = 10 * (uint64_t)SECOND_US;
	b->tokens += (int64_t)((unsigned __int128)b->rate * passed / SECOND_US);
	b->last_us = now_us;
	if (b->tokens > bucket_burst(b))
		b->tokens = bucket_burst(b);
	b->tokens -= (int64_t)bytes;
	return b->tokens >= 0 ? 0 : (uint64_t)((unsigned __int128)(-b->tokens) * SECOND_US / b->rate) + 1;
}
