/* SPDX-License-Identifier: Apache-2.0 */
/* window.h - 64 MiB of address space as bits, one a page: what trackers fill, and the memory of what may have been sent.
 *
 * A collect walks windows in ascending order; in each a tracker says which pages have contents to send and which are not there. A
 * page that is not there is worth a word only if it may have been sent: that is what the sent map remembers. It costs 2 KiB for each
 * 64 MiB in which anything was sent (32 KiB per GiB), with witnesses 66 KiB (1 MiB per GiB); windows that the process gave up are given up too.
 *
 * Threads: one. Lifetime: a zeroed map is valid; finish. Fails: -ENOMEM. */
#ifndef DRAY_MIGRATE_WINDOW_H
#define DRAY_MIGRATE_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "migrate/track/witness.h"
#include "proto/wire/runs.h"

enum { WINDOW_PAGES = 16384, WINDOW_WORDS = WINDOW_PAGES / 64 };
#define WINDOW_SIZE (WINDOW_PAGES * DRAY_PAGE_SIZE)

struct page_bits {
	uint64_t word[WINDOW_WORDS];
};
/* Pages [from, to) of a window. */
void page_bits_set(struct page_bits *b, unsigned from, unsigned to);
void page_bits_clear(struct page_bits *b, unsigned from, unsigned to);
bool page_bits_any(const struct page_bits *b, unsigned from, unsigned to);
static inline bool page_bits_has(const struct page_bits *b, unsigned page)
{
	return b->word[page / 64] >> (page % 64) & 1;
}

struct window {
	uint64_t base;          /* multiple of WINDOW_SIZE */
	struct page_bits data;  /* contents to send */
	struct page_bits gone;  /* not there; wins nothing over data */
	struct page_bits mapped; /* in mappings that carry pages; the rest of the window is forgotten, not dropped */
	struct page_bits *sent; /* borrowed from the map, as are the next */
	witness_t *witness;     /* WINDOW_PAGES; NULL: the map has none */
};
static inline unsigned window_page(const struct window *w, uint64_t addr)
{
	return (unsigned)bytes_to_pages(addr - w->base);
}

struct sent_window {
	uint64_t base;
	unsigned generation;
	struct page_bits bits;
	witness_t *witness;
};
struct sent_map {
	bool witnessed; /* to be set in an empty one */
	struct sent_window **window; /* ascending */
	size_t count, capacity;
	size_t cursor;
	unsigned generation;
	struct sent_window none; /* stands for a window in which nothing was sent, until something is */
};
/* What a tracker leaves to the next one. */
struct witness_window { uint64_t base; witness_t witness[WINDOW_PAGES]; };
struct witness_list { struct witness_window *v; size_t count; };
static inline void witness_list_finish(struct witness_list *l)
{
	free(l->v);
	*l = (struct witness_list){ 0 };
}

/* A pass visits windows in ascending order; those that it leaves out are forgotten at its end. */
void sent_begin(struct sent_map *m);
struct sent_window *sent_visit(struct sent_map *m, uint64_t base); /* borrowed until the next visit; NULL: no memory */
uint64_t sent_next(struct sent_map *m, uint64_t base); /* the first window at or after base in which something was sent; UINT64_MAX: none */
void sent_end(struct sent_map *m);
void sent_finish(struct sent_map *m);
/* Takes pages for sent, into an empty map: runs ascend. -ENOMEM. And the other way: appends the pages that were sent, ascending, as RUN_DATA. */
int sent_assume(struct sent_map *m, const struct run_list *runs);
int sent_list(const struct sent_map *m, struct run_list *out);
/* The witnesses of all windows, ascending, into an empty list. -ENOMEM. And the other way, for windows that the map has. */
int sent_witnesses(const struct sent_map *m, struct witness_list *out);
void sent_call(struct sent_map *m, const struct witness_list *list);

/* Turns the window, the one visited last, into runs and remembers them as sent. -ENOMEM leaves the map unreliable. */
int window_emit(struct window *w, struct sent_map *m, struct run_list *out);

#endif
