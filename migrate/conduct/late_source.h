/* SPDX-License-Identifier: Apache-2.0 */
/* late_source.h - the source's side of post-copy: the frozen original gives its pages away, those that somebody waits for first.
 *
 * Two threads, two connections: one answers the destination's questions with the page and what is missing right around it, one pushes the rest
 * unasked: what lies behind the last question, else the blocks of 2 MiB that were written to most. The original stays frozen until the
 * destination says that it has every page. A connection that breaks changes nothing: the destination is asked what it misses, and it goes on.
 *
 * Threads: one owner; late_source_left by any. Lifetime: create, destroy (ends the threads). Fails: err; ERR_PEER: the connection is lost. */
#ifndef DRAY_MIGRATE_LATE_SOURCE_H
#define DRAY_MIGRATE_LATE_SOURCE_H

#include <stdint.h>
#include <sys/types.h>

#include "migrate/conduct/link.h"
#include "proto/base/err.h"
#include "proto/wire/runs.h"

struct late_source;

struct late_stats { uint64_t faults, pages, wire_bytes; };

struct late_source *late_source_create(pid_t pid, struct err *e);
void late_source_destroy(struct late_source *s); /* accepts NULL */
/* Opens both connections; before the freeze, so that it costs the blackout nothing. */
int late_source_connect(struct late_source *s, const struct link_config *link, struct err *e);
/* The process stands still: answers questions about these pages from now on. missing: ascending, borrowed for the call. */
int late_source_answer(struct late_source *s, const struct run_list *missing, struct err *e);
/* Pushes, until the destination says that it has all. */
int late_source_push(struct late_source *s, struct err *e);
uint64_t late_source_left(const struct late_source *s); /* pages not sent yet */
struct late_stats late_source_stats(const struct late_source *s);

/* After a lost connection, and for who takes over from a process that is gone: asks the destination what it misses, gives it that, again and again
 * for up to patience_us without success. *outcome: LINK_RUNNING once it has every page; LINK_ABORTED when it ended its copy: the original may
 * run. -1 with ERR_UNDECIDED: the original must stay as it is. s: NULL, or the one that lost its connection. */
int late_source_resume(struct late_source *s, pid_t pid, const struct link_config *link, uint64_t patience_us, enum link_outcome *outcome,
		       uint32_t *there, struct err *e);

#endif
