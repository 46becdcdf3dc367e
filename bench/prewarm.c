/* SPDX-License-Identifier: Apache-2.0 */
/* prewarm BYTES - touches and frees that much memory (tests/lib/bench_env.h says why), in huge pages. */
#include <stdio.h>

#include "tests/lib/bench_env.h"

int main(int argc, char **argv)
{
	size_t bytes;

	if (argc != 2 || !bench_size(argv[1], &bytes)) {
		fputs("usage: prewarm BYTES[K|M|G]\n", stderr);
		return 2;
	}
	bench_prewarm(bytes);
	return 0;
}
