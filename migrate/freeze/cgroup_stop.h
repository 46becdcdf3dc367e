/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup_stop.h - stop all that is in a control group that somebody else made, by its freezer (version 1 or 2), and let it go again.
 * A group that was frozen already is left frozen in the end. Threads: one. Lifetime: open/close; close accepts a zeroed object that
 * was set to CGROUP_STOP_NONE. Fails: err naming the group. */
#ifndef DRAY_MIGRATE_CGROUP_STOP_H
#define DRAY_MIGRATE_CGROUP_STOP_H

#include <stdbool.h>

#include "proto/base/err.h"

struct cgroup_stop {
	int dir;         /* owned */
	bool v2;         /* a tracer can stop frozen threads; version 1 lets nobody near them */
	bool was_frozen; /* before we came */
	bool frozen;     /* by us now */
};
#define CGROUP_STOP_NONE ((struct cgroup_stop){ .dir = -1 })

int cgroup_stop_open(struct cgroup_stop *s, const char *path, struct err *e);
int cgroup_stop_freeze(struct cgroup_stop *s, struct err *e); /* waits until it is */
int cgroup_stop_thaw(struct cgroup_stop *s, struct err *e);
/* Freezes it again, without waiting, where it was found frozen. */
void cgroup_stop_put_back(struct cgroup_stop *s);
void cgroup_stop_close(struct cgroup_stop *s);

#endif
