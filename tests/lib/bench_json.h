/* SPDX-License-Identifier: Apache-2.0 */
/* bench_json.h - how every bench program says its results: one JSON object a line on stdout,
 *
 *   {"bench":"first_round","case":"random 4G","unit":"GB/s","value":4.812,"params":{"streams":2,"data":"random"}}
 *
 * bench: what is measured, the same name in every run; case: which variant; bench and case together are the row that bench/run
 * takes medians of over its repeats. Threads: any, a line is written at once. Fails: never; a short write shows as a missing row. */
#ifndef DRAY_TESTS_BENCH_JSON_H
#define DRAY_TESTS_BENCH_JSON_H

#include <stddef.h>

/* params: key, value, key, value, ..., NULL. All strings; a value that is wholly a number is written as one. */
void bench_json(const char *bench, const char *which, const char *unit, double value, ...) __attribute__((sentinel));

/* A string as a JSON string with its quotes into buf, cut where it does not fit. Returns buf. */
char *json_quote(const char *text, char *buf, size_t size);

#endif
