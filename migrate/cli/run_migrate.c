/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "migrate/cli/dry_run_report.h"
#include "migrate/cli/run.h"
#include "migrate/cli/ui.h"
#include "migrate/conduct/config.h"
#include "migrate/conduct/dry_run.h"
#include "migrate/conduct/source.h"
#include "proto/base/cleanup.h"
#include "proto/base/log.h"

static int run_dry(const struct migrate_config *c, struct err *e)
{
	struct dry_run d;
	bool blocked;

	if (dry_run(c, &d, e) < 0)
		return -1;
	if (c->json)
		dry_run_json(c, &d, stdout);
	else
		dry_run_print(c, &d, stdout);
	blocked = d.obstacles.count > 0;
	if (blocked)
		err_set(e, ERR_UNSUPPORTED, 0, "process %d would not move: %zu object%s can't be carried", (int)c->pid, d.obstacles.count,
			d.obstacles.count == 1 ? "" : "s");
	dry_run_finish(&d);
	return blocked ? -1 : 0;
}

/* Ctrl-C and a service manager's wish arrive as a readable descriptor: nothing runs in a handler. */
static int open_cancel_fd(struct err *e)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	return fd < 0 ? err_sys(e, "signalfd") : fd;
}

int run_migrate(const void *config, struct err *e)
{
	const struct migrate_config *c = config;
	cleanup_free struct migration_report *report = NULL;
	cleanup_fd int cancel = -1;
	struct observer observer;
	struct ui ui;
	int rc;

	log_set_level(c->log_level);
	if (c->dry_run)
		return run_dry(c, e);
	report = calloc(1, sizeof(*report));
	cancel = open_cancel_fd(e);
	if (!report || cancel < 0)
		return report ? -1 : err_sys(e, "report");
	ui_init(&ui, c->json, stdout, stderr);
	observer = ui_observer(&ui);
	rc = migration_run(c, cancel, &observer, report);
	if (rc < 0)
		*e = report->error;
	return rc;
}
