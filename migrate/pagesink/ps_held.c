/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/pagesink/ps_held.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Before each, in the ring. One without bytes says that the next is at its beginning. */
struct head {
	uint64_t number;
	uint32_t len, stream;
};

int ps_held_init(struct ps_held *h, size_t size)
{
	/* There before anything is stopped, and in few pages: it is run through all the time. */
	void *ring = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*h = (struct ps_held){ .size = size };
	if (ring == MAP_FAILED)
		return -ENOMEM;
	h->ring = ring;
	madvise(ring, size, MADV_HUGEPAGE);
	madvise(ring, size, MADV_POPULATE_WRITE);
	return 0;
}

void ps_held_finish(struct ps_held *h)
{
	if (h->ring)
		munmap(h->ring, h->size);
	*h = (struct ps_held){ 0 };
}

static struct head *head_at(const struct ps_held *h, uint64_t place)
{
	return (struct head *)(h->ring + place % h->size);
}

static size_t room_of(size_t len)
{
	return sizeof(struct head) + ((len + sizeof(struct head) - 1) & ~(sizeof(struct head) - 1));
}

uint8_t *ps_held_room(struct ps_held *h, size_t len)
{
	size_t need = room_of(len), to_end;

	if (h->from == h->to) /* the beginning is what is in the cache still */
		h->from = h->to = (h->to + h->size - 1) / h->size * h->size;
	to_end = h->size - h->to % h->size;
	if ((to_end < need ? to_end + need : need) > h->size - (h->to - h->from))
		return NULL;
	if (to_end < need) {
		*head_at(h, h->to) = (struct head){ .len = 0 };
		h->to += to_end;
	}
	return (uint8_t *)(head_at(h, h->to) + 1);
}

void ps_held_add(struct ps_held *h, size_t len, unsigned stream)
{
	*head_at(h, h->to) = (struct head){ .number = h->next++, .len = (uint32_t)len, .stream = stream };
	h->to += room_of(len);
}

bool ps_held_at(const struct ps_held *h, uint64_t place, struct ps_held_item *item)
{
	const struct head *head;

	if (place < h->from)
		place = h->from;
	if (place == h->to)
		return false;
	head = head_at(h, place);
	if (!head->len) {
		place += h->size - place % h->size;
		if (place == h->to)
			return false;
		head = head_at(h, place);
	}
	*item = (struct ps_held_item){ .number = head->number, .after = place + room_of(head->len), .bytes = (uint8_t *)(uintptr_t)(head + 1),
				       .len = head->len, .stream = head->stream };
	return true;
}

void ps_held_let_go(struct ps_held *h, uint64_t next)
{
	struct ps_held_item item;

	while (h->first < next && ps_held_at(h, h->from, &item)) {
		h->from = item.after;
		h->first = item.number + 1;
	}
}
