/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/dump/dump_copy.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "migrate/extract/copy.h"
#include "proto/base/io.h"

enum { BATCHES = 4, BATCH_PAGES = 256, BATCH_ITEMS = 1024 };
#define BATCH_BYTES (BATCH_PAGES * DRAY_PAGE_SIZE)

/* What was read: items of the plan, or parts of them. */
struct batch {
	struct dump_item item[BATCH_ITEMS];
	size_t items;
	uint8_t *data;                      /* the ITEM_DATA items' pages, one after the other */
	uint64_t gone[BATCH_PAGES / 64];    /* one bit a data page */
};

struct dump_copier {
	uint8_t *memory; /* BATCHES + 1 times BATCH_BYTES; the last: what the parent has */
	struct batch batch[BATCHES];
	pthread_mutex_t lock;
	pthread_cond_t moved;
	unsigned filled, written; /* batches so far; filled - written are waiting */
	bool finished, failed;    /* the reader is done; the writer has given up */
	/* of one call */
	struct page_sink *sink;
	struct pagemap_reader *parent;
	struct dump_copied *out;
	struct err write_error;
};

struct dump_copier *dump_copier_create(struct err *e)
{
	struct dump_copier *c = calloc(1, sizeof(*c));
	size_t size = (BATCHES + 1) * BATCH_BYTES;

	if (c) {
		c->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		c->memory = c->memory == MAP_FAILED ? NULL : c->memory;
	}
	if (!c || !c->memory) {
		err_set(e, ERR_SYSTEM, ENOMEM, "buffers of %zu bytes", size);
		free(c);
		return NULL;
	}
	for (size_t i = 0; i < BATCHES; i++)
		c->batch[i].data = c->memory + i * BATCH_BYTES;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->moved, NULL);
	return c;
}

void dump_copier_destroy(struct dump_copier *c)
{
	if (!c)
		return;
	pthread_cond_destroy(&c->moved);
	pthread_mutex_destroy(&c->lock);
	munmap(c->memory, (BATCHES + 1) * BATCH_BYTES);
	free(c);
}

/* ---- writing ---- */

static uint32_t sink_flags(uint32_t bits)
{
	return PAGE_PRESENT | (bits & ITEM_LAZY ? PAGE_LAZY : 0);
}

static int put_pages(struct dump_copier *c, const struct dump_item *item, uint64_t from, uint64_t to, const uint8_t *data)
{
	if (from == to)
		return 0;
	c->out->pages_written += to - from;
	return c->sink->ops->pages(c->sink, item->addr + pages_to_bytes(from), to - from, sink_flags(item->bits), data + pages_to_bytes(from),
				   &c->write_error);
}

static int put_hole(struct dump_copier *c, const struct dump_item *item, uint64_t from, uint64_t to)
{
	bool left = item->bits & ITEM_LEFT;

	if (from == to)
		return 0;
	c->out->holes += left ? 0 : to - from;
	return c->sink->ops->hole(c->sink, item->addr + pages_to_bytes(from), to - from, left ? PAGE_LAZY : PAGE_IN_PARENT, &c->write_error);
}

enum fate { STORE, LEAVE, OMIT };

static enum fate fate_of(const struct batch *b, uint64_t page, const uint8_t *data, const uint8_t *old)
{
	if (b->gone[page / 64] >> (page % 64) & 1)
		return OMIT;
	return old && memcmp(data, old, DRAY_PAGE_SIZE) == 0 ? LEAVE : STORE;
}

/* One data item, whose first page is number `first` of the batch: in stretches of one fate each. */
static int write_data(struct dump_copier *c, const struct batch *b, const struct dump_item *item, uint64_t first)
{
	const uint8_t *data = b->data + pages_to_bytes(first);
	uint8_t *old = NULL;
	uint64_t from = 0;

	if (item->bits & ITEM_COMPARE) {
		old = c->memory + BATCHES * BATCH_BYTES;
		if (pagemap_read(c->parent, item->addr, item->pages, old, &c->write_error) < 0)
			return -1;
	}
	while (from < item->pages) {
		enum fate fate = fate_of(b, first + from, data + pages_to_bytes(from), old ? old + pages_to_bytes(from) : NULL);
		uint64_t to = from + 1;
		int rc = 0;

		while (to < item->pages && fate_of(b, first + to, data + pages_to_bytes(to), old ? old + pages_to_bytes(to) : NULL) == fate)
			to++;
		if (fate == STORE)
			rc = put_pages(c, item, from, to, data);
		else if (fate == LEAVE)
			rc = put_hole(c, item, from, to);
		if (rc < 0)
			return -1;
		from = to;
	}
	return 0;
}

