/* SPDX-License-Identifier: Apache-2.0 */
/* grow.h - arrays that get longer: room for one more, twice as much whenever it runs out. What is in them may move then.
 * Threads: an array belongs to one. Fails: false with errno ENOMEM, and nothing changed. */
#ifndef DRAY_BASE_GROW_H
#define DRAY_BASE_GROW_H

#include <stdbool.h>
#include <stddef.h>

/* array: the address of the pointer to its elements, of size bytes each; first: how many it has room for at first. */
bool array_double(void *array, size_t *capacity, size_t size, size_t first);
static inline bool array_room(void *array, size_t count, size_t *capacity, size_t size, size_t first)
{
	return count < *capacity || array_double(array, capacity, size, first);
}

#endif
