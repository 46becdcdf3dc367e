/* SPDX-License-Identifier: Apache-2.0 */
/* An image file of any type, taken apart entry by entry. Input: one byte, the type; then the file. */
#include <assert.h>
#include <stdint.h>

#include "images.pb-c.h"
#include "pageserver/images/pagemap_table.h"
#include "proto/image/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the entries of the files that a restore reads first are; the rest is unpacked the same way. */
static const ProtobufCMessageDescriptor *entry_of(enum image_type t)
{
	static const ProtobufCMessageDescriptor *const known[IMAGE_TYPES] = {
		[IMAGE_INVENTORY] = &inventory_entry__descriptor, [IMAGE_PSTREE] = &pstree_entry__descriptor,
		[IMAGE_CORE] = &core_entry__descriptor, [IMAGE_MM] = &mm_entry__descriptor,
		[IMAGE_FS] = &fs_entry__descriptor, [IMAGE_FDINFO] = &fdinfo_entry__descriptor,
		[IMAGE_FILES] = &file_entry__descriptor,
	};

	return known[t];
}

static void take_message(enum image_type t, const uint8_t *body, size_t len)
{
	const ProtobufCMessageDescriptor *d = entry_of(t);
	ProtobufCMessage *m = d ? protobuf_c_message_unpack(d, NULL, len, body) : NULL;

	if (m)
		protobuf_c_message_free_unpacked(m, NULL);
}

/* Ranges ascend and are apart, and the pages file holds as many as they say. */
static void check_table(const struct pagemap_table *t)
{
	uint64_t end = 0, stored = 0;

	for (size_t i = 0; i < t->count; i++) {
		const struct pagemap_range *r = &t->v[i];

		assert(r->vaddr >= end && r->end > r->vaddr && r->vaddr % 4096 == 0 && r->end % 4096 == 0);
		assert(!(r->flags & PAGE_PRESENT) || r->first == stored);
		stored += r->flags & PAGE_PRESENT ? (r->end - r->vaddr) / 4096 : 0;
		end = r->end;
		assert(t->v[pagemap_table_find(t, r->vaddr)].vaddr == r->vaddr);
	}
	assert(stored == t->stored);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pagemap_table table = { 0 };
	enum image_type type;
	uint32_t body;
	int used;

	if (size < 1)
		return 0;
	type = data[0] % IMAGE_TYPES;
	used = image_head_decode(type, data + 1, size - 1);
	for (size_t at = 1 + (size_t)(used > 0 ? used : 0); used >= 0 && image_entry_decode(data + at, size - at, &body) == 1;
	     at += IMAGE_SIZE_BYTES + (size_t)body) {
		struct err e = { 0 };

		take_message(type, data + at + IMAGE_SIZE_BYTES, body);
		if (type == IMAGE_PAGEMAP && pagemap_table_take(&table, data + at + IMAGE_SIZE_BYTES, body, &e) < 0) {
			assert(err_is_set(&e));
			break;
		}
	}
	check_table(&table);
	pagemap_table_finish(&table);
	return 0;
}
