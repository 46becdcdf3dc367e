/* SPDX-License-Identifier: Apache-2.0 */
/* manifest.h - which pages were placed in which round, as a sum that both sides build as they go.
 * Each placement (mm, round, address, kind) is hashed to 128 bits and added (mod 2^128), so streams and the splitting of runs don't
 * matter, a run costs the same however long it is, and comparing at commit costs nothing however large the memory. It proves that every page that was sent for a
 * round was placed in that round, not what its bytes are: that is the frame checksum's part, and --verify's.
 * Threads: one manifest per thread, merged by its owner. No allocation. */
#ifndef DRAY_WIRE_MANIFEST_H
#define DRAY_WIRE_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/wire/runs.h"

struct manifest {
	uint64_t low, high;
	uint64_t pages; /* placements */
};

void manifest_add(struct manifest *m, uint32_t mm, uint32_t round, const struct page_run *run);
void manifest_merge(struct manifest *into, const struct manifest *from);
bool manifest_equal(const struct manifest *a, const struct manifest *b);

#endif
