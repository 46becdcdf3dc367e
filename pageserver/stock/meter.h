/* SPDX-License-Identifier: Apache-2.0 */
/* meter.h - what a session of the page server tells the daemon's metrics. Told a buffer at a time, not a range at a time: nothing is added to
 * shared memory for each page.
 * Threads: the session's. Lifetime: by value; the metrics and the row are borrowed. Every call accepts NULL and does nothing then. */
#ifndef DRAY_PAGESERVER_METER_H
#define DRAY_PAGESERVER_METER_H

#include <stdint.h>

#include "pageserver/stock/server.h"
#include "proto/base/metrics.h"

struct ps_meter {
	struct metrics *metrics;
	struct session_row *row; /* may be NULL */
	struct page_server_report told;
	bool begun; /* counted as a session */
};

/* Adds what r has more than was told before. */
void ps_meter_progress(struct ps_meter *m, const struct page_server_report *r);
void ps_meter_begun(struct ps_meter *m); /* a session, and not somebody who says nothing */
/* Of who is given pages: so many so far. */
void ps_meter_served(struct ps_meter *m, uint64_t pages);
void ps_meter_phase(struct ps_meter *m, enum session_phase phase);
void ps_meter_answered(struct ps_meter *m, uint64_t us);
void ps_meter_limit(struct ps_meter *m, enum metric_limit limit);
/* How a session ended, for the daemon to say, which is there still: outcome as METRIC_PS_ENDED has it; kept_out: TLS did not let it begin; running: how many
 * are left. m NULL: nothing is counted. */
void ps_count_end(struct metrics *m, struct session_row *row, unsigned outcome, bool kept_out, uint64_t running);

#endif
