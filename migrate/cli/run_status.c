/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "migrate/cli/run.h"
#include "migrate/cli/status.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"

/* Where the units have theirs. */
static const char *const usual[] = { "/run/drayage-agent/metrics.sock", "/run/drayage-page-server/metrics.sock" };
enum { USUAL = sizeof(usual) / sizeof(usual[0]) };

/* One daemon, as it was last seen. */
struct seen {
	const char *where;
	char *text;
	struct status status;
	uint64_t us;
};

static void forget(struct seen *s)
{
	status_finish(&s->status);
	free(s->text);
	s->text = NULL;
}

static int look(struct seen *s, struct err *e)
{
	struct seen now = { .where = s->where, .text = status_fetch(s->where, e), .us = clock_us() };

	if (!now.text)
		return -1;
	if (status_parse(now.text, &now.status, e) < 0) {
		forget(&now);
		return err_wrap(e, "%s", s->where);
	}
	if (s->text)
		status_rates(&now.status, &s->status, now.us - s->us);
	forget(s);
	*s = now;
	return 0;
}

static int show(const struct status_config *c, struct seen *seen, size_t count, struct err *e)
{
	for (size_t i = 0; i < count; i++)
		if (look(&seen[i], e) < 0)
			return -1;
	if (c->watch && !c->json && isatty(STDOUT_FILENO))
		fputs("\033[H\033[2J", stdout);
	for (size_t i = 0; i < count; i++)
		(c->json ? status_print_json : status_print)(&seen[i].status, stdout);
	return fflush(stdout) != 0 ? err_sys(e, "standard output") : 0;
}

/* Until Ctrl-C. */
static int watch(const struct status_config *c, struct seen *seen, size_t count, struct err *e)
{
	const struct timespec interval = { .tv_sec = (time_t)(c->interval_ms / 1000), .tv_nsec = (long)(c->interval_ms % 1000) * 1000000 };
	sigset_t ends;

	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	do {
		if (show(c, seen, count, e) < 0)
			return -1;
	} while (sigtimedwait(&ends, NULL, &interval) < 0);
	return 0;
}

static size_t choose(const struct status_config *c, struct seen seen[USUAL])
{
	size_t count = 0;

	if (c->where)
		seen[count++].where = c->where;
	for (size_t i = 0; !c->where && i < USUAL; i++)
		if (access(usual[i], F_OK) == 0)
			seen[count++].where = usual[i];
	return count;
}

int run_status(const void *config, struct err *e)
{
	const struct status_config *c = config;
	struct seen seen[USUAL] = { 0 };
	size_t count = choose(c, seen);
	int rc;

	if (count == 0)
		return err_set(e, ERR_PEER, 0, "neither %s nor %s is there: name the socket or address that the daemon was given with --metrics", usual[0],
			       usual[1]);
	rc = c->watch ? watch(c, seen, count, e) : show(c, seen, count, e);
	for (size_t i = 0; i < count; i++)
		forget(&seen[i]);
	return rc;
}
