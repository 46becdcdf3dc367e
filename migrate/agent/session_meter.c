/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/agent/session_meter.h"

void session_count_round(struct metrics *m, struct session_row *row, const struct stream_recv_stats *stats)
{
	metrics_add(m, METRIC_MIG_ROUNDS, 0, 1);
	metrics_add(m, METRIC_MIG_PAGES, 0, stats->pages);
	metrics_add(m, METRIC_MIG_ZERO_PAGES, 0, stats->dropped);
	metrics_add(m, METRIC_MIG_RECEIVED, 0, stats->wire_bytes);
	if (!row)
		return;
	row->pages += stats->pages;
	row->bytes += stats->wire_bytes;
}
