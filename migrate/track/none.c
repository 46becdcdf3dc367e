/* SPDX-License-Identifier: Apache-2.0 */
/* none.c - the tracker that knows nothing: all that is there is reported each time, and what was sent and is there no more. */
#include <errno.h>

#include "migrate/track/track_priv.h"

static int mark_region(void *arg, const struct scan_region *r)
{
	struct window *w = arg;

	page_bits_set(r->categories & SCAN_PFNZERO ? &w->gone : &w->data, window_page(w, r->start), window_page(w, r->end));
	return 0;
}

/* Skips what is not there without a look at each page: the way for large reservations. */
static int fill_by_scan(struct tracker *t, struct window *w, uint64_t start, uint64_t end)
{
	static const struct scan_query there = { .anyof = SCAN_PRESENT | SCAN_SWAPPED, .report = SCAN_PRESENT | SCAN_SWAPPED | SCAN_PFNZERO };

	page_bits_set(&w->gone, window_page(w, start), window_page(w, end)); /* what is found wins */
	return pagemap_scan(t->pagemap, start, end, &there, t->vec, mark_region, w);
}

static int fill_by_words(struct tracker *t, struct window *w, uint64_t start, uint64_t end)
{
	unsigned from = window_page(w, start), to = window_page(w, end);
	int rc = proc_pagemap_read(t->pagemap, start, end, t->words);

	for (unsigned page = from; rc == 0 && page < to; page++)
		page_bits_set(word_is_own(&t->zero, t->words[page - from]) ? &w->data : &w->gone, page, page + 1);
	return rc;
}

static int none_fill(struct tracker *t, struct window *w, uint64_t start, uint64_t end, bool file)
{
	return t->can_scan && !file ? fill_by_scan(t, w, start, end) : fill_by_words(t, w, start, end);
}

/* Where frame numbers are hidden, pages of zeros travel as data. */
static int none_open(struct tracker *t, struct err *e)
{
	(void)e;
	zero_pages_init(&t->zero);
	return 0;
}

static bool none_probe(struct err *e)
{
	(void)e;
	return true;
}

const struct tracker_ops track_none = { .kind = TRACKER_NONE, .probe = none_probe, .open = none_open, .fill = none_fill };
