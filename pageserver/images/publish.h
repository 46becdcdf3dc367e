/* SPDX-License-Identifier: Apache-2.0 */
/* publish.h - a set that lies aside, written and closed, gets its names: all of them, or none. Where it stops half-way, what has its name already goes back,
 * and the page maps that were there before are there again.
 *
 * Pages files come first, each under a number that nobody else has, then the page maps that name them. A page map that is replaced waits aside until the
 * last one is in its place (on filesystems that can't exchange two names it is gone at once), and goes with its pages file when the caller settles that.
 * Threads: one. Fails: err. */
#ifndef DRAY_PAGESERVER_PUBLISH_H
#define DRAY_PAGESERVER_PUBLISH_H

#include "pageserver/images/aside.h"
#include "pageserver/images/set_maps.h"

struct publish_options {
	const struct aside *aside; /* borrowed, as are the others; published into its home */
	struct set_maps *maps;
	const char *parent;        /* what the link `parent` is to say, where there is none yet; NULL: no link */
	bool durable;              /* the names are on the disk when it returns */
};
int publish_set(const struct publish_options *o, struct err *e);
/* Afterwards one of the two, before the aside is closed: what it replaced goes too, or all of it is taken back but the link to the parent. */
void publish_settle(const struct publish_options *o);
void publish_revoke(const struct publish_options *o);

#endif
