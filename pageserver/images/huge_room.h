/* SPDX-License-Identifier: Apache-2.0 */
/* huge_room.h - huge pages for a file on tmpfs, ahead of whoever writes it from its end.
 *
 * tmpfs takes a page for each 4 KiB unless it was mounted with huge=, and that costs four times what the copy into it does. A mapping of a file can ask for
 * huge ones whatever the mount says (MADV_COLLAPSE). Linux 6.1 has it, but denies what it has done: no use there (docs/decisions/014-the-receiver-splices.md).
 * Files that stay small or seem to get none, larger ones up to as much as they have, HUGE_ROOM_AHEAD at most; what was not written is given back at the end. Elsewhere, on older
 * kernels, where the filesystem is nearly full and where it turns out slow nothing is done: small pages come as they are written.
 * Threads: one. Lifetime: a zeroed room is valid and does nothing; begin/end for each file, finish. */
#ifndef DRAY_PAGESERVER_HUGE_ROOM_H
#define DRAY_PAGESERVER_HUGE_ROOM_H

#include <stdbool.h>
#include <stdint.h>

enum { HUGE_ROOM_AHEAD = 4 << 20 };

struct huge_room {
	uint8_t *window; /* addresses, kept from file to file, where what was made last is mapped */
	uint64_t end;    /* of the file, once it is longer than what was written */
	uint64_t mapped; /* bytes before `end`, all of them huge pages */
	bool wanted;     /* for this file */
	bool known;      /* that it can have them */
	bool extended;   /* by us: it is to be cut */
};

/* A file, open for reading and writing wherever it is passed, whose next byte goes to `offset`. */
void huge_room_begin(struct huge_room *r, uint64_t offset);
/* Before `len` bytes are written to `offset`, and perhaps more: many are known to make the file none of the small ones. */
void huge_room_expect(struct huge_room *r, uint64_t offset, uint64_t len);
/* Before bytes up to `end` are written, 2 MiB at once at most. */
void huge_room_make(struct huge_room *r, int fd, uint64_t end);
/* Where in memory the file's bytes from `offset` on are, *len of them; NULL where there are no huge pages. Good until the next call of another function. */
uint8_t *huge_room_at(const struct huge_room *r, uint64_t offset, uint64_t *len);
/* The file ends at `size`. 0 or -errno. */
int huge_room_end(struct huge_room *r, int fd, uint64_t size);
void huge_room_finish(struct huge_room *r); /* forgets the file, frees the window */

#endif
