/* SPDX-License-Identifier: Apache-2.0 */
/* mirror.h - a destination made of plain memory: pages by address, to which rounds are applied as the protocol does, and which is
 * compared with the process it mirrors. A page that it does not hold is void: zero, or as the mapped file has it.
 * Threads: one. Lifetime: a zeroed mirror is valid; finish. Fails: aborts when out of memory. */
#ifndef DRAY_TESTS_MIRROR_H
#define DRAY_TESTS_MIRROR_H

#include <stdint.h>
#include <sys/types.h>

#include "migrate/mm/vma.h"
#include "proto/wire/runs.h"

struct mirror {
	void ***gib; /* [address / 1 GiB][page]; all NULL until used */
	uint64_t pages;
};
/* Forgets what lies outside the mappings that carry pages, then the ranges of reset. */
void mirror_layout(struct mirror *m, const struct vma_list *vmas, const struct run_list *reset);
/* Data is read from the process (mem: its /proc/PID/mem), which may run: a page that is there no more keeps its old contents. */
void mirror_apply(struct mirror *m, const struct run_list *runs, int mem);
/* What a page holds, by somebody else's word. */
void mirror_put(struct mirror *m, uint64_t addr, const void *page);
/* Every page of every mapping that carries pages, byte for byte; the process must stand still. Returns the pages that differ, and tells the
 * first of them on stderr where loud. */
uint64_t mirror_differences(const struct mirror *m, pid_t pid, const struct vma_list *vmas, int mem, bool loud);
void mirror_finish(struct mirror *m);

#endif
