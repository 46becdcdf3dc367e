/* SPDX-License-Identifier: Apache-2.0 */
/* codec.h - CRIU's image format as bytes: the table of types, the magics and the size before an entry. Pure: no I/O, no allocation.
 * Threads: any. Fails: negative errno. image.h is the same for files. */
#ifndef DRAY_IMAGE_CODEC_H
#define DRAY_IMAGE_CODEC_H

#include "proto/image/image.h"

/* Facts of the format (CRIU up to 4.2). */
#define IMAGE_MAGIC_COMMON 0x54564319u
#define IMAGE_MAGIC_SERVICE 0x55105940u

enum { IMAGE_HEAD_MAX = 8, IMAGE_SIZE_BYTES = 4 };

/* Writes the magics of a file; returns how many bytes they are. */
size_t image_head_encode(enum image_type type, uint8_t head[IMAGE_HEAD_MAX]);
/* How many bytes at the start are magics. -ENODATA: the file ends within them (an empty file does); -EBADMSG: not that type. */
int image_head_decode(enum image_type type, const void *data, size_t len);
/* The entry at the start of data: 1 with its body's length, the body IMAGE_SIZE_BYTES in. 0: len is too short, *body is set if its size
 * is known already, else 0. -EMSGSIZE: larger than IMAGE_ENTRY_MAX. */
int image_entry_decode(const void *data, size_t len, uint32_t *body);

#endif
