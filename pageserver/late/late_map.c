/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/late/late_map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/grow.h"

#define NAMELESS (1ull << 63) /* beyond what the source may call anything */

static size_t words(uint64_t pages)
{
	return (size_t)((pages + 63) / 64);
}

static bool test_bit(const uint64_t *bits, uint64_t i)
{
	return bits[i / 64] >> (i % 64) & 1;
}

static void set_bit(uint64_t *bits, uint64_t i)
{
	bits[i / 64] |= 1ull << (i % 64);
}

static void clear_bit(uint64_t *bits, uint64_t i)
{
	bits[i / 64] &= ~(1ull << (i % 64));
}

static bool is_missing(const struct late_seg *s, uint64_t page)
{
	return s->missing && test_bit(s->missing, page);
}

static void seg_finish(struct late_seg *s)
{
	free(s->missing);
	*s = (struct late_seg){ 0 };
}

static int seg_init(struct late_seg *s, uint64_t at, uint64_t source, uint64_t pages)
{
	uint64_t *bits = calloc(2 * words(pages), sizeof(*bits));

	if (!bits)
		return -ENOMEM;
	*s = (struct late_seg){ .at = at, .source = source, .pages = pages, .missing = bits, .asked = bits + words(pages) };
	return 0;
}

void late_map_finish(struct late_map *m)
{
	for (size_t i = 0; i < m->count; i++)
		seg_finish(&m->seg[i]);
	free(m->seg);
	*m = (struct late_map){ 0 };
}

static int reserve(struct late_map *m)
{
	return array_room(&m->seg, m->count, &m->capacity, sizeof(*m->seg), 16) ? 0 : -ENOMEM;
}

static int append(struct late_map *m, uint64_t at, uint64_t source, uint64_t pages)
{
	if (reserve(m) < 0 || seg_init(&m->seg[m->count], at, source, pages) < 0)
		return -ENOMEM;
	m->count++;
	return 0;
}

/* Without bits. */
static int append_whole(struct late_map *m, struct late_seg s)
{
	if (reserve(m) < 0)
		return -ENOMEM;
	m->seg[m->count++] = s;
	return 0;
}

int late_map_copy(const struct late_map *from, struct late_map *to)
{
	for (size_t i = 0; i < from->count; i++) {
		const struct late_seg *s = &from->seg[i];

		int rc = s->missing ? append(to, s->at, s->source, s->pages) : append_whole(to, *s);

		if (rc < 0) {
			late_map_finish(to);
			return -ENOMEM;
		}
		/* What the child's parent asked for, it has not: it is woken by what comes, not by what it waits for. */
		if (s->missing)
			memcpy(to->seg[i].missing, s->missing, words(s->pages) * sizeof(*s->missing));
	}
	to->missing = from->missing;
	return 0;
}

int late_map_add(struct late_map *m, uint64_t addr, uint64_t pages)
{
	return append(m, addr, addr, pages);
}

int late_map_add_whole(struct late_map *m, uint64_t addr, uint64_t pages)
{
	return append_whole(m, (struct late_seg){ .at = addr, .source = addr, .pages = pages });
}

/* The part of [start, start + pages) in a stretch of n pages at base, as page numbers in it. */
static bool overlap(uint64_t base, uint64_t n, uint64_t start, uint64_t pages, uint64_t *first, uint64_t *end)
{
	uint64_t from = start > base ? bytes_to_pages(start - base) : 0, skip = base > start ? bytes_to_pages(base - start) : 0;

	if (skip >= pages || from >= n)
		return false;
	*first = from;
	*end = from + (pages - skip) < n ? from + (pages - skip) : n;
	return true;
}

void late_map_mark(struct late_map *m, uint64_t source, uint64_t pages)
{
	struct late_seg *s = &m->seg[m->count - 1];
	uint64_t first, end;

	if (!overlap(s->source, s->pages, source, pages, &first, &end))
		return;
	for (uint64_t p = first; p < end; p++) {
		m->missing += !test_bit(s->missing, p);
		set_bit(s->missing, p);
	}
}

static void clear_range(struct late_map *m, struct late_seg *s, uint64_t first, uint64_t end)
{
	for (uint64_t p = first; s->missing && p < end; p++) {
		m->missing -= test_bit(s->missing, p);
		clear_bit(s->missing, p);
	}
}

void late_map_clear(struct late_map *m, uint64_t source, uint64_t pages)
{
	uint64_t first, end;

	for (size_t i = 0; i < m->count; i++)
		if (overlap(m->seg[i].source, m->seg[i].pages, source, pages, &first, &end))
			clear_range(m, &m->seg[i], first, end);
}

