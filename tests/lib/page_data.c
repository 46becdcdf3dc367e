/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/page_data.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096, POOL = 8 << 20 /* well past lz4's window, so that bodies cut from it don't find each other */ };

struct page_head {
	uint64_t index;
	uint32_t generation;
	uint32_t kind;
	uint64_t check;
	uint64_t body_seed;
};

struct page_data {
	enum page_data_kind kind;
	uint64_t seed;
	unsigned char *pool; /* POOL bytes */
};

bool page_data_parse(const char *name, enum page_data_kind *kind)
{
	static const char *const names[] = { "zero", "text", "random", "heap" };

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(name, names[i]) == 0) {
			*kind = (enum page_data_kind)i;
			return true;
		}
	}
	return false;
}

static size_t put_word(unsigned char *at, size_t room, uint64_t *rng)
{
	static const char syllable[16][4] = { "an", "be", "co", "der", "el", "for", "ing", "is", "lo", "ma", "not", "ra", "se", "the", "to", "un" };
	size_t n = 0;
	unsigned parts;

	parts = 1 + (unsigned)(rand_next(rng) % 3);
	for (unsigned i = 0; i < parts; i++) {
		const char *s = syllable[rand_next(rng) % 16];

		for (; *s && n < room; s++)
			at[n++] = (unsigned char)*s;
	}
	if (n < room)
		at[n++] = rand_next(rng) % 11 ? ' ' : '\n';
	return n;
}

/* One object of an interpreter: count, type, length, then fields that are mostly pointers into a narrow range. */
static size_t put_object(unsigned char *at, size_t room, uint64_t *rng)
{
	static const uint64_t type[4] = { 0x00005581e0a41c60, 0x00005581e0a42f20, 0x00005581e0a3b8e0, 0x00005581e0a47740 };
	uint64_t word[8] = { 1 + rand_next(rng) % 3, type[rand_next(rng) % 4] };
	size_t n = 3 + rand_next(rng) % 5;

	for (size_t i = 2; i < n; i++)
		word[i] = rand_next(rng) % 3 ? 0x00007f3a5c000000u + (rand_next(rng) % 4096) * 16 : 0;
	n *= sizeof(word[0]);
	if (n > room)
		n = room;
	memcpy(at, word, n);
	return n;
}

static void fill_pool(enum page_data_kind kind, uint64_t seed, unsigned char *pool, size_t len)
{
	uint64_t rng = seed, word;

	memset(pool, 0, len);
	for (size_t i = 0; i < len && kind != PAGE_ZERO;) {
		if (kind == PAGE_TEXT) {
			i += put_word(pool + i, len - i, &rng);
		} else if (kind == PAGE_HEAP) {
			i += put_object(pool + i, len - i, &rng);
		} else {
			word = rand_next(&rng);
			memcpy(pool + i, &word, sizeof(word));
			i += sizeof(word);
		}
	}
}

struct page_data *page_data_create(enum page_data_kind kind, uint64_t seed)
{
	struct page_data *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	*d = (struct page_data){ .kind = kind, .seed = seed, .pool = malloc(POOL) };
	if (!d->pool) {
		free(d);
		return NULL;
	}
	fill_pool(kind, seed, d->pool, POOL);
	return d;
}

void page_data_destroy(struct page_data *d)
{
	if (!d)
		return;
	free(d->pool);
	free(d);
}

static struct page_head head_of(const struct page_data *d, uint64_t index, uint32_t generation)
{
	uint64_t rng = d->seed ^ (index * 0x2545f4914f6cdd1du) ^ ((uint64_t)generation << 32);
	struct page_head h = { .index = index, .generation = generation, .kind = (uint32_t)d->kind };

	h.check = rand_next(&rng);
	h.body_seed = rand_next(&rng);
	return h;
}

static const unsigned char *body_of(const struct page_data *d, const struct page_head *h)
{
	return d->pool + (h->body_seed % (POOL - PAGE) & ~15ull);
}

void page_data_write(const struct page_data *d, void *page, uint64_t index, uint32_t generation)
{
	struct page_head h = head_of(d, index, generation);

	if (d->kind == PAGE_ZERO && generation == 0) {
		memset(page, 0, PAGE);
		return;
	}
	memcpy(page, &h, sizeof(h));
	memcpy((unsigned char *)page + sizeof(h), body_of(d, &h), PAGE - sizeof(h));
}

bool page_data_check(const struct page_data *d, const void *page, uint64_t index, uint32_t generation)
{
	static const unsigned char zero[PAGE];
	struct page_head h = head_of(d, index, generation);

	if (d->kind == PAGE_ZERO && generation == 0)
		return memcmp(page, zero, PAGE) == 0;
	return memcmp(page, &h, sizeof(h)) == 0 &&
	       memcmp((const unsigned char *)page + sizeof(h), body_of(d, &h), PAGE - sizeof(h)) == 0;
}

bool page_data_intact(const struct page_data *d)
{
	unsigned char *again = malloc(POOL);
	bool same;

	if (!again)
		return false;
	fill_pool(d->kind, d->seed, again, POOL);
	same = memcmp(again, d->pool, POOL) == 0;
	free(again);
	return same;
}
