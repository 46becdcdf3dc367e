/* SPDX-License-Identifier: Apache-2.0 */
/* comma_list.h - words with commas between them, as people type them: blanks around a word are no part of it. Pure. */
#ifndef DRAY_BASE_COMMA_LIST_H
#define DRAY_BASE_COMMA_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* The next word of what is left, which may be empty; borrowed, without a NUL behind it. False: there is none left. *rest: at first the list. */
static inline bool comma_list_next(const char **rest, const char **word, size_t *len)
{
	const char *at = *rest, *end;

	if (!at)
		return false;
	end = at + strcspn(at, ",");
	*rest = *end ? end + 1 : NULL;
	at += strspn(at, " \t");
	while (end > at && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*word = at < end ? at : end;
	*len = (size_t)(end - *word);
	return true;
}

#endif
