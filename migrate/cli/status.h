/* SPDX-License-Identifier: Apache-2.0 */
/* status.h - what a daemon says of itself and its sessions (GET /status of its --metrics), read into values.
 * Threads: any. Fails: err; a text that is none of it is ERR_PROTOCOL. */
#ifndef DRAY_MIGRATE_STATUS_H
#define DRAY_MIGRATE_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/base/err.h"

struct status_config {
	const char *where; /* ADDRESS:PORT, [unix:]PATH of a socket, or a directory with metrics.sock in it; NULL: where the units have theirs */
	bool watch, json;
	uint64_t interval_ms;
};

struct status_session {
	uint64_t number, age_us, pages, bytes, left_us;
	uint64_t rate; /* bytes per second, on average */
	bool has_deadline;
	const char *peer, *state, *dir; /* into the text */
};
struct status {
	const char *daemon;
	uint64_t pid, up_us, running, succeeded, failed;
	struct status_session *session; /* owned */
	size_t sessions;
};

/* The answer's body, owned, or NULL. */
char *status_fetch(const char *where, struct err *e);
/* Cuts the text into pieces; it must stay as long as s. */
int status_parse(char *text, struct status *s, struct err *e);
void status_finish(struct status *s); /* accepts a zeroed one */
/* Rates from one look to the next, for sessions that are in both. */
void status_rates(struct status *now, const struct status *before, uint64_t us);
void status_print(const struct status *s, FILE *out);
void status_print_json(const struct status *s, FILE *out); /* one line */

#endif
