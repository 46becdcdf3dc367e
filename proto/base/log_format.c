/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/log_format.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/utf8.h"

struct line {
	char *out;
	size_t len, room; /* room is for the NUL and a last quote too */
	bool full, open;  /* open: within quotes */
};

/* All of it or none, and behind none nothing else. */
static void put(struct line *l, const char *text, size_t len)
{
	l->full |= len + 1 >= l->room - l->len;
	if (l->full)
		return;
	memcpy(l->out + l->len, text, len);
	l->len += len;
}

static void put_quote(struct line *l)
{
	put(l, "\"", 1);
	l->open ^= !l->full;
}

/* Control characters beyond ASCII, U+0080 to U+009F, are some terminals' too. */
static bool is_control(const unsigned char *s)
{
	return s[0] < ' ' || s[0] == 0x7f || (s[0] == 0xc2 && s[1] < 0xa0);
}

static void put_escaped(struct line *l, const unsigned char *s, unsigned n)
{
	static const char named[] = "\n\t\r", names[] = "ntr";
	const char *at = memchr(named, *s, sizeof(named) - 1);
	char escape[5];

	for (unsigned i = 0; i < n; i++) {
		if (at)
			snprintf(escape, sizeof(escape), "\\%c", names[at - named]);
		else
			snprintf(escape, sizeof(escape), "\\x%02x", s[i]);
		put(l, escape, strlen(escape));
	}
}

static void put_value(struct line *l, const char *value)
{
	const unsigned char *s = (const unsigned char *)value;

	while (*s) {
		unsigned n = utf8_length(s);

		if (n == 0 || is_control(s)) {
			put_escaped(l, s, n ? n : 1);
		} else {
			if (*s == '"' || *s == '\\')
				put(l, "\\", 1);
			put(l, (const char *)s, n);
		}
		s += n ? n : 1;
	}
}

static bool is_plain(const char *value)
{
	for (const unsigned char *s = (const unsigned char *)value; *s; s += utf8_length(s))
		if (*s == ' ' || *s == '"' || *s == '\\' || utf8_length(s) == 0 || is_control(s))
			return false;
	return true;
}

static void put_string(struct line *l, const char *value, bool quoted)
{
	bool quote = !quoted && !is_plain(value);

	if (quote)
		put_quote(l);
	put_value(l, value);
	if (quote)
		put_quote(l);
}

enum width { INT, LONG, LONG_LONG, SIZE };

static const char *read_width(const char *f, enum width *w)
{
	*w = f[0] == 'z' ? SIZE : f[0] != 'l' ? INT : f[1] == 'l' ? LONG_LONG : LONG;
	return f + (*w == LONG_LONG ? 2 : *w != INT);
}

static void put_number(struct line *l, char conversion, enum width w, va_list *ap)
{
	unsigned long long u = 0;
	long long d = 0;
	char text[32];

	if (conversion == 'd')
		d = w == INT ? va_arg(*ap, int) : w == LONG ? va_arg(*ap, long) : w == SIZE ? (long long)va_arg(*ap, ssize_t) : va_arg(*ap, long long);
	else
		u = w == INT ? va_arg(*ap, unsigned) : w == LONG ? va_arg(*ap, unsigned long) : w == SIZE ? va_arg(*ap, size_t) : va_arg(*ap, unsigned long long);
	if (conversion == 'd')
		snprintf(text, sizeof(text), "%lld", d);
	else
		snprintf(text, sizeof(text), conversion == 'x' ? "%llx" : "%llu", u);
	put(l, text, strlen(text));
}

/* One conversion, f behind its '%'. Returns what comes behind it. */
static const char *convert(struct line *l, const char *f, bool quoted, va_list *ap)
{
	enum width w;

	f = read_width(f, &w);
	assert(*f && strchr("sdux", *f));
	if (*f == 's')
		put_string(l, va_arg(*ap, const char *), quoted);
	else
		put_number(l, *f, w, ap);
	return f + 1;
}

size_t log_format(char *out, size_t room, const char *fmt, va_list ap)
{
	struct line l = { .out = out, .room = room };
	bool quoted = false;
	va_list copy;

	va_copy(copy, ap);
	while (*fmt) {
		if (*fmt == '%') {
			fmt = convert(&l, fmt + 1, quoted, &copy);
			continue;
		}
		quoted ^= *fmt == '"';
		if (*fmt == '"')
			put_quote(&l);
		else
			put(&l, fmt, 1);
		fmt++;
	}
	va_end(copy);
	if (l.open)
		l.out[l.len++] = '"';
	out[l.len] = '\0';
	return l.len;
}
