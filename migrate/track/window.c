/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/track/window.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/grow.h"

/* The bits of word w that lie in [from, to). */
static uint64_t word_mask(unsigned w, unsigned from, unsigned to)
{
	uint64_t mask = ~0ull;

	if (w == from / 64)
		mask &= ~0ull << (from % 64);
	if (w == (to - 1) / 64)
		mask &= ~0ull >> (63 - (to - 1) % 64);
	return mask;
}

void page_bits_set(struct page_bits *b, unsigned from, unsigned to)
{
	for (unsigned w = from / 64; w * 64 < to; w++)
		b->word[w] |= word_mask(w, from, to);
}

void page_bits_clear(struct page_bits *b, unsigned from, unsigned to)
{
	for (unsigned w = from / 64; w * 64 < to; w++)
		b->word[w] &= ~word_mask(w, from, to);
}

bool page_bits_any(const struct page_bits *b, unsigned from, unsigned to)
{
	for (unsigned w = from / 64; w * 64 < to; w++)
		if (b->word[w] & word_mask(w, from, to))
			return true;
	return false;
}

/* ---- what may have been sent ---- */

void sent_begin(struct sent_map *m)
{
	m->generation++;
	m->cursor = 0;
}

uint64_t sent_next(struct sent_map *m, uint64_t base)
{
	while (m->cursor < m->count && m->window[m->cursor]->base < base)
		m->cursor++;
	return m->cursor < m->count ? m->window[m->cursor]->base : UINT64_MAX;
}

struct sent_window *sent_visit(struct sent_map *m, uint64_t base)
{
	if (sent_next(m, base) != base) {
		witness_t *witness = m->none.witness;

		if (!witness && m->witnessed)
			witness = malloc(WINDOW_PAGES * sizeof(*witness));
		if (!witness && m->witnessed)
			return NULL;
		if (witness)
			memset(witness, 0, WINDOW_PAGES * sizeof(*witness));
		m->none = (struct sent_window){ .base = base, .witness = witness };
		return &m->none;
	}
	m->window[m->cursor]->generation = m->generation;
	return m->window[m->cursor];
}

/* Makes a window of its own, at the cursor, from the one that stood for it. */
static int sent_insert(struct sent_map *m)
{
	struct sent_window *made;

	if (!array_room(&m->window, m->count, &m->capacity, sizeof(struct sent_window *), 64))
		return -ENOMEM;
	made = malloc(sizeof(*made));
	if (!made)
		return -ENOMEM;
	*made = m->none;
	made->generation = m->generation;
	m->none.witness = NULL;
	memmove(&m->window[m->cursor + 1], &m->window[m->cursor], (m->count - m->cursor) * sizeof(struct sent_window *));
	m->window[m->cursor] = made;
	m->count++;
	return 0;
}

static void window_free(struct sent_window *w)
{
	free(w->witness);
	free(w);
}

/* Windows without a page that was sent are given back too: a process may map much that it never touches. */
void sent_end(struct sent_map *m)
{
	size_t kept = 0;

	for (size_t i = 0; i < m->count; i++) {
		struct sent_window *w = m->window[i];

		if (w->generation == m->generation && page_bits_any(&w->bits, 0, WINDOW_PAGES))
			m->window[kept++] = w;
		else
			window_free(w);
	}
	m->count = kept;
}

void sent_finish(struct sent_map *m)
{
	for (size_t i = 0; i < m->count; i++)
		window_free(m->window[i]);
	free(m->none.witness);
	free(m->window);
	*m = (struct sent_map){ 0 };
}

static int assume_piece(struct sent_map *m, uint64_t start, uint64_t end)
{
	uint64_t base = start & ~(WINDOW_SIZE - 1);
	struct sent_window *w = sent_visit(m, base);

	if (!w)
		return -ENOMEM;
	if (w == &m->none) {
		if (sent_insert(m) < 0)
			return -ENOMEM;
		w = m->window[m->cursor];
	}
	page_bits_set(&w->bits, (unsigned)bytes_to_pages(start - base), (unsigned)bytes_to_pages(end - base));
	return 0;
}

