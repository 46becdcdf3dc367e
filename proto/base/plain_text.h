/* SPDX-License-Identifier: Apache-2.0 */
/* plain_text.h - what a stranger wrote, before it goes to a terminal, a log or a line of fields. Pure. */
#ifndef DRAY_BASE_PLAIN_TEXT_H
#define DRAY_BASE_PLAIN_TEXT_H

#include <stddef.h>

/* Makes control characters, NUL and those of UTF-8 beyond ASCII (U+0080 to U+009F) among them, question marks. All else stays as it is. */
void plain_text(char *text, size_t len);

#endif
