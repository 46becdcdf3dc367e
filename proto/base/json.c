/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/json.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "proto/base/utf8.h"

void json_begin(struct json *j, FILE *out)
{
	*j = (struct json){ .out = out };
}

int json_end(struct json *j)
{
	assert(j->depth == 0);
	errno = 0;
	putc('\n', j->out);
	if (fflush(j->out) != 0 || ferror(j->out))
		return errno ? -errno : -EIO;
	return 0;
}

static void put_ascii(FILE *out, unsigned char c)
{
	static const char short_name[] = "btnvfr"; /* from 8; \v is not JSON */

	if (c == '"' || c == '\\')
		fprintf(out, "\\%c", c);
	else if (c >= '\b' && c <= '\r' && c != '\v')
		fprintf(out, "\\%c", short_name[c - '\b']);
	else if (c < 0x20 || c == 0x7f)
		fprintf(out, "\\u%04x", c);
	else
		putc(c, out);
}

static void put_quoted(FILE *out, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	putc('"', out);
	while (*s) {
		unsigned n = utf8_length(s);

		if (n == 1)
			put_ascii(out, *s);
		else if (n)
			fwrite(s, 1, n, out);
		else
			fputs("\xef\xbf\xbd", out);
		s += n ? n : 1;
	}
	putc('"', out);
}

/* What stands before a value: comma and key. */
static void put_lead(struct json *j, const char *key)
{
	uint64_t bit = 1ull << j->depth;

	assert(j->depth == 0 || !!(j->array & bit) == !key);
	if (j->used & bit)
		putc(',', j->out);
	j->used |= bit;
	if (key) {
		put_quoted(j->out, key);
		putc(':', j->out);
	}
}

static void open_level(struct json *j, const char *key, bool array)
{
	uint64_t bit;

	put_lead(j, key);
	putc(array ? '[' : '{', j->out);
	assert(j->depth < JSON_MAX_DEPTH);
	bit = 1ull << ++j->depth;
	j->used &= ~bit;
	j->array = array ? j->array | bit : j->array & ~bit;
}

static void close_level(struct json *j, bool array)
{
	assert(j->depth > 0 && !!(j->array & (1ull << j->depth)) == array);
	putc(array ? ']' : '}', j->out);
	j->depth--;
}

void json_object_open(struct json *j, const char *key)
{
	open_level(j, key, false);
}

void json_object_close(struct json *j)
{
	close_level(j, false);
}

void json_array_open(struct json *j, const char *key)
{
	open_level(j, key, true);
}

void json_array_close(struct json *j)
{
	close_level(j, true);
}

void json_string(struct json *j, const char *key, const char *value)
{
	put_lead(j, key);
	if (value)
		put_quoted(j->out, value);
	else
		fputs("null", j->out);
}

void json_u64(struct json *j, const char *key, uint64_t value)
{
	put_lead(j, key);
	fprintf(j->out, "%" PRIu64, value);
}

void json_i64(struct json *j, const char *key, int64_t value)
{
	put_lead(j, key);
	fprintf(j->out, "%" PRId64, value);
}

void json_bool(struct json *j, const char *key, bool value)
{
	put_lead(j, key);
	fputs(value ? "true" : "false", j->out);
}

void json_real(struct json *j, const char *key, double value, unsigned decimals)
{
	put_lead(j, key);
	if (isfinite(value))
		fprintf(j->out, "%.*f", (int)decimals, value);
	else
		fputs("null", j->out);
}

void json_ms(struct json *j, const char *key, uint64_t us)
{
	put_lead(j, key);
	fprintf(j->out, "%" PRIu64 ".%03u", us / 1000, (unsigned)(us % 1000));
}
