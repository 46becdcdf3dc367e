/* SPDX-License-Identifier: Apache-2.0 */
/* dry_run_report.h - shows what migrate/conduct/dry_run.h found, for people or as one JSON object. Threads: one. Borrows all. */
#ifndef DRAY_MIGRATE_DRY_RUN_REPORT_H
#define DRAY_MIGRATE_DRY_RUN_REPORT_H

#include <stdio.h>

#include "migrate/conduct/dry_run.h"

void dry_run_print(const struct migrate_config *c, const struct dry_run *d, FILE *out);
int dry_run_json(const struct migrate_config *c, const struct dry_run *d, FILE *out); /* 0 or -errno */

#endif
