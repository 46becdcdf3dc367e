/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire/unpack.h"

#include <stdlib.h>

enum {
	FACTOR = 16,       /* unpacked messages are larger than packed ones: vma_entry some four times */
	FREE = 64 * 1024,  /* what a message of any size may take */
};

/* Memory from malloc, so that callers may free messages with the default allocator, up to a budget. */
struct budget {
	size_t left;
};

static void *budget_alloc(void *data, size_t size)
{
	struct budget *b = data;

	if (size > b->left)
		return NULL;
	b->left -= size;
	return malloc(size);
}

static void budget_free(void *data, void *p)
{
	(void)data;
	free(p);
}

ProtobufCMessage *unpack_capped(const ProtobufCMessageDescriptor *type, const void *packed, size_t len, size_t max)
{
	struct budget b = { .left = len > max / FACTOR ? max : len * FACTOR + FREE };
	ProtobufCAllocator allocator = { .alloc = budget_alloc, .free = budget_free, .allocator_data = &b };

	return protobuf_c_message_unpack(type, &allocator, len, packed);
}
