/* SPDX-License-Identifier: Apache-2.0 */
/* fold.h - a set that lies aside still, written and closed, made one that needs no parent, before it is published.
 * Takes the room of its page maps that have holes once more while it works, and the time to write them again; memory: the ranges of one page map and of
 * its chain. Threads: one. Fails: err; the set is not to be published then. */
#ifndef DRAY_PAGESERVER_FOLD_H
#define DRAY_PAGESERVER_FOLD_H

#include "pageserver/images/set_maps.h"

struct fold_options {
	int home, aside;         /* the image directory and the one inside it where the set is; borrowed */
	const char *parent_path; /* of the set before, as home names it; NULL: home has the link */
	bool durable;
};
/* maps: those of the set; their pages files get other numbers. */
int fold_set(const struct fold_options *o, struct set_maps *maps, struct err *e);

#endif
