/* SPDX-License-Identifier: Apache-2.0 */
/* place.h - the staged address space of a process that is being rebuilt, inside that very process.
 *
 * Each mapping of the source is made here at its address with one high bit flipped (stage address = address ^ place_bit), so that it never
 * collides with the mover's own mappings, and pages are received right into it. At the end a page table move (mremap) brings
 * each mapping to its true address: no byte is copied again. Last writer wins, in any round.
 *
 *   source address   0x00007f12_34560000          0x00005601_00000000
 *   stage address    0x00005f12_34560000          0x00007601_00000000     (bit 45; another if that collides)
 *
 * Staged mappings are readable and writable whatever their final protection; their final kind (anonymous, private file, shared
 * memory, shared file) is right from the start. Huge pages: where a whole 2 MiB is announced, memory is populated ahead so that it is one
 * huge page, without leaving a madvise flag on the mapping.
 *
 * Threads: place_apply() by the owner while no stream carries pages (between ROUND_READY and ... the rounds' barrier);
 * place_iovec(), place_drop() by any number of receiver threads. Lifetime: create/destroy.
 * Fails: control calls fill err; data calls return negative errno. */
#ifndef DRAY_PAGESERVER_PLACE_H
#define DRAY_PAGESERVER_PLACE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "control.pb-c.h"
#include "proto/base/err.h"
#include "proto/wire/runs.h"

struct place;

/* max_bytes: memory that pages may take, 0 no limit; held to within 4 MiB and a frame per stream. */
struct place *place_create(uint64_t max_bytes, struct err *e);
void place_destroy(struct place *p); /* unmaps what is staged */

/* Brings the staged mappings in line with the round's vmas, drops msg->reset, opens msg->files, takes note of msg->populate. A memory file
 * that is listed again takes the size given. [vdso], [vvar] and [vsyscall] are not staged. On failure nothing is staged any more. */
int place_apply(struct place *p, const Drayage__RoundBegin *msg, struct err *e);

/* The staged memory of a data run as one iovec entry. -EFAULT: not wholly inside staged, placeable memory (a peer that lies).
 * -EDQUOT: above max_bytes. */
int place_iovec(struct place *p, const struct page_run *run, struct iovec *iov);
/* What is staged in [start, end) of private anonymous memory grows downwards from now on, or no longer. The last thing before the memory moves: no round can
 * follow. Costs copying what is there, and nothing where it is so already. */
int place_set_growing(struct place *p, uint64_t start, uint64_t end, bool grows, struct err *e);
/* Makes the pages of a RUN_DROP run zero (anonymous) or as the file has them. 0 or -errno. */
int place_drop(struct place *p, const struct page_run *run);

uint64_t place_stage_bit(const struct place *p); /* the bit that was chosen; 0 before the first place_apply */
uint64_t place_resident_bytes(const struct place *p);
/* The open file (read-only or as mapped) of a MappedFile id; borrowed; -1 unknown. */
int place_file_fd(const struct place *p, uint32_t file_id);

#endif
