/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire/stream_ack.h"

#include <errno.h>

#include "proto/base/le.h"

enum { AT_MAGIC = 0, AT_ZERO = 4, AT_NEXT = 8 };

void stream_ack_encode(uint64_t next, uint8_t buf[STREAM_ACK_SIZE])
{
	le32_put(buf + AT_MAGIC, STREAM_ACK_MAGIC);
	le32_put(buf + AT_ZERO, 0);
	le64_put(buf + AT_NEXT, next);
}

int stream_ack_decode(const uint8_t buf[STREAM_ACK_SIZE], uint64_t *next)
{
	*next = le64_get(buf + AT_NEXT);
	return le32_get(buf + AT_MAGIC) == STREAM_ACK_MAGIC && le32_get(buf + AT_ZERO) == 0 ? 0 : -EPROTO;
}
