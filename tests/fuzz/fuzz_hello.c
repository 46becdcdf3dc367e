/* SPDX-License-Identifier: Apache-2.0 */
/* Hello decoding; all that was understood must survive encoding. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "proto/wire/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hello h;
	uint8_t back[HELLO_SIZE];

	if (size < HELLO_SIZE || hello_decode(data, &h) < 0)
		return 0;
	hello_encode(&h, back);
	/* The rest is reserved but for some roles. */
	assert(memcmp(back, data, h.role == HELLO_AGAIN || h.role == HELLO_IMAGES || h.role == HELLO_IMAGES_MORE ? HELLO_SIZE : HELLO_SIZE - STREAM_TOKEN_SIZE) == 0);
	return 0;
}
