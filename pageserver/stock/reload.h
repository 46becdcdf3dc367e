/* SPDX-License-Identifier: Apache-2.0 */
/* reload.h - a page server goes on as the program that is installed now: the same process executes it anew, with the arguments that it was started with,
 * so whoever started it notices nothing; the socket that it listens on, its sessions, which are its children still, and its counters go along.
 *
 * Before that the new program is asked whether it could (page-server --check): what can't begin ends nobody's sessions.
 * Threads: the only one of its process. Fails: err. */
#ifndef DRAY_PAGESERVER_RELOAD_H
#define DRAY_PAGESERVER_RELOAD_H

#include <stdio.h>
#include <sys/types.h>

#include "pageserver/stock/sessions.h"

/* Asks; the answer is the exit status of the process, the caller's child: 0 yes. What stands in the way it says on standard error. -1. */
pid_t reload_ask(struct err *e);
/* Goes on as the other program. Returns when that can't be, -1: all is as it was, but for the environment. */
int reload_go(const struct sessions *s, struct err *e);

struct reload { /* what the other program finds; by value, zeroed: nothing */
	FILE *state;
	int listener, metrics; /* the caller's; metrics -1: none that this program can go on with */
};
/* Before anything else is opened: 1, 0: nothing was handed over. -1: it can't be understood. */
int reload_take(struct reload *h, struct err *e);
/* s: begun, with its metrics. Sessions that can't be taken over go on by themselves; the log says how many. Closes the state. */
void reload_sessions(struct reload *h, struct sessions *s);

#endif
