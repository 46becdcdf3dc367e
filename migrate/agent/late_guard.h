/* SPDX-License-Identifier: Apache-2.0 */
/* late_guard.h - a process that sees to it that nobody reads zeros where a page is still on its way.
 *
 * The kernel gives zeros to a process whose userfaultfd nobody holds any more. So a second process shares the session's table of descriptors: what
 * the session gets, it holds too, from that moment on, the userfaultfds of children that are forked meanwhile as well. When the session is killed,
 * the guard does what it was given to do, which is to end the process and its children, before it lets go; whom it could not end waits for his pages as
 * long as he lives, and so does the guard. It outlives the session by that much, and so
 * do the session's connections and its lock: whoever finds them gone finds the process ended. A guard that is killed itself is replaced before the
 * session does anything else; that takes no descriptor, of which there may be none left.
 *
 * Threads: started by the single-threaded session. Lifetime: a zeroed guard is none; start/release. Fails: err. */
#ifndef DRAY_MIGRATE_LATE_GUARD_H
#define DRAY_MIGRATE_LATE_GUARD_H

#include <stdbool.h>
#include <sys/types.h>

#include "proto/base/err.h"

/* In the guard, of the session's memory as it was at the start and of its descriptors as they were at its end. */
typedef void late_guard_deed(void *arg);

struct late_guard {
	pid_t pid; /* 0: none */
	int release, session, end; /* descriptors; end is readable when the guard is gone: to poll */
	late_guard_deed *deed;
	void *arg;
};

int late_guard_start(struct late_guard *g, late_guard_deed *deed, void *arg, struct err *e);
/* Starts another one where it is gone. Where there is no room for a process it waits for some, ten seconds: nobody is given a page meanwhile. -1: nothing
 * ends the process any more when the session is killed. */
int late_guard_keep(struct late_guard *g, struct err *e);
/* The session is going to end, and some may live who will not get their pages: the guard does its deed then. What the caller closes from here on stays open
 * in the guard. False: not so; it is as before. */
bool late_guard_leave(struct late_guard *g);
/* Every page is there, or the process is being ended anyway: the guard goes without a deed, and is waited for. */
void late_guard_release(struct late_guard *g);

#endif
