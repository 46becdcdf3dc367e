/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/bench_json.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *json_quote(const char *text, char *buf, size_t size)
{
	size_t n = 0;

	buf[n++] = '"';
	for (; *text && n + 8 < size; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\') {
			buf[n++] = '\\';
			buf[n++] = (char)c;
		} else if (c < 0x20) {
			n += (size_t)snprintf(buf + n, size - n, "\\u%04x", c);
		} else {
			buf[n++] = (char)c;
		}
	}
	buf[n++] = '"';
	buf[n] = '\0';
	return buf;
}

/* What strtod takes wholly, JSON takes too, but for hexadecimal, infinities and a leading '+', '.' or space. */
static bool is_number(const char *s)
{
	char *end;

	if (s[strspn(s, "-0123456789.eE+")] != '\0' || !strchr("-0123456789", s[0]))
		return false;
	strtod(s, &end);
	return end != s && *end == '\0';
}

void bench_json(const char *bench, const char *which, const char *unit, double value, ...)
{
	char line[4096], a[256], b[512];
	size_t n;
	const char *key;
	const char *comma = "";
	va_list ap;

	n = (size_t)snprintf(line, sizeof(line), "{\"bench\":%s,", json_quote(bench, a, sizeof(a)));
	n += (size_t)snprintf(line + n, sizeof(line) - n, "\"case\":%s,", json_quote(which, a, sizeof(a)));
	n += (size_t)snprintf(line + n, sizeof(line) - n, "\"unit\":%s,\"value\":%.6g,\"params\":{", json_quote(unit, a, sizeof(a)),
			      isfinite(value) ? value : 0.0);
	va_start(ap, value);
	while ((key = va_arg(ap, const char *)) && n + 1024 < sizeof(line)) {
		const char *v = va_arg(ap, const char *);

		json_quote(key, a, sizeof(a));
		n += (size_t)snprintf(line + n, sizeof(line) - n, "%s%s:%s", comma, a, is_number(v) ? v : json_quote(v, b, sizeof(b)));
		comma = ",";
	}
	va_end(ap);
	snprintf(line + n, sizeof(line) - n, "}}\n");
	fputs(line, stdout);
	fflush(stdout);
}
