/* SPDX-License-Identifier: Apache-2.0 */
/* ps_frames.h - pages of a native page-server session gathered into frames (proto/wire/ps_native.h), pages of zeros as such, compressed where it pays.
 * Scattered pages are copied together; long ranges are sent from where they lie. Holds some 2 MiB, whatever goes through it.
 * Threads: one. Pure but for the clock: what is to be sent is handed out. */
#ifndef DRAY_MIGRATE_PS_FRAMES_H
#define DRAY_MIGRATE_PS_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "migrate/send/sender.h"

enum { PS_FRAMES_DIRECT = 32 /* pages: from here on a range is not copied */, PS_FRAMES_IOV = 1 + 256 };

struct ps_frames;
/* features: those of the hello's answer. max_pages: of a frame, as the server has it. NULL: no memory. */
struct ps_frames *ps_frames_create(enum compress_mode mode, uint64_t features, uint32_t max_pages);
void ps_frames_destroy(struct ps_frames *f); /* accepts NULL */

/* Takes as many of nr pages as the frame has room for and returns how many; 0: it is to be sent first. Gathered pages are copied; direct ones (nr at
 * least PS_FRAMES_DIRECT) must stay until the frame was sent, which is to be before anything else is added. */
uint64_t ps_frames_add(struct ps_frames *f, uint64_t vaddr, uint64_t nr, uint16_t flags, const uint8_t *data);
/* The frame with its command, for one sendmsg; 0: there is none. Entries and bytes stay until ps_frames_sent, and may be changed. */
int ps_frames_take(struct ps_frames *f, uint64_t dst, struct iovec **iov);
void ps_frames_sent(struct ps_frames *f, uint64_t us); /* it took so long to hand them to the kernel */

#endif