uint64_t late_map_want(struct late_map *m, uint64_t at, bool *first)
{
	for (size_t i = 0; i < m->count; i++) {
		struct late_seg *s = &m->seg[i];
		uint64_t p;

		if (at < s->at || bytes_to_pages(at - s->at) >= s->pages)
			continue;
		p = bytes_to_pages(at - s->at);
		if (!is_missing(s, p))
			continue;
		*first = !test_bit(s->asked, p);
		set_bit(s->asked, p);
		return s->source + pages_to_bytes(p);
	}
	return UINT64_MAX;
}

/* Cuts segment i behind its first `pages` pages; the rest becomes the last one. */
static int split(struct late_map *m, size_t i, uint64_t pages)
{
	struct late_seg *a, *b;

	a = &m->seg[i];
	if (pages == 0 || pages >= a->pages)
		return 0;
	if (!a->missing) {
		struct late_seg behind = *a;

		behind.at += pages_to_bytes(pages);
		behind.source += pages_to_bytes(pages);
		behind.pages -= pages;
		a->pages = pages;
		return append_whole(m, behind);
	}
	if (append(m, m->seg[i].at + pages_to_bytes(pages), m->seg[i].source + pages_to_bytes(pages), m->seg[i].pages - pages) < 0)
		return -ENOMEM;
	a = &m->seg[i];
	b = &m->seg[m->count - 1];
	for (uint64_t p = 0; p < b->pages; p++) {
		if (test_bit(a->missing, pages + p))
			set_bit(b->missing, p);
		if (test_bit(a->asked, pages + p))
			set_bit(b->asked, p);
	}
	a->pages = pages; /* the bits behind it are not looked at any more */
	return 0;
}

/* Cuts so that [at, at + pages) is made of whole segments. */
static int carve(struct late_map *m, uint64_t at, uint64_t pages)
{
	uint64_t first, end;

	for (size_t i = 0; i < m->count; i++) {
		if (!overlap(m->seg[i].at, m->seg[i].pages, at, pages, &first, &end))
			continue;
		if (split(m, i, end) < 0 || split(m, i, first) < 0)
			return -ENOMEM;
	}
	return 0;
}

static bool inside(const struct late_seg *s, uint64_t at, uint64_t pages)
{
	return s->at >= at && s->at - at < pages_to_bytes(pages);
}

int late_map_drop(struct late_map *m, uint64_t at, uint64_t pages, bool unmapped)
{
	uint64_t first, end;

	if (!unmapped) {
		for (size_t i = 0; i < m->count; i++)
			if (overlap(m->seg[i].at, m->seg[i].pages, at, pages, &first, &end))
				clear_range(m, &m->seg[i], first, end);
		return 0;
	}
	if (carve(m, at, pages) < 0)
		return -ENOMEM;
	for (size_t i = m->count; i-- > 0;) {
		if (!inside(&m->seg[i], at, pages))
			continue;
		clear_range(m, &m->seg[i], 0, m->seg[i].pages);
		seg_finish(&m->seg[i]);
		m->seg[i] = m->seg[--m->count];
	}
	return 0;
}

int late_map_move(struct late_map *m, uint64_t from, uint64_t to, uint64_t pages)
{
	if (carve(m, from, pages) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < m->count; i++)
		if (inside(&m->seg[i], from, pages))
			m->seg[i].at = m->seg[i].at - from + to;
	return late_map_fill(m, to, pages);
}

/* How many pages from `at` on are in one segment; or in none, up to `pages`. */
static uint64_t stretch_at(const struct late_map *m, uint64_t at, uint64_t pages, bool *held)
{
	*held = false;
	for (size_t i = 0; i < m->count; i++) {
		const struct late_seg *s = &m->seg[i];

		if (at >= s->at && bytes_to_pages(at - s->at) < s->pages) {
			*held = true;
			return s->pages - bytes_to_pages(at - s->at);
		}
		if (s->at > at && bytes_to_pages(s->at - at) < pages)
			pages = bytes_to_pages(s->at - at);
	}
	return pages;
}

int late_map_fill(struct late_map *m, uint64_t at, uint64_t pages)
{
	while (pages > 0) {
		bool held;
		uint64_t n = stretch_at(m, at, pages, &held);

		if (!held && append_whole(m, (struct late_seg){ .at = at, .source = NAMELESS + at, .pages = n }) < 0)
			return -ENOMEM;
		n = n < pages ? n : pages;
		at += pages_to_bytes(n);
		pages -= n;
	}
	return 0;
}

