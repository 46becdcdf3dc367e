/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/cli/ui.h"

#include "migrate/cli/report.h"

void ui_init(struct ui *u, bool json, FILE *out, FILE *err)
{
	*u = (struct ui){ .out = out, .err = err, .json = json };
	progress_line_init(&u->line, err);
}

static void show_to_people(struct ui *u, enum migration_event event, const struct migration_report *r, const struct progress *p)
{
	if (p)
		progress_line_show(&u->line, p);
	if (event == EVENT_ROUND_END && r->rounds && !u->line.terminal)
		report_print_round(&r->round[r->rounds - 1], u->err);
	if (event == EVENT_END) {
		progress_line_clear(&u->line);
		report_print_table(r, u->out);
	}
}

static void on_event(void *arg, enum migration_event event, const struct migration_report *r, const struct progress *p)
{
	struct ui *u = arg;

	/* A reader that went away is no reason to stop a migration. */
	if (u->json)
		report_json_event(event, r, p, u->out);
	else
		show_to_people(u, event, r, p);
}

struct observer ui_observer(struct ui *u)
{
	return (struct observer){ .event = on_event, .arg = u };
}
