/* SPDX-License-Identifier: Apache-2.0 */
/* check.h - what dumping and restoring needs of the kernel and of this process's rights: a table of features, each with a probe.
 * Probes change nothing that outlives them. Threads: one (some fork). Fails: err, the feature named. */
#ifndef DRAY_MIGRATE_CHECK_H
#define DRAY_MIGRATE_CHECK_H

#include <stdbool.h>

#include "proto/base/err.h"

struct check_feature {
	const char *name; /* criu's name for it where it has one */
	bool needed;      /* by every dump or restore; else by those that meet what it is for */
	const char *what; /* it is for; no full stop */
	int (*probe)(void); /* 0 or -errno */
};

extern const struct check_feature check_features[]; /* ends with a NULL name */

/* All that every dump and restore needs. ERR_UNSUPPORTED (ERR_PERMISSION where rights are missing) names each that is not there. */
int criu_check(struct err *e);
/* One of them by name. ERR_USAGE: there is none of that name. */
int criu_check_feature(const char *name, struct err *e);

#endif
