/* SPDX-License-Identifier: Apache-2.0 */
/* bench_server.h - a page server of ours for one run of a benchmark, in a process of its own that ends with its maker.
 * Threads: the main one. Fails: a word, and the program ends. */
#ifndef DRAY_TESTS_BENCH_SERVER_H
#define DRAY_TESTS_BENCH_SERVER_H

#include <stdint.h>
#include <sys/types.h>

#include "pageserver/stock/page_server.h"

struct bench_server {
	pid_t pid; /* 0: it was not started here */
	uint16_t port;
};
/* Returns when it listens, at a port that the kernel chose. */
struct bench_server bench_server_start(const struct page_server_options *p);
void bench_server_stop(const struct bench_server *s);
/* Everything in dir. */
void bench_server_forget(const char *dir);

#endif
