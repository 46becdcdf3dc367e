/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/grow.h"

#include <stdlib.h>
#include <string.h>

bool array_double(void *array, size_t *capacity, size_t size, size_t first)
{
	size_t more = *capacity ? *capacity * 2 : first;
	void *old, *grown;

	memcpy(&old, array, sizeof(old)); /* of whatever type it is a pointer */
	grown = reallocarray(old, more, size);
	if (!grown)
		return false;
	memcpy(array, &grown, sizeof(grown));
	*capacity = more;
	return true;
}
