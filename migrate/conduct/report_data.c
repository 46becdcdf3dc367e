/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/conduct/report.h"

static const char *const outcome_names[MIGRATION_OUTCOMES] = {
	[MIGRATION_UNFINISHED] = "unfinished", [MIGRATION_MOVED] = "moved",
	[MIGRATION_ABORTED] = "aborted",       [MIGRATION_CANCELLED] = "cancelled",
	[MIGRATION_UNDECIDED] = "undecided",   [MIGRATION_GONE] = "gone",
};

static const char *const event_names[MIGRATION_EVENTS] = {
	[EVENT_START] = "start",       [EVENT_ARMED] = "armed",         [EVENT_ROUND_BEGIN] = "round-begin",
	[EVENT_PROGRESS] = "progress", [EVENT_ROUND_END] = "round-end", [EVENT_FREEZE] = "freeze",
	[EVENT_PREPARED] = "prepared", [EVENT_COMMIT] = "commit",       [EVENT_RUNNING] = "running",
	[EVENT_LATE] = "late-pages",   [EVENT_THAW] = "thaw",         [EVENT_END] = "end",
};

const char *migration_outcome_name(enum migration_outcome outcome)
{
	return (unsigned)outcome < MIGRATION_OUTCOMES ? outcome_names[outcome] : "unknown";
}

const char *migration_event_name(enum migration_event event)
{
	return (unsigned)event < MIGRATION_EVENTS ? event_names[event] : "unknown";
}

void migration_report_add(struct migration_report *r, const struct round_report *round)
{
	if (r->rounds < REPORT_MAX_ROUNDS)
		r->round[r->rounds++] = *round;
	r->pages += round->pages;
	r->zero_pages += round->zero_pages;
	r->drop_pages += round->drop_pages;
	r->raw_bytes += round->raw_bytes;
	r->wire_bytes += round->wire_bytes;
	r->cpu_us += round->cpu_us;
}
