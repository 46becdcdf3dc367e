/* SPDX-License-Identifier: Apache-2.0 */
/* session_dir.h - a directory for each session, its name made from a template: "/srv/images/%p/%n".
 *
 *   %n  number of the session, from 1; the next one whose directory is not there yet
 *   %p  address of the sender, without its port ("unix" where it has none)
 *   %t  when it came, UTC: 20261124T141725Z
 *   %%  a percent sign
 *
 * The part before the first component that has a letter must be there; what follows is made, never through a symbolic link, for the owner alone.
 * Threads: any. Fails: err that names the path. */
#ifndef DRAY_PAGESERVER_SESSION_DIR_H
#define DRAY_PAGESERVER_SESSION_DIR_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "proto/base/err.h"

struct session_name {
	uint64_t number;
	const char *peer;
	time_t start;
};

struct session_dir {
	int fd;              /* -1: none */
	char path[PATH_MAX]; /* as the template has it */
};

/* Whether sessions can be told apart by it: known letters, %n among them. */
int session_template_check(const char *template, struct err *e);
/* Whether the part before the first letter is a directory in which others can be made. */
int session_base_check(const char *template, struct err *e);
/* Pure. */
int session_path(const char *template, const struct session_name *n, char path[PATH_MAX], struct err *e);
/* Makes a directory that was not there before, counting n->number on as long as there is one. */
int session_dir_make(const char *template, struct session_name *n, struct session_dir *d, struct err *e);
/* Has the names on the disk by which it is found, its own and those of the directories that may have been made for it. */
int session_dir_sync(const char *template, const struct session_dir *d, struct err *e);
/* Closes it. remove: and takes it away if nothing is in it. Accepts one with fd -1. */
void session_dir_close(struct session_dir *d, bool remove);
/* How a directory of the same template names `to`, another one of it: "../../10.0.0.2/7". */
int session_dir_relative(const char *template, const char *to, char path[PATH_MAX], struct err *e);

#endif
