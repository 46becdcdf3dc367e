/* SPDX-License-Identifier: Apache-2.0 */
/* source.h - conducts one migration from its first look at the process to the end of one of the two copies.
 * Threads: call from the only thread of the process (it forks its keeper first, then starts threads); returns with none left. */
#ifndef DRAY_MIGRATE_SOURCE_H
#define DRAY_MIGRATE_SOURCE_H

#include "migrate/conduct/report.h"
#include "migrate/conduct/config.h"

/* 0: it lives at the destination. -1: report->error and report->outcome say what became of it. The report is filled in any case. */
/* cancel_fd: readable when the user wants it to stop; -1 for none. */
int migration_run(const struct migrate_config *config, int cancel_fd, const struct observer *observer, struct migration_report *report);

#endif
