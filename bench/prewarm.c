/* SPDX-License-Identifier: Apache-2.0 */
/* prewarm BYTES [--feed] - touches and frees that much memory (tests/lib/bench_env.h says why), in huge pages.
 * --feed: says "ready" when all is touched, and frees it in the measure in which it is taken, until it is killed (tests/lib/bench_warm.h). */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/bench_env.h"
#include "tests/lib/bench_warm.h"

static void ready(void *arg)
{
	(void)arg;
	puts("ready");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	bool feed = argc == 3 && strcmp(argv[2], "--feed") == 0;
	size_t bytes;

	if ((argc != 2 && !feed) || !bench_size(argv[1], &bytes)) {
		fputs("usage: prewarm BYTES[K|M|G] [--feed]\n", stderr);
		return 2;
	}
	if (feed)
		return bench_warm_run(bytes, ready, NULL) < 0;
	bench_prewarm(bytes);
	return 0;
}
