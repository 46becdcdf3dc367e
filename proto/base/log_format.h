/* SPDX-License-Identifier: Apache-2.0 */
/* log_format.h - the key=value pairs of a log line, whose strings are values and never more than that. Pure. */
#ifndef DRAY_BASE_LOG_FORMAT_H
#define DRAY_BASE_LOG_FORMAT_H

#include <stdarg.h>
#include <stddef.h>

/* As vsnprintf, for what log lines need: %s, and d, u, x of int, long, long long and size_t, without flags or widths. A string inside double quotes of fmt
 * is escaped; one behind a bare '=' gets quotes where it needs them (a blank, a quote, a backslash, anything that is no plain text). Escapes are \" and \\,
 * \n, \t and \r, \xNN for any other byte that is a control character or no UTF-8. What does not fit is left out from there on, never within a
 * character or an escape, and a quote that is open then is closed. Returns the length, below room, NUL behind it. */
size_t log_format(char *out, size_t room, const char *fmt, va_list ap);

#endif
