/* SPDX-License-Identifier: Apache-2.0 */
/* Heads of requests: what is taken, what is refused with which status, and that any beginning of a good one is waited for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/http_request.h"

static const char good[] = "GET /metrics HTTP/1.1\r\nHost: a:1\r\nAccept: */*\r\n\r\n";

static int parse(const char *text, struct http_request *q)
{
	size_t len = strlen(text);
	char *exact = malloc(len ? len : 1); /* AddressSanitizer sees a byte too far */
	int status;

	memcpy(exact, text, len);
	status = http_request_parse(exact, len, q);
	free(exact);
	return status;
}

static void any_beginning_is_waited_for(void **state)
{
	struct http_request q;
	char text[sizeof(good)];

	(void)state;
	for (size_t i = 0; i < sizeof(good) - 1; i++) {
		memcpy(text, good, i);
		text[i] = '\0';
		assert_int_equal(parse(text, &q), 0);
	}
	assert_int_equal(parse(good, &q), 200);
	assert_string_equal(q.path, "/metrics");
	assert_false(q.head_only);
}

static void each_fault_has_its_status(void **state)
{
	static const struct { const char *text; int status; } cases[] = {
		{ "HEAD / HTTP/1.1\r\nhost:\r\n\r\n", 200 },
		{ "GET / HTTP/1.0\r\n\r\n", 200 },
		{ "GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n", 200 },
		{ "GET / HTTP/1.1\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\nHosts: x\r\n\r\n", 400 },
		{ "GET / HTTP/3.1\r\nHost: x\r\n\r\n", 505 },
		{ "PUT / HTTP/1.1\r\nHost: x\r\n\r\n", 405 },
		{ "GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400 },
		{ "GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400 },
		{ "GET HTTP/1.1\r\nHost: x\r\n\r\n", 400 },
		{ "GET x HTTP/1.1\r\nHost: x\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400 },
		{ "GET / HTTP/1.1\r\n: x\r\n\r\n", 400 },
		{ "\r\n\r\n", 400 },
		{ "get", 400 },
		{ "G\r\n\r\n", 400 },
	};
	struct http_request q;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(&q, 0, sizeof(q));
		if (parse(cases[i].text, &q) != cases[i].status)
			fail_msg("%s: not %d", cases[i].text, cases[i].status);
	}
	assert_int_equal(parse("GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n", &q), 200);
	assert_string_equal(q.path, "/a");
}

static void what_is_too_long_is_refused(void **state)
{
	char text[HTTP_HEAD_MAX + 1];
	struct http_request q;

	(void)state;
	memset(text, 'A', sizeof(text));
	text[HTTP_HEAD_MAX] = '\0';
	assert_int_equal(parse(text, &q), 431);
	text[HTTP_HEAD_MAX - 1] = '\0';
	assert_int_equal(parse(text, &q), 0);
	memcpy(text, "GET /", 5);
	strcpy(text + 5 + HTTP_PATH_MAX, " HTTP/1.0\r\n\r\n");
	assert_int_equal(parse(text, &q), 400);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_beginning_is_waited_for),
		cmocka_unit_test(each_fault_has_its_status),
		cmocka_unit_test(what_is_too_long_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
