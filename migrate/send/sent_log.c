/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/send/sent_log.h"

#include <errno.h>
#include <stdlib.h>

#include "proto/base/grow.h"

struct sent_frame {
	struct sent_counts before;
	size_t run_at; /* in the list of runs */
};

void sent_log_begin(struct sent_log *l, uint64_t first)
{
	l->first = first;
	l->frames = 0;
	run_list_clear(&l->runs);
}

/* A run stays one even where it continues the last, which may be another frame's. */
static int append(struct run_list *l, const struct page_run *run, size_t runs)
{
	if (l->capacity - l->count < runs) {
		size_t room = 2 * l->capacity + runs;
		struct page_run *more = realloc(l->run, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		l->run = more;
		l->capacity = room;
	}
	for (size_t i = 0; i < runs; i++)
		l->run[l->count++] = run[i];
	return 0;
}

int sent_log_add(struct sent_log *l, const struct sent_counts *before, const struct page_run *run, size_t runs)
{
	if (!array_room(&l->frame, l->frames, &l->room, sizeof(*l->frame), 64))
		return -ENOMEM;
	l->frame[l->frames] = (struct sent_frame){ .before = *before, .run_at = l->runs.count };
	if (append(&l->runs, run, runs) < 0)
		return -ENOMEM;
	l->frames++;
	return 0;
}

static int by_address(const void *a, const void *b)
{
	const struct page_run *x = a, *y = b;

	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

/* Pages that couldn't be read by the first way were sent twice: they are once in the list then. */
static void sort_out(struct run_list *l)
{
	size_t n = 0;
	uint64_t end = 0;

	if (l->count == 0)
		return;
	qsort(l->run, l->count, sizeof(l->run[0]), by_address);
	l->data_pages = 0;
	for (size_t i = 0; i < l->count; i++) {
		struct page_run r = l->run[i];

		if (run_end(&r) <= end)
			continue;
		if (r.addr < end) {
			r.pages -= (uint32_t)bytes_to_pages(end - r.addr);
			r.addr = end;
		}
		end = run_end(&r);
		if (r.kind == RUN_DATA)
			l->data_pages += r.pages;
		l->run[n++] = r;
	}
	l->count = n;
}

int sent_log_take_back(struct sent_log *l, uint64_t next, struct sent_counts *counts, struct run_list *again)
{
	const struct sent_frame *f;

	if (next < l->first || next > l->first + l->frames)
		return -ERANGE;
	if (next < l->first + l->frames) {
		f = &l->frame[next - l->first];
		if (append(again, l->runs.run + f->run_at, l->runs.count - f->run_at) < 0)
			return -ENOMEM;
		*counts = f->before;
		l->runs.count = f->run_at;
		l->frames = next - l->first;
	}
	sort_out(again);
	return 0;
}

void sent_log_finish(struct sent_log *l)
{
	free(l->frame);
	run_list_finish(&l->runs);
	*l = (struct sent_log){ 0 };
}
