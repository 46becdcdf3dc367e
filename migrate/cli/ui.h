/* SPDX-License-Identifier: Apache-2.0 */
/* ui.h - what `dray migrate` shows while it works: an observer (migrate/conduct/report.h) that prints.
 *
 *   --json      each event as a line on out
 *   else        the live line on err where that is a terminal, a line for each round where it is not; the table on out at the end
 *
 * Threads: one at a time, as an observer. By value; nothing to free. */
#ifndef DRAY_MIGRATE_UI_H
#define DRAY_MIGRATE_UI_H

#include "migrate/cli/progress.h"
#include "migrate/conduct/report.h"

struct ui {
	FILE *out, *err;
	bool json;
	struct progress_line line;
};

void ui_init(struct ui *u, bool json, FILE *out, FILE *err);
/* The observer that shows on u; borrows u. */
struct observer ui_observer(struct ui *u);

#endif
