/* SPDX-License-Identifier: Apache-2.0 */
/* page_data.h - contents of pages that can be told right from wrong: each carries its number, its generation and a check word, and a
 * body that follows from them, so that a page that is stale, misplaced or torn is found by whoever knows the generation.
 * Threads: any once created. Lifetime: create/destroy (accepts NULL). */
#ifndef DRAY_TESTS_PAGE_DATA_H
#define DRAY_TESTS_PAGE_DATA_H

#include <stdbool.h>
#include <stdint.h>

enum page_data_kind {
	PAGE_ZERO,   /* generation 0 is all zero; later ones have a head and a body of zeros */
	PAGE_TEXT,   /* words of a small language: lz4 makes a third of it */
	PAGE_RANDOM, /* does not compress */
	PAGE_HEAP,   /* pointers, small numbers, short strings, gaps: as an interpreter's heap, a quarter */
};
bool page_data_parse(const char *name, enum page_data_kind *kind);

struct page_data;
struct page_data *page_data_create(enum page_data_kind kind, uint64_t seed); /* NULL: no memory */
void page_data_destroy(struct page_data *d);
void page_data_write(const struct page_data *d, void *page, uint64_t index, uint32_t generation);
bool page_data_check(const struct page_data *d, const void *page, uint64_t index, uint32_t generation);
/* The generator's own memory is as it was made: it too has travelled. */
bool page_data_intact(const struct page_data *d);

/* A small fast generator (splitmix64); state by the caller. */
static inline uint64_t rand_next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

#endif
