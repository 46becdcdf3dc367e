/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire/range_list.h"

#include <errno.h>
#include <stdlib.h>

#define ADDRESS_END (1ull << 47)

int range_list_make(const struct run_list *l, Drayage__Range ***range, size_t *count, struct err *e)
{
	Drayage__Range **pointer = calloc(l->count + 1, sizeof(*pointer) + sizeof(**pointer));
	Drayage__Range *value = pointer ? (Drayage__Range *)(void *)(pointer + l->count + 1) : NULL;

	*count = 0;
	*range = pointer;
	if (!pointer)
		return err_set(e, ERR_SYSTEM, ENOMEM, "list of ranges");
	for (size_t i = 0; i < l->count; i++) {
		if (l->run[i].kind != RUN_DATA)
			continue;
		pointer[*count] = value + *count;
		drayage__range__init(pointer[*count]);
		pointer[*count]->start = l->run[i].addr;
		pointer[*count]->end = run_end(&l->run[i]);
		++*count;
	}
	return 0;
}

int range_list_read(Drayage__Range *const *range, size_t count, struct run_list *l, struct err *e)
{
	uint64_t last = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t start = range[i]->start, end = range[i]->end;

		if ((start | end) & (DRAY_PAGE_SIZE - 1) || start < last || start >= end || end > ADDRESS_END)
			return err_set(e, ERR_PROTOCOL, 0, "range %llx-%llx: not whole pages above the range before",
				       (unsigned long long)start, (unsigned long long)end);
		if (run_list_add(l, start, bytes_to_pages(end - start), RUN_DATA) < 0)
			return err_set(e, ERR_SYSTEM, ENOMEM, "list of ranges");
		last = end;
	}
	return 0;
}
