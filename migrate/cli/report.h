/* SPDX-License-Identifier: Apache-2.0 */
/* report.h - shows what migrate/conduct/report.h holds: a table for people, JSON lines for programs, and a line a round for logs.
 * The JSON fields are documented in dray(1) and only ever added to. Threads: one. Ownership: borrows all. Fails: through the stream. */
#ifndef DRAY_MIGRATE_CLI_REPORT_H
#define DRAY_MIGRATE_CLI_REPORT_H

#include <stdio.h>

#include "migrate/conduct/report.h"

void report_print_round(const struct round_report *r, FILE *out); /* one line */
void report_print_table(const struct migration_report *r, FILE *out); /* rounds, then what it came to */

/* One object, one line. p as an observer gets it. 0 or -errno. */
int report_json_event(enum migration_event event, const struct migration_report *r, const struct progress *p, FILE *out);

#endif
