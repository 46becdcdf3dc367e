/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire/stream_ack.h"

#include <errno.h>

#include "proto/base/le.h"

enum { AT_MAGIC = 0, AT_PART = 4, AT_NEXT = 8 };

void stream_ack_encode_part(uint64_t next, uint32_t part, uint8_t buf[STREAM_ACK_SIZE])
{
	le32_put(buf + AT_MAGIC, STREAM_ACK_MAGIC);
	le32_put(buf + AT_PART, part);
	le64_put(buf + AT_NEXT, next);
}

int stream_ack_decode_part(const uint8_t buf[STREAM_ACK_SIZE], uint64_t *next, uint32_t *part)
{
	*next = le64_get(buf + AT_NEXT);
	*part = le32_get(buf + AT_PART);
	return le32_get(buf + AT_MAGIC) == STREAM_ACK_MAGIC ? 0 : -EPROTO;
}

void stream_ack_encode(uint64_t next, uint8_t buf[STREAM_ACK_SIZE])
{
	stream_ack_encode_part(next, 0, buf);
}

int stream_ack_decode(const uint8_t buf[STREAM_ACK_SIZE], uint64_t *next)
{
	uint32_t part;

	return stream_ack_decode_part(buf, next, &part) < 0 || part ? -EPROTO : 0;
}
