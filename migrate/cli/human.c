/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/cli/human.h"

#include <inttypes.h>
#include <stdio.h>

/* 1.21, 12.1, 121, 1021 */
static void three_digits(struct human *h, double v, const char *unit)
{
	int decimals = v < 9.995 ? 2 : v < 99.95 ? 1 : 0;

	snprintf(h->text, sizeof(h->text), "%.*f %s", decimals, v, unit);
}

struct human human_bytes(uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)bytes;
	struct human h;
	unsigned u = 0;

	if (bytes < 1024) {
		snprintf(h.text, sizeof(h.text), "%" PRIu64 " B", bytes);
		return h;
	}
	for (; v >= 1023.5 && u < 6; u++)
		v /= 1024;
	three_digits(&h, v, units[u]);
	return h;
}

struct human human_rate(uint64_t per_s)
{
	struct human b = human_bytes(per_s), h;

	snprintf(h.text, sizeof(h.text), "%.18s/s", b.text);
	return h;
}

struct human human_time(uint64_t us)
{
	struct human h;

	if (us < 1000)
		snprintf(h.text, sizeof(h.text), "%" PRIu64 " us", us);
	else if (us < 999500)
		three_digits(&h, (double)us / 1e3, "ms");
	else if (us < 60000000)
		three_digits(&h, (double)us / 1e6, "s");
	else
		snprintf(h.text, sizeof(h.text), "%" PRIu64 " m %" PRIu64 " s", us / 60000000, us / 1000000 % 60);
	return h;
}
