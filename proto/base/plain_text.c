/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/plain_text.h"

void plain_text(char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			text[i] = '?';
}
