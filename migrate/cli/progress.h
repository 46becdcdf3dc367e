/* SPDX-License-Identifier: Apache-2.0 */
/* progress.h - the live line of a migration: a pure renderer, and the terminal it is redrawn on.
 *
 *   round 3  [##########----------]  52 %  118 MiB left  dirty 50.2 MiB/s  link 4.21 GiB/s  blackout 31.0 ms
 *
 * What does not fit the terminal is left out from the right; the line never wraps. Threads: one. Ownership: borrows the stream. */
#ifndef DRAY_MIGRATE_PROGRESS_H
#define DRAY_MIGRATE_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "migrate/conduct/report.h"

enum { PROGRESS_MAX_WIDTH = 160 };

/* Of the round's pages, 0 to 1; 1 for a round without pages. */
double progress_fraction(const struct progress *p);
/* At most width columns (ASCII only) and a NUL into buf. Returns the columns. */
size_t progress_format(const struct progress *p, unsigned width, char *buf, size_t size);

struct progress_line { FILE *out; bool terminal, shown; };
void progress_line_init(struct progress_line *l, FILE *out); /* asks whether out is a terminal */
void progress_line_show(struct progress_line *l, const struct progress *p); /* nothing where it is not */
void progress_line_clear(struct progress_line *l);

#endif
