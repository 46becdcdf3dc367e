/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/agent/session_meter.h"

void session_count_round(const struct session_config *c, const struct stream_recv_stats *stats)
{
	metrics_add(c->metrics, METRIC_MIG_ROUNDS, 0, 1);
	metrics_add(c->metrics, METRIC_MIG_PAGES, 0, stats->pages);
	metrics_add(c->metrics, METRIC_MIG_ZERO_PAGES, 0, stats->dropped);
	metrics_add(c->metrics, METRIC_MIG_RECEIVED, 0, stats->wire_bytes);
	if (!c->row)
		return;
	c->row->pages += stats->pages;
	c->row->bytes += stats->wire_bytes;
}