bool late_map_next(const struct late_map *m, uint64_t source, uint64_t pages, struct late_cursor *cursor, struct late_stretch *out)
{
	uint64_t first, end, p;

	for (; cursor->seg < m->count; cursor->seg++, cursor->page = 0) {
		const struct late_seg *s = &m->seg[cursor->seg];

		if (!s->missing || !overlap(s->source, s->pages, source, pages, &first, &end))
			continue;
		p = first > cursor->page ? first : cursor->page;
		while (p < end && !test_bit(s->missing, p))
			p = s->missing[p / 64] ? p + 1 : (p | 63) + 1; /* a word without any is passed over at once */
		if (p >= end)
			continue;
		*out = (struct late_stretch){ .at = s->at + pages_to_bytes(p), .source = s->source + pages_to_bytes(p) };
		while (p < end && test_bit(s->missing, p)) {
			out->pages++;
			p++;
		}
		cursor->page = p;
		return true;
	}
	return false;
}

void late_map_asked(const struct late_map *m, void (*fn)(void *arg, uint64_t source), void *arg)
{
	for (size_t i = 0; i < m->count; i++) {
		const struct late_seg *s = &m->seg[i];

		for (uint64_t p = 0; s->missing && p < s->pages; p++)
			if (test_bit(s->missing, p) && test_bit(s->asked, p))
				fn(arg, s->source + pages_to_bytes(p));
	}
}

/* ---- outlines ---- */

bool late_map_holds(const struct late_map *m, uint64_t at, uint64_t pages)
{
	uint64_t first, end;

	for (size_t i = 0; i < m->count; i++)
		if (overlap(m->seg[i].at, m->seg[i].pages, at, pages, &first, &end))
			return true;
	return false;
}

uint64_t late_map_held(const struct late_map *m, uint64_t at, uint64_t pages)
{
	uint64_t first, end, n = 0;

	for (size_t i = 0; i < m->count; i++)
		if (overlap(m->seg[i].at, m->seg[i].pages, at, pages, &first, &end))
			n += end - first;
	return n;
}

static bool is_in_any(const struct late_seg *s, const struct page_run *ranges, size_t count)
{
	uint64_t first, end;

	for (size_t i = 0; i < count; i++)
		if (overlap(s->at, s->pages, ranges[i].addr, ranges[i].pages, &first, &end))
			return true;
	return false;
}

int late_map_outline(const struct late_map *m, const struct page_run *ranges, size_t count, struct late_map *to)
{
	int rc = 0;

	for (size_t i = 0; i < m->count && rc == 0; i++)
		if (is_in_any(&m->seg[i], ranges, count))
			rc = append_whole(to, (struct late_seg){ .at = m->seg[i].at, .source = m->seg[i].source, .pages = m->seg[i].pages });
	for (size_t i = 0; i < count && rc == 0; i++)
		rc = carve(to, ranges[i].addr, ranges[i].pages);
	for (size_t i = to->count; i-- > 0;)
		if (!is_in_any(&to->seg[i], ranges, count))
			to->seg[i] = to->seg[--to->count];
	for (size_t i = 0; i < to->count; i++) {
		struct late_cursor c = { 0 };
		struct late_stretch s;

		to->seg[i].misses = late_map_next(m, to->seg[i].source, to->seg[i].pages, &c, &s);
	}
	return rc;
}

int late_map_outline_copy(const struct late_map *from, struct late_map *to)
{
	int rc = 0;

	for (size_t i = 0; i < from->count && rc == 0; i++)
		rc = append_whole(to, from->seg[i]);
	return rc;
}

int late_map_clear_outline(struct late_map *m, uint64_t at, uint64_t pages)
{
	int rc = carve(m, at, pages);

	for (size_t i = 0; i < m->count && rc == 0; i++)
		if (inside(&m->seg[i], at, pages))
			m->seg[i].misses = false;
	return rc;
}

bool late_map_outline_misses(const struct late_map *m)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->seg[i].misses)
			return true;
	return false;
}

/* Is all of it missing in b, in the same place? */
static bool is_covered(const struct late_map *b, uint64_t at, uint64_t source, uint64_t pages)
{
	while (pages > 0) {
		uint64_t here = 0;

		for (size_t i = 0; i < b->count && here == 0; i++) {
			const struct late_seg *s = &b->seg[i];

			if (s->misses && source >= s->source && bytes_to_pages(source - s->source) < s->pages && s->at - s->source == at - source)
				here = s->pages - bytes_to_pages(source - s->source);
		}
		if (here == 0)
			return false;
		if (here >= pages)
			return true;
		pages -= here;
		at += pages_to_bytes(here);
		source += pages_to_bytes(here);
	}
	return true;
}

static bool all_covered(const struct late_map *a, const struct late_map *b)
{
	for (size_t i = 0; i < a->count; i++)
		if (a->seg[i].misses && !is_covered(b, a->seg[i].at, a->seg[i].source, a->seg[i].pages))
			return false;
	return true;
}

bool late_map_outlines_agree(const struct late_map *a, const struct late_map *b)
{
	return all_covered(a, b) && all_covered(b, a);
}
