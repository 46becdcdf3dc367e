/* SPDX-License-Identifier: Apache-2.0 */
/* A client of --metrics: its bytes come in pieces, as the exporter reads them, the first byte of the input says in which.
 * Once there is an answer, more bytes or all at once give the same one; what is accepted is a path that can be shown. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/http_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int status, const struct http_request *q)
{
	assert(status == 200 || status == 400 || status == 405 || status == 431 || status == 505);
	assert(strcmp(http_reason(status), "Internal Server Error") != 0);
	if (status != 200)
		return;
	assert(memchr(q->path, '\0', sizeof(q->path)));
	assert(q->path[0] == '/' && !strpbrk(q->path, " ?"));
}

/* Each time in memory of just this size, so that a look beyond it is seen. */
static int parse(const uint8_t *data, size_t len, struct http_request *q)
{
	char *exact = malloc(len ? len : 1);
	int status;

	if (!exact)
		abort();
	memset(q, 0, sizeof(*q));
	memcpy(exact, data, len);
	status = http_request_parse(exact, len, q);
	free(exact);
	return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_request q, all;
	size_t step, len = 0;
	int status = 0;

	if (size == 0)
		return 0;
	step = data[0] ? data[0] : HTTP_HEAD_MAX;
	data++;
	size = size - 1 < HTTP_HEAD_MAX ? size - 1 : HTTP_HEAD_MAX;
	while (status == 0 && len < size) {
		len = size - len < step ? size : len + step;
		status = parse(data, len, &q);
	}
	if (status == 0) {
		assert(size < HTTP_HEAD_MAX);
		return 0;
	}
	check(status, &q);
	assert(parse(data, size, &all) == status);
	assert(memcmp(&q, &all, sizeof(q)) == 0);
	return 0;
}
