/* SPDX-License-Identifier: Apache-2.0 */
/* aside.h - a directory inside an image directory where files are written that are no set yet: `.drayage-set-XXXXXXXX`, held by a lock as long as
 * its maker lives. What a killed maker left behind is removed by the next one that works in the same image directory.
 * Threads: an object belongs to one. Lifetime: open/close; aside_close accepts a closed one. Fails: err. */
#ifndef DRAY_PAGESERVER_ASIDE_H
#define DRAY_PAGESERVER_ASIDE_H

#include <stdbool.h>

#include "proto/base/err.h"

struct aside {
	int home; /* the image directory, borrowed */
	int dir;  /* files are made in it by their final names; -1: closed */
	char name[32];
};
int aside_open(struct aside *a, int home, struct err *e);
/* Moves a file of it into the image directory, in the place of one that has the name, which comes aside, or not (then ERR_CONFLICT). */
int aside_publish(const struct aside *a, const char *name, bool replace, struct err *e);
/* As if it had not been published: it is aside again, and what came aside for it is in its place. */
void aside_take_back(const struct aside *a, const char *name);
/* Removes the directory and what is still in it. */
void aside_close(struct aside *a);

#endif
