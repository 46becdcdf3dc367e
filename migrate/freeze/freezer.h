/* SPDX-License-Identifier: Apache-2.0 */
/* freezer.h - a stop that outlives whoever made it: a cgroup v2 child made for the purpose, or SIGSTOP where there is none.
 * The child cgroup is made below the one that the process is in, so that its limits go on to count; it is removed again.
 * Threads: any. Fails: err. */
#ifndef DRAY_MIGRATE_FREEZER_H
#define DRAY_MIGRATE_FREEZER_H

#include <stdbool.h>
#include <sys/types.h>

#include "proto/base/err.h"

enum freezer_kind { FREEZER_NONE = 0, FREEZER_CGROUP, FREEZER_SIGSTOP };

/* By value, and plain text throughout: it is written to the journal, so that another process can thaw or kill. */
struct freezer {
	enum freezer_kind kind;
	pid_t pid;
	unsigned long long start_time; /* field 22 of /proc/PID/stat: tells a reused pid */
	char home[512];  /* cgroup directory it came from, absolute */
	char cgroup[560]; /* ours, absolute */
};

/* What freezer_create would make, as far as can be told before: for who writes it down first. */
int freezer_plan(struct freezer *f, pid_t pid, const char *id, struct err *e);
/* Moves pid (all its threads) into a cgroup of its own named after id, not frozen yet. */
int freezer_create(struct freezer *f, pid_t pid, const char *id, struct err *e);
/* From its tracer, who alone can tell while it is traced: its user had stopped it, which no thaw is to take back. */
void freezer_was_stopped(struct freezer *f);
int freezer_freeze(struct freezer *f, struct err *e); /* waits until it is */
int freezer_thaw(struct freezer *f, struct err *e);
/* SIGKILL to all in it, waits until they are gone; and to the process, should it have been moved out of it. Without a cgroup: to the process and its children,
 * and theirs, as far as their parents live. */
int freezer_kill(struct freezer *f, struct err *e);
/* Moves the process back home where it lives, removes the cgroup. Accepts a zeroed object. */
void freezer_remove(struct freezer *f);

#endif
