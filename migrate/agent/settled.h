/* SPDX-License-Identifier: Apache-2.0 */
/* settled.h - the destination's records when no session is there to speak: set right at start, asked for later. Threads: any. */
#ifndef DRAY_MIGRATE_SETTLED_H
#define DRAY_MIGRATE_SETTLED_H

#include "migrate/conduct/journal.h"
#include "proto/base/err.h"
#include "proto/wire/hello.h"

/* At an agent's start: trees that a killed session left prepared are ended (they were never committed), those left committed are thawed.
 * Records whose session lives are left alone. A committed one's record stays until its source has said Done. */
int settled_recover(const char *state_dir, struct err *e);

/* The same for one, by who has its lock; takes j. */
void settled_end(struct journal *j);

/* Serves a QUERY connection whose hello is exchanged (borrowed): decides for good where nothing was decided. Blocks up to seconds:
 * run it in a process of its own. */
int settled_answer(const char *state_dir, const struct migration_id *id, int fd, struct err *e);

#endif
