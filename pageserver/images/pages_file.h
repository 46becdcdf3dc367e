/* SPDX-License-Identifier: Apache-2.0 */
/* pages_file.h - filling a pages-N.img: from memory, and from a pipe or stream socket without a copy in user space.
 * Threads: a receiver belongs to one; the rest: any. Fails: negative errno where no err is taken. */
#ifndef DRAY_PAGESERVER_PAGES_FILE_H
#define DRAY_PAGESERVER_PAGES_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

/* For writing; anew: created or emptied. */
int pages_file_open(int dirfd, uint32_t pages_id, bool anew, struct err *e);
int pages_file_write(int fd, const void *data, uint64_t len, uint64_t offset);

/* Lifetime: init/finish; init takes nothing, the pipe is made for the first socket; finish accepts a zeroed one. */
struct pages_receiver { int pipe[2]; bool has_pipe; };
/* Exactly len bytes of source, a pipe or stream socket, never one more, whatever its O_NONBLOCK says. timeout_ms: between two bytes; -1 none.
 * ERR_PEER when it ends before, ERR_TIMEOUT; what went wrong with the file is ERR_SYSTEM. */
int pages_receive(struct pages_receiver *r, int fd, int source, uint64_t len, uint64_t offset, int timeout_ms, struct err *e);
void pages_receiver_finish(struct pages_receiver *r);

#endif
