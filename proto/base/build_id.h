/* SPDX-License-Identifier: Apache-2.0 */
/* build_id.h - the GNU build id of an ELF file: tells whether two hosts have the same binary. The file's contents are not trusted.
 * Threads: any. No state, no allocation. */
#ifndef DRAY_BASE_BUILD_ID_H
#define DRAY_BASE_BUILD_ID_H

#include <stddef.h>
#include <stdint.h>

enum { BUILD_ID_MAX = 64 };

/* The number of bytes put into out, 0 when the file has none or is no 64-bit ELF file. fd: readable, its offset isn't moved. */
size_t build_id_read(int fd, uint8_t out[BUILD_ID_MAX]);

#endif
