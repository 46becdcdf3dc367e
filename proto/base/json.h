/* SPDX-License-Identifier: Apache-2.0 */
/* json.h - write JSON to a stdio stream: commas, quotes and escapes right by construction. One object a line is the intended use.
 *
 * A member of an object is written with its key, an element of an array with key NULL; containers close in the order they opened
 * (asserted). Strings may hold any bytes: what is not valid UTF-8 comes out as U+FFFD, so a hostile file name can't break a reader.
 * Numbers that JSON can't say (NaN, infinities) come out as null. Nothing is allocated.
 * Threads: one per writer. Ownership: borrows the stream. Fails: through the stream; json_end() says. */
#ifndef DRAY_BASE_JSON_H
#define DRAY_BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { JSON_MAX_DEPTH = 63 };

struct json {
	FILE *out;
	unsigned depth;
	uint64_t used;  /* bit per level: something stands there, so a comma is due */
	uint64_t array; /* bit per level: it is an array */
};

void json_begin(struct json *j, FILE *out);
/* A line feed and a flush; every container must be closed. 0 or -errno (a reader that went away is -EPIPE). */
int json_end(struct json *j);

void json_object_open(struct json *j, const char *key);
void json_object_close(struct json *j);
void json_array_open(struct json *j, const char *key);
void json_array_close(struct json *j);

void json_string(struct json *j, const char *key, const char *value); /* NULL is written as null */
void json_u64(struct json *j, const char *key, uint64_t value);
void json_i64(struct json *j, const char *key, int64_t value);
void json_bool(struct json *j, const char *key, bool value);
void json_real(struct json *j, const char *key, double value, unsigned decimals);
/* Microseconds as milliseconds with three decimals, exact. */
void json_ms(struct json *j, const char *key, uint64_t us);

#endif
