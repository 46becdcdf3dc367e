/* SPDX-License-Identifier: Apache-2.0 */
/* http_request.h - the head of an HTTP/1.x request, as far as a page of text needs it. Pure: bytes in, a status out. Threads: any. */
#ifndef DRAY_BASE_HTTP_REQUEST_H
#define DRAY_BASE_HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

enum { HTTP_HEAD_MAX = 4096, HTTP_PATH_MAX = 128 };
struct http_request { bool head_only; char path[HTTP_PATH_MAX]; }; /* without its query; head_only: HEAD */

/* buf: what came so far. 0: more is needed; 200: out is filled; else the status to refuse it with (400, 405, 431, 505). */
int http_request_parse(const char *buf, size_t len, struct http_request *out);
const char *http_reason(int status);

#endif
