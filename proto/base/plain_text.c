/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/plain_text.h"

#include <stdbool.h>

void plain_text(char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)text;

	for (size_t i = 0; i < len; i++) {
		bool pair = i + 1 < len && s[i] == 0xc2 && s[i + 1] >= 0x80 && s[i + 1] < 0xa0;

		if (s[i] < ' ' || s[i] == 0x7f || pair)
			text[i] = '?';
		if (pair)
			text[++i] = '?';
	}
}
