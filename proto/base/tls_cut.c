/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/tls_cut.h"

#include <stdint.h>

#include "proto/base/le.h"

size_t tls_cut_add(struct tls_cut *c, const void *bytes, size_t len)
{
	const char *from = bytes;
	size_t left = len;

	while (left > 0 && c->count < 2 * TLS_CUT_RECORDS) {
		size_t now = left < TLS_CUT_MAX ? left : TLS_CUT_MAX;
		unsigned char *head = c->head[c->count / 2];

		le32_put(head, (uint32_t)now);
		c->iov[c->count++] = (struct iovec){ head, TLS_CUT_HEAD };
		c->iov[c->count++] = (struct iovec){ (void *)(uintptr_t)from, now };
		from += now;
		left -= now;
	}
	return len - left;
}
