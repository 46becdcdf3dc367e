/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/meter.h"

#include <stdatomic.h>

#include "proto/wire/runs.h"

/* Bytes before the pages that are in them: who has seen pages counted finds their bytes counted too. */
void ps_meter_progress(struct ps_meter *m, const struct page_server_report *r)
{
	if (!m)
		return;
	metrics_add(m->metrics, METRIC_PS_RECEIVED, 0, r->received - m->told.received);
	metrics_add(m->metrics, METRIC_PS_MAPS, 0, r->maps - m->told.maps);
	metrics_add(m->metrics, METRIC_PS_RANGES, 0, r->ranges - m->told.ranges);
	metrics_add(m->metrics, METRIC_PS_HOLE_PAGES, 0, r->in_parent - m->told.in_parent);
	metrics_add(m->metrics, METRIC_PS_PAGE_BYTES, 0, pages_to_bytes(r->pages - m->told.pages));
	metrics_add(m->metrics, METRIC_PS_PAGES, 0, r->pages - m->told.pages);
	m->told = *r;
	if (!m->row)
		return;
	atomic_store_explicit(&m->row->bytes, r->received, memory_order_relaxed);
	atomic_store_explicit(&m->row->pages, r->pages, memory_order_release);
}

void ps_meter_served(struct ps_meter *m, uint64_t pages)
{
	if (!m || !m->row)
		return;
	atomic_store_explicit(&m->row->bytes, pages_to_bytes(pages), memory_order_relaxed);
	atomic_store_explicit(&m->row->pages, pages, memory_order_release);
}

void ps_meter_begun(struct ps_meter *m)
{
	if (!m)
		return;
	m->begun = true;
	metrics_add(m->metrics, METRIC_PS_ACCEPTED, 0, 1);
}

void ps_meter_phase(struct ps_meter *m, enum session_phase phase)
{
	if (m)
		session_row_phase(m->row, phase);
}

void ps_meter_answered(struct ps_meter *m, uint64_t us)
{
	if (m)
		metrics_observe(m->metrics, METRIC_PS_QUESTIONS, us);
}

/* That it ended comes last: whoever sees that sees the rest. */
void ps_count_end(struct metrics *m, struct session_row *row, unsigned outcome, bool kept_out, uint64_t running)
{
	metrics_row_end(row);
	metrics_set(m, METRIC_PS_RUNNING, running);
	metrics_add(m, METRIC_TLS_FAILURES, 0, kept_out);
	metrics_add(m, METRIC_PS_ENDED, outcome, 1);
}

void ps_meter_limit(struct ps_meter *m, enum metric_limit limit)
{
	if (m)
		metrics_add(m->metrics, METRIC_LIMITS, (unsigned)limit, 1);
}
