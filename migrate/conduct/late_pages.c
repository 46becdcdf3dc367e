/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/conduct/late_pages.h"

#include <errno.h>
#include <stdlib.h>

#include "proto/wire/late.h"

enum { FOLLOW_PIECES = 8, BLOCK_SHIFT = 21 };

static bool is_sent(const struct late_pages *p, uint64_t page)
{
	return atomic_load_explicit(&p->sent[page / 64], memory_order_relaxed) >> (page % 64) & 1;
}

/* Whether it was us who marked it. */
static bool mark(struct late_pages *p, uint64_t page)
{
	uint64_t bit = 1ull << (page % 64);
	bool first = !(atomic_fetch_or_explicit(&p->sent[page / 64], bit, memory_order_relaxed) & bit);

	if (first)
		atomic_fetch_sub_explicit(&p->left, 1, memory_order_relaxed);
	return first;
}

static size_t count_pieces(const struct run_list *l)
{
	size_t n = 0;

	for (size_t i = 0; i < l->count; i++)
		n += (l->run[i].pages + LATE_MAX_PAGES - 1) / LATE_MAX_PAGES;
	return n;
}

static void cut(struct late_pages *p, const struct run_list *l)
{
	uint64_t page = 0;

	for (size_t i = 0; i < l->count; i++) {
		for (uint32_t off = 0; off < l->run[i].pages;) {
			uint32_t left = l->run[i].pages - off, n = left < LATE_MAX_PAGES ? left : LATE_MAX_PAGES;

			p->piece[p->count++] = (struct late_piece){ .addr = l->run[i].addr + pages_to_bytes(off), .first = page, .pages = n };
			page += n;
			off += n;
		}
	}
	p->left = page;
}

struct rank { uint32_t piece, heat; };

static int hotter(const void *a, const void *b)
{
	const struct rank *x = a, *y = b;

	if (x->heat != y->heat)
		return x->heat > y->heat ? -1 : 1;
	return x->piece < y->piece ? -1 : 1;
}

/* Heat: missing pages of the 2 MiB block that a piece begins in. */
static int rank(struct late_pages *p)
{
	struct rank *r = calloc(p->count ? p->count : 1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	for (size_t i = 0, from = 0; i < p->count; from = i) {
		uint64_t block = p->piece[from].addr >> BLOCK_SHIFT;
		uint32_t heat = 0;

		for (; i < p->count && p->piece[i].addr >> BLOCK_SHIFT == block; i++)
			heat += p->piece[i].pages;
		for (size_t k = from; k < i; k++)
			r[k] = (struct rank){ .piece = (uint32_t)k, .heat = heat };
	}
	qsort(r, p->count, sizeof(*r), hotter);
	for (size_t i = 0; i < p->count; i++)
		p->order[i] = r[i].piece;
	free(r);
	return 0;
}

int late_pages_init(struct late_pages *p, const struct run_list *missing)
{
	size_t n = count_pieces(missing);

	*p = (struct late_pages){ 0 };
	if (n > UINT32_MAX)
		return -ENOMEM;
	p->piece = calloc(n ? n : 1, sizeof(*p->piece));
	p->order = calloc(n ? n : 1, sizeof(*p->order));
	p->sent = calloc((size_t)(missing->data_pages / 64 + 1), sizeof(*p->sent));
	if (p->piece && p->order && p->sent) {
		cut(p, missing);
		if (rank(p) == 0)
			return 0;
	}
	late_pages_finish(p);
	return -ENOMEM;
}

void late_pages_finish(struct late_pages *p)
{
	free(p->piece);
	free(p->order);
	free((void *)(uintptr_t)p->sent);
	*p = (struct late_pages){ 0 };
}

/* The piece that holds addr; count when there is none. */
static size_t find(const struct late_pages *p, uint64_t addr)
{
	size_t low = 0, high = p->count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (p->piece[mid].addr + pages_to_bytes(p->piece[mid].pages) <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low < p->count && p->piece[low].addr <= addr ? low : p->count;
}

bool late_pages_near(struct late_pages *p, uint64_t addr, uint32_t max, struct page_run *out)
{
	size_t i = find(p, addr);
	const struct late_piece *c = &p->piece[i];
	uint64_t page, end;

	if (i == p->count)
		return false;
	page = end = c->first + bytes_to_pages(addr - c->addr);
	mark(p, end++);
	while (end - page < max && end < c->first + c->pages && mark(p, end))
		end++;
	while (end - page < max && page > c->first && mark(p, page - 1))
		page--;
	*out = (struct page_run){ .addr = c->addr + pages_to_bytes(page - c->first), .pages = (uint32_t)(end - page), .kind = RUN_DATA };
	atomic_store(&p->asked, i + 1);
	return true;
}

/* The first stretch of a piece that is not sent. */
static bool take_from(struct late_pages *p, size_t i, struct page_run *out)
{
	const struct late_piece *c = &p->piece[i];
	uint64_t page = c->first, end;

	while (page < c->first + c->pages && (is_sent(p, page) || !mark(p, page)))
		page++;
	if (page == c->first + c->pages)
		return false;
	end = page + 1;
	while (end < c->first + c->pages && mark(p, end))
		end++;
	*out = (struct page_run){ .addr = c->addr + pages_to_bytes(page - c->first), .pages = (uint32_t)(end - page), .kind = RUN_DATA };
	return true;
}

bool late_pages_take(struct late_pages *p, struct page_run *out)
{
	uint64_t asked = atomic_exchange(&p->asked, 0);

	if (asked) {
		p->follow = (size_t)asked - 1;
		p->follow_left = FOLLOW_PIECES;
	}
	while (p->follow_left > 0 && p->follow < p->count) {
		if (take_from(p, p->follow, out))
			return true;
		p->follow++;
		p->follow_left--;
	}
	p->follow_left = 0;
	while (p->next < p->count) {
		if (take_from(p, p->order[p->next], out))
			return true;
		p->next++;
	}
	return false;
}
