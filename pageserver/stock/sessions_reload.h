/* SPDX-License-Identifier: Apache-2.0 */
/* sessions_reload.h - what a page server knows of its sessions, written down for the program that takes its place in the same process (reload.h), and
 * read there. Text, a NUL behind each record, so that the two may be of different versions.
 * Threads: as sessions.h. */
#ifndef DRAY_PAGESERVER_SESSIONS_RELOAD_H
#define DRAY_PAGESERVER_SESSIONS_RELOAD_H

#include <stdbool.h>
#include <stdio.h>

#include "pageserver/stock/sessions.h"

void sessions_write(const struct sessions *s, FILE *out); /* whether that went well is for the caller to ask out */
/* Whether the lines to the sessions stay open over an exec. */
void sessions_keep(const struct sessions *s, bool over_exec);
/* A record. s: begun; rows: its metrics are those of the program before, with the rows. False: it is none that this version knows, or can't be kept; its
 * session goes on by itself. */
bool sessions_read(struct sessions *s, bool rows, const char *words);

#endif
