/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/http_request.h"

#include <string.h>
#include <strings.h>

const char *http_reason(int status)
{
	static const struct { int status; const char *reason; } reasons[] = {
		{ 200, "OK" }, { 400, "Bad Request" }, { 404, "Not Found" }, { 405, "Method Not Allowed" },
		{ 431, "Request Header Fields Too Large" }, { 505, "HTTP Version Not Supported" },
	};

	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "Internal Server Error";
}

/* A word up to the next blank. Returns what is behind it, NULL: there is none. */
static const char *word(const char *at, const char *end, const char **begin, size_t *len)
{
	const char *blank = memchr(at, ' ', (size_t)(end - at));

	*begin = at;
	*len = (size_t)((blank ? blank : end) - at);
	return blank ? blank + 1 : NULL;
}

static bool is(const char *at, size_t len, const char *text)
{
	return len == strlen(text) && memcmp(at, text, len) == 0;
}

static int parse_line(const char *line, const char *end, struct http_request *out, bool *host_needed)
{
	const char *method, *target, *version, *query, *rest;
	size_t method_len, target_len, version_len;

	rest = word(line, end, &method, &method_len);
	if (!rest || !(rest = word(rest, end, &target, &target_len)) || word(rest, end, &version, &version_len))
		return 400;
	if (version_len != 8 || memcmp(version, "HTTP/", 5) != 0)
		return 400;
	if (!is(version, version_len, "HTTP/1.1") && !is(version, version_len, "HTTP/1.0"))
		return 505;
	*host_needed = version[7] == '1';
	out->head_only = is(method, method_len, "HEAD");
	if (!out->head_only && !is(method, method_len, "GET"))
		return 405;
	query = memchr(target, '?', target_len);
	target_len = query ? (size_t)(query - target) : target_len;
	if (target_len == 0 || target_len >= HTTP_PATH_MAX || target[0] != '/' || memchr(target, '\0', target_len))
		return 400;
	memcpy(out->path, target, target_len);
	out->path[target_len] = '\0';
	return 200;
}

/* Fields are looked at for their form alone, and whether there is a host. */
static int parse_fields(const char *at, const char *end, bool host_needed)
{
	bool host = false;

	while (at < end) {
		const char *stop = memmem(at, (size_t)(end - at), "\r\n", 2);
		const char *colon = memchr(at, ':', (size_t)(stop - at));

		if (!colon || colon == at || colon[-1] == ' ' || at[0] == ' ' || at[0] == '\t')
			return 400;
		host |= colon - at == 4 && strncasecmp(at, "Host", 4) == 0;
		at = stop + 2;
	}
	return host || !host_needed ? 200 : 400;
}

int http_request_parse(const char *buf, size_t len, struct http_request *out)
{
	const char *end = memmem(buf, len, "\r\n\r\n", 4), *line;
	bool host_needed = true;
	int status;

	/* What does not look like a request at all is not waited for. */
	if (len > 0 && (buf[0] < 'A' || buf[0] > 'Z'))
		return 400;
	if (!end)
		return len >= HTTP_HEAD_MAX ? 431 : 0;
	line = memmem(buf, len, "\r\n", 2);
	status = parse_line(buf, line, out, &host_needed);
	return status == 200 ? parse_fields(line + 2, end + 2, host_needed) : status;
}
