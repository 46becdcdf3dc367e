/* SPDX-License-Identifier: Apache-2.0 */
/* tls_cut.h - for a TLS link whose user says where records begin (tls_relay.h: `cut`): bytes as records, each behind its length, for one sendmsg.
 * No I/O. Threads: one. Lifetime: by value, count 0 is an empty one. Fails: never. */
#ifndef DRAY_BASE_TLS_CUT_H
#define DRAY_BASE_TLS_CUT_H

#include <stddef.h>
#include <sys/uio.h>

#include "proto/base/tls_relay.h"

enum { TLS_CUT_RECORDS = 32 /* 512 KiB */ };

struct tls_cut {
	unsigned char head[TLS_CUT_RECORDS][TLS_CUT_HEAD];
	struct iovec iov[2 * TLS_CUT_RECORDS]; /* borrows the bytes */
	int count;                             /* of the iov */
};
/* A new record begins with these bytes; those of more than one record go on in others of TLS_CUT_MAX, which divides the 64 KiB that criu counts pages
 * in. Returns how many bytes there was room for. */
size_t tls_cut_add(struct tls_cut *c, const void *bytes, size_t len);

#endif
