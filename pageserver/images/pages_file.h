/* SPDX-License-Identifier: Apache-2.0 */
/* pages_file.h - filling a pages-N.img from its end: from memory, and through a pipe without a copy in user space.
 * On tmpfs it is written into huge pages where there are any (huge_room.h).
 * Small pieces are gathered, so that scattered pages don't cost a system call each: what can't be written may show at a later call.
 * Threads: a writer belongs to one. Lifetime: init, then open/close for each file, finish; buffer and pipe are kept in between.
 * Fails: negative errno where no err is taken. */
#ifndef DRAY_PAGESERVER_PAGES_FILE_H
#define DRAY_PAGESERVER_PAGES_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pageserver/images/huge_room.h"
#include "pageserver/images/page_sink.h"
#include "proto/base/err.h"

struct pages_writer {
	int fd;          /* -1: no file is open */
	uint64_t offset; /* in the file, of what is gathered */
	size_t used;
	uint8_t *gathered;
	int pipe[2]; /* -1: not made yet */
	struct huge_room room;
};

int pages_writer_init(struct pages_writer *w, struct err *e);
void pages_writer_finish(struct pages_writer *w); /* closes without a word; accepts a zeroed one */

/* anew: the file is made or emptied; else its first `offset` bytes are kept. */
int pages_writer_open(struct pages_writer *w, int dirfd, uint32_t pages_id, bool anew, uint64_t offset, struct err *e);
/* Where the next bytes, of which *len are known to come, may be put, *len at most; pages_writer_put of them copies nothing then. NULL: they are best given
 * from elsewhere. Good until the next call. */
uint8_t *pages_writer_room(struct pages_writer *w, uint64_t *len);
int pages_writer_put(struct pages_writer *w, const void *data, uint64_t len);
int pages_writer_copy(struct pages_writer *w, int from, uint64_t offset, uint64_t len); /* out of another file; -EPIPE: it is shorter */
/* Exactly len bytes out of a source. 1: it was the source that failed, and e is what it says. */
int pages_writer_pull(struct pages_writer *w, struct page_source *from, uint64_t len, struct err *e);
int pages_writer_close(struct pages_writer *w, bool durable);
void pages_writer_drop(struct pages_writer *w); /* closes the file without a word; accepts that none is open */

#endif
