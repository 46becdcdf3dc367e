/* SPDX-License-Identifier: Apache-2.0 */
/* huge_blocks.h - a file that grows at its end on tmpfs gets its memory in blocks of 2 MiB, whatever the mount says of huge pages: to make 512 pages of 4 KiB
 * takes three times as long as to write them, and as long again to read them.
 *
 * The writer asks how much to write next, and says how far it is. A block's first page is written as it is; then the block is made huge, and the rest goes
 * into it. Only from 8 MiB on, so that what lies behind a file's end until it is closed is less than a quarter of it.
 * Other filesystems, kernels before 6.1, memory without a huge page left: nothing happens, and nothing fails.
 * Threads: by value inside a writer. */
#ifndef DRAY_PAGESERVER_HUGE_BLOCKS_H
#define DRAY_PAGESERVER_HUGE_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct huge_blocks {
	uint64_t next; /* offset of the block that is made next; UINT64_MAX: none will be */
	bool made;     /* some were: memory may lie behind the file's end */
};

void huge_blocks_begin(struct huge_blocks *h, int fd, uint64_t offset); /* fd: open for reading and writing; offset: where it goes on */
size_t huge_blocks_step(const struct huge_blocks *h, uint64_t offset, uint64_t len); /* the most to write at offset in one go; never 0 */
void huge_blocks_reached(struct huge_blocks *h, int fd, uint64_t offset); /* everything before it is written */
void huge_blocks_end(const struct huge_blocks *h, int fd, uint64_t size); /* frees what lies behind the file's end */

#endif
