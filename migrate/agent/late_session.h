/* SPDX-License-Identifier: Apache-2.0 */
/* late_session.h - the destination's side of post-copy: the session's connections to the source for pages that come after the process
 * runs, and the process's memory that waits for them (pageserver/late/late_memory.h).
 *
 * A connection that breaks is no failure: the process stands still where it needs a page until the source comes back with a new one.
 * Threads: the session's only one. Nothing here blocks but late_session_arm, and what replaces a killed guard where there is no room for a process. Fails: err. */
#ifndef DRAY_MIGRATE_LATE_SESSION_H
#define DRAY_MIGRATE_LATE_SESSION_H

#include <poll.h>
#include <stdbool.h>

#include "control.pb-c.h"
#include "migrate/agent/late_guard.h"
#include "proto/wire/late.h"
#include "pageserver/late/late_memory.h"
#include "state.pb-c.h"

enum { LATE_POLL = 2 + LATE_CONNECTIONS };

struct late_session;

/* ranges: what the last round announced as late. uffd: the husk's; taken, also on failure. */
struct late_session *late_session_create(Drayage__Range *const *range, size_t count, int uffd, struct err *e);
void late_session_destroy(struct late_session *s); /* accepts NULL */
/* A connection of role HELLO_LATE; taken. Replaces the one before it: what is waited for is asked for again. */
void late_session_connect(struct late_session *s, enum late_connection which, int fd);

/* The process is rebuilt and held by ptrace. Its mappings are watched from here on; pages that the rebuild itself made the kernel touch are fetched
 * and written now. deed: what ends the process if this one is killed before all its pages are there (late_guard.h). */
int late_session_arm(struct late_session *s, pid_t pid, const MmEntry *mm, late_guard_deed *deed, void *arg, struct err *e);

/* Before the process runs: that its guard is there still. */
int late_session_keep_guard(struct late_session *s, struct err *e);
uint64_t late_session_missing(const struct late_session *s);
void late_session_poll(const struct late_session *s, struct pollfd p[LATE_POLL]); /* what to poll */
/* Takes what is there, once a killed guard is replaced. -1: the process can't be given its pages. */
int late_session_serve(struct late_session *s, struct err *e);
/* Says to the source that every page is there, and releases the guard. The copy of the source is nobody's any more then. */
void late_session_finish(struct late_session *s);
/* The tree is to be ended for want of its pages. From here on all its memory is the guard's, who ends it once more when we are gone; and there is room for
 * descriptors, of which the want may have been. Then only late_session_destroy. */
void late_session_leave(struct late_session *s);
/* The pages that are missing, for an Outcome (range_list_make). */
int late_session_list(const struct late_session *s, Drayage__Range ***range, size_t *count, struct err *e);

#endif
