/* SPDX-License-Identifier: Apache-2.0 */
/* stream_ack.h - what the destination says on a data stream, where both know HELLO_FEATURE_AGAIN: which of its frames are placed. Said when
 * a stream has carried a round to its end, and first of all on a connection that takes a cut one's place. The server of a numbered native session
 * (ps_native.h) says the latter, too, of its commands. Pure; layout in docs/protocol.md.
 * Threads: any. Fails: -EPROTO. */
#ifndef DRAY_WIRE_STREAM_ACK_H
#define DRAY_WIRE_STREAM_ACK_H

#include <stdint.h>

enum { STREAM_ACK_SIZE = 16 };
#define STREAM_ACK_MAGIC 0x31415244u /* "DRA1" */
#define STREAM_ACK_NEVER UINT64_MAX  /* in place of a number: the stream ended for an error, nothing on it will be taken any more */

void stream_ack_encode(uint64_t next, uint8_t buf[STREAM_ACK_SIZE]); /* frames numbered below next are placed */
int stream_ack_decode(const uint8_t buf[STREAM_ACK_SIZE], uint64_t *next);
/* With HELLO_FEATURE_PARTS: so many bytes of number next are there, too. */
void stream_ack_encode_part(uint64_t next, uint32_t part, uint8_t buf[STREAM_ACK_SIZE]);
int stream_ack_decode_part(const uint8_t buf[STREAM_ACK_SIZE], uint64_t *next, uint32_t *part);

#endif
