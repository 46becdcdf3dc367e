/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/grow.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

bool array_double(void *array, size_t *capacity, size_t size, size_t first)
{
	size_t more = *capacity ? *capacity * 2 : first, bytes;
	void *old, *grown;

	if (*capacity > SIZE_MAX / 2 || __builtin_mul_overflow(more, size, &bytes)) {
		errno = ENOMEM;
		return false;
	}
	memcpy(&old, array, sizeof(old)); /* of whatever type it is a pointer */
	grown = realloc(old, bytes);
	if (!grown)
		return false;
	memcpy(array, &grown, sizeof(grown));
	*capacity = more;
	return true;
}
