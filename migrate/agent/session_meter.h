/* SPDX-License-Identifier: Apache-2.0 */
/* session_meter.h - what a session adds to the agent's metrics and to its own row of the status. Threads: the session's. */
#ifndef DRAY_MIGRATE_SESSION_METER_H
#define DRAY_MIGRATE_SESSION_METER_H

#include "pageserver/stream_recv.h"
#include "proto/base/metrics.h"

/* A round that the husk has placed. */
void session_count_round(struct metrics *m, struct session_row *row, const struct stream_recv_stats *stats);

#endif
