/* SPDX-License-Identifier: Apache-2.0 */
/* late_waits.h - how long threads waited for pages that come late: from the kernel's word that one waits until the page is in its place.
 * Pure. By value; zeroed it is empty. Times in us, of one clock. Threads: one. Fails: never; of more than LATE_WAITS_OPEN waits at a time some are not counted. */
#ifndef DRAY_PAGESERVER_LATE_WAITS_H
#define DRAY_PAGESERVER_LATE_WAITS_H

#include <stddef.h>
#include <stdint.h>

enum { LATE_WAITS_OPEN = 256, LATE_WAITS_STEPS = 16 /* of a doubling: a time is told within 1/16 */, LATE_WAITS_BUCKETS = 28 * LATE_WAITS_STEPS };

struct late_waits {
	struct { uint64_t addr, since; } open[LATE_WAITS_OPEN];
	size_t open_count;
	uint32_t bucket[LATE_WAITS_BUCKETS];
	uint64_t count;
};

void late_waits_begin(struct late_waits *w, uint64_t addr, uint64_t now); /* one that waits already goes on */
void late_waits_placed(struct late_waits *w, uint64_t addr, uint64_t end, uint64_t now);
/* The time within which so many of a thousand waits ended, rounded down to a sixteenth of its doubling; 0 where there was none. */
uint64_t late_waits_us(const struct late_waits *w, unsigned permille);

#endif
