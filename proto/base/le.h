/* SPDX-License-Identifier: Apache-2.0 */
/* le.h - little-endian integers at any alignment. Pure; threads: any. */
#ifndef DRAY_BASE_LE_H
#define DRAY_BASE_LE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline void le16_put(void *p, uint16_t v) { v = htole16(v); memcpy(p, &v, sizeof(v)); }
static inline void le32_put(void *p, uint32_t v) { v = htole32(v); memcpy(p, &v, sizeof(v)); }
static inline void le64_put(void *p, uint64_t v) { v = htole64(v); memcpy(p, &v, sizeof(v)); }
static inline uint16_t le16_get(const void *p) { uint16_t v; memcpy(&v, p, sizeof(v)); return le16toh(v); }
static inline uint32_t le32_get(const void *p) { uint32_t v; memcpy(&v, p, sizeof(v)); return le32toh(v); }
static inline uint64_t le64_get(const void *p) { uint64_t v; memcpy(&v, p, sizeof(v)); return le64toh(v); }

#endif