static int write_batch(struct dump_copier *c, const struct batch *b)
{
	uint64_t first = 0;

	for (size_t i = 0; i < b->items; i++) {
		const struct dump_item *item = &b->item[i];
		int rc = item->bits & ITEM_DATA ? write_data(c, b, item, first) : put_hole(c, item, 0, item->pages);

		if (rc < 0)
			return -1;
		first += item->bits & ITEM_DATA ? item->pages : 0;
	}
	return 0;
}

static void *write_all(void *arg)
{
	struct dump_copier *c = arg;

	pthread_mutex_lock(&c->lock);
	for (;;) {
		uint64_t began;
		int rc;

		while (c->filled == c->written && !c->finished)
			pthread_cond_wait(&c->moved, &c->lock);
		if (c->filled == c->written)
			break;
		pthread_mutex_unlock(&c->lock);
		began = clock_us();
		rc = write_batch(c, &c->batch[c->written % BATCHES]);
		c->out->write_us += clock_us() - began;
		pthread_mutex_lock(&c->lock);
		c->written++;
		c->failed = rc < 0;
		pthread_cond_signal(&c->moved);
		if (rc < 0)
			break;
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* ---- reading ---- */

/* Where in the plan the next batch begins. */
struct place {
	size_t item;
	uint32_t page;
};

/* As much as a batch holds. runs: the data items, as the copy wants them. Returns how many there are. */
static size_t take_items(const struct dump_plan *plan, struct place *at, struct batch *b, struct page_run *runs)
{
	uint32_t room = BATCH_PAGES;
	size_t count = 0;

	b->items = 0;
	while (at->item < plan->count && b->items < BATCH_ITEMS) {
		const struct dump_item *item = &plan->item[at->item];
		struct dump_item *part = &b->item[b->items];
		uint32_t left = item->pages - at->page;

		if (item->bits & ITEM_DATA) {
			if (room == 0)
				break;
			left = left < room ? left : room;
			room -= left;
		}
		*part = (struct dump_item){ .addr = item->addr + pages_to_bytes(at->page), .pages = left, .bits = item->bits };
		if (item->bits & ITEM_DATA)
			runs[count++] = (struct page_run){ .addr = part->addr, .pages = left, .kind = RUN_DATA };
		b->items++;
		at->page += left;
		if (at->page == item->pages)
			*at = (struct place){ .item = at->item + 1 };
	}
	return count;
}

static int read_batch(const struct copy_source *src, const struct dump_plan *plan, struct place *at, struct batch *b, struct err *e)
{
	struct page_run runs[BATCH_ITEMS];
	size_t count = take_items(plan, at, b, runs);
	uint64_t bad = 0;
	int rc = copy_pages(src, runs, count, b->data, b->gone, &bad);

	if (rc == -ESRCH)
		return err_set(e, ERR_GONE, 0, "process %d ended", src->pid);
	return rc < 0 ? err_set(e, ERR_SYSTEM, -rc, "read the page at %llx of process %d", (unsigned long long)bad, src->pid) : 0;
}

/* A free batch; NULL when the writer has given up. */
static struct batch *next_free(struct dump_copier *c)
{
	struct batch *b;

	pthread_mutex_lock(&c->lock);
	while (c->filled - c->written == BATCHES && !c->failed)
		pthread_cond_wait(&c->moved, &c->lock);
	b = c->failed ? NULL : &c->batch[c->filled % BATCHES];
	pthread_mutex_unlock(&c->lock);
	return b;
}

static void pass_on(struct dump_copier *c, bool finished)
{
	pthread_mutex_lock(&c->lock);
	c->filled += !finished;
	c->finished = finished;
	pthread_cond_signal(&c->moved);
	pthread_mutex_unlock(&c->lock);
}

static int read_all(struct dump_copier *c, pid_t pid, const struct dump_plan *plan, struct err *e)
{
	struct copy_source src = COPY_SOURCE_NONE;
	struct place at = { 0 };
	struct batch *b;
	int rc = copy_source_open(&src, pid, e);

	while (rc == 0 && at.item < plan->count && (b = next_free(c))) {
		rc = read_batch(&src, plan, &at, b, e);
		if (rc == 0)
			pass_on(c, false);
	}
	copy_source_close(&src);
	return rc;
}

int dump_copy(struct dump_copier *c, pid_t pid, const struct dump_plan *plan, struct page_sink *sink, struct pagemap_reader *parent,
	      struct dump_copied *out, struct err *e)
{
	pthread_t writer;
	int rc;

	c->filled = c->written = 0;
	c->finished = c->failed = false;
	c->sink = sink;
	c->parent = parent;
	c->out = out;
	rc = pthread_create(&writer, NULL, write_all, c);
	if (rc)
		return err_set(e, ERR_SYSTEM, rc, "thread for writing pages");
	rc = read_all(c, pid, plan, e);
	pass_on(c, true);
	pthread_join(writer, NULL);
	if (rc == 0 && c->failed) {
		*e = c->write_error;
		rc = -1;
	}
	return rc;
}
