/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire/runs.h"

#include <errno.h>
#include <stdlib.h>

#include "proto/base/grow.h"

static int append(struct run_list *l, uint64_t addr, uint32_t pages, enum run_kind kind)
{
	if (!array_room(&l->run, l->count, &l->capacity, sizeof(*l->run), 256))
		return -ENOMEM;
	l->run[l->count++] = (struct page_run){ .addr = addr, .pages = pages, .kind = kind };
	return 0;
}

int run_list_add(struct run_list *l, uint64_t addr, uint64_t pages, enum run_kind kind)
{
	if (kind == RUN_DATA)
		l->data_pages += pages;
	if (l->count > 0) {
		struct page_run *last = &l->run[l->count - 1];

		if (last->kind == (uint32_t)kind && run_end(last) == addr && last->pages + pages <= UINT32_MAX) {
			last->pages += (uint32_t)pages;
			return 0;
		}
	}
	while (pages > 0) {
		uint32_t part = pages > UINT32_MAX ? UINT32_MAX : (uint32_t)pages;
		int rc = append(l, addr, part, kind);

		if (rc < 0)
			return rc;
		addr += pages_to_bytes(part);
		pages -= part;
	}
	return 0;
}

void run_list_clear(struct run_list *l)
{
	l->count = 0;
	l->data_pages = 0;
}

void run_list_finish(struct run_list *l)
{
	free(l->run);
	*l = (struct run_list){ 0 };
}
