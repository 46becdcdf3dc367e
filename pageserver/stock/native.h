/* SPDX-License-Identifier: Apache-2.0 */
/* native.h - the frames of a native session (proto/wire/ps_native.h), as pages that come one after the other.
 * Raw pages are received where they are wanted, or given where they were received; lz4 blocks go through a buffer of one block. A reader takes some 100 KiB, whatever its frames hold.
 * Threads: one. Fails: negative errno: as input.h, -EPROTO for what is no frame, -EILSEQ for a checksum that is another. */
#ifndef DRAY_PAGESERVER_NATIVE_H
#define DRAY_PAGESERVER_NATIVE_H

#include "pageserver/stock/input.h"
#include "proto/wire/ps_native.h"

struct native_frames;
struct native_frames *native_frames_create(struct ps_input *in); /* borrows in; NULL: no memory */
void native_frames_destroy(struct native_frames *f);             /* accepts NULL */

/* Reads a frame's header and runs behind the command c. A frame that was not brought to its end may come again. */
int native_frame_begin(struct native_frames *f, const struct ps_command *c);
/* Of one that was begun, and not brought to its end: how much of it was taken, its command included; and its runs once more, its pages going on where they were. */
uint32_t native_frame_taken(const struct native_frames *f);
void native_frame_resume(struct native_frames *f);
/* Its next run as the command of a range; false: there are no more. Its pages are to be taken, all of them, before the next. */
bool native_frame_run(struct native_frames *f, struct ps_command *range);
/* The run's next pages: at least one, at most max bytes, which are no more than it has left. Stay until the next call. Returns bytes.
 * into: NULL, or where raw ones are put, max bytes then (PS_INPUT_PIECE at most). */
ssize_t native_frame_pages(struct native_frames *f, uint64_t max, uint8_t *into, const uint8_t **pages);
/* When all was taken: whether the frame was sound. */
int native_frame_end(struct native_frames *f);

#endif