int sent_assume(struct sent_map *m, const struct run_list *runs)
{
	sent_begin(m);
	for (size_t i = 0; i < runs->count; i++) {
		uint64_t at = runs->run[i].addr, end = run_end(&runs->run[i]);

		while (at < end) {
			uint64_t stop = (at & ~(WINDOW_SIZE - 1)) + WINDOW_SIZE;

			stop = stop < end ? stop : end;
			if (assume_piece(m, at, stop) < 0)
				return -ENOMEM;
			at = stop;
		}
	}
	return 0;
}

int sent_witnesses(const struct sent_map *m, struct witness_list *out)
{
	if (m->count == 0 || !m->witnessed)
		return 0;
	out->v = calloc(m->count, sizeof(*out->v));
	if (!out->v)
		return -ENOMEM;
	for (; out->count < m->count; out->count++) {
		out->v[out->count].base = m->window[out->count]->base;
		memcpy(out->v[out->count].witness, m->window[out->count]->witness, sizeof(out->v->witness));
	}
	return 0;
}

void sent_call(struct sent_map *m, const struct witness_list *list)
{
	sent_begin(m);
	for (size_t i = 0; i < list->count; i++)
		if (sent_next(m, list->v[i].base) == list->v[i].base)
			memcpy(m->window[m->cursor]->witness, list->v[i].witness, sizeof(list->v[i].witness));
}

/* ---- runs ---- */

/* Where, from page `from` on, bits a or b change. */
static unsigned same_until(const struct page_bits *a, const struct page_bits *b, unsigned from)
{
	bool in_a = page_bits_has(a, from), in_b = page_bits_has(b, from);
	unsigned page = from;

	while (page < WINDOW_PAGES) {
		uint64_t wa = a->word[page / 64] ^ (in_a ? ~0ull : 0), wb = b->word[page / 64] ^ (in_b ? ~0ull : 0);
		uint64_t differs = (wa | wb) & ~0ull << (page % 64);

		if (differs)
			return page / 64 * 64 + (unsigned)__builtin_ctzll(differs);
		page = page / 64 * 64 + 64;
	}
	return WINDOW_PAGES;
}

int window_emit(struct window *w, struct sent_map *m, struct run_list *out)
{
	unsigned next;

	for (unsigned i = 0; i < WINDOW_WORDS; i++) {
		w->sent->word[i] &= w->mapped.word[i];
		w->gone.word[i] &= w->sent->word[i] & ~w->data.word[i];
		w->sent->word[i] = (w->sent->word[i] | w->data.word[i]) & ~w->gone.word[i];
	}
	if (w->sent == &m->none.bits && page_bits_any(w->sent, 0, WINDOW_PAGES) && sent_insert(m) < 0)
		return -ENOMEM;
	for (unsigned page = 0; page < WINDOW_PAGES; page = next) {
		bool data = page_bits_has(&w->data, page), gone = page_bits_has(&w->gone, page);

		next = same_until(&w->data, &w->gone, page);
		if (data || gone) {
			int rc = run_list_add(out, w->base + pages_to_bytes(page), next - page, data ? RUN_DATA : RUN_DROP);

			if (rc < 0)
				return rc;
		}
	}
	return 0;
}

int sent_list(const struct sent_map *m, struct run_list *out)
{
	unsigned next;

	for (size_t i = 0; i < m->count; i++) {
		const struct page_bits *b = &m->window[i]->bits;

		for (unsigned page = 0; page < WINDOW_PAGES; page = next) {
			int rc = 0;

			next = same_until(b, b, page);
			if (page_bits_has(b, page))
				rc = run_list_add(out, m->window[i]->base + pages_to_bytes(page), next - page, RUN_DATA);
			if (rc < 0)
				return rc;
		}
	}
	return 0;
}
