/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.h - what in a string of anybody's is text. Pure. */
#ifndef DRAY_BASE_UTF8_H
#define DRAY_BASE_UTF8_H

/* Length of the valid UTF-8 sequence at s, 0 if there is none: no overlong forms, no surrogates, nothing above U+10FFFF. Reads no further than a NUL. */
unsigned utf8_length(const unsigned char *s);

#endif
