/* SPDX-License-Identifier: Apache-2.0 */
/* criu_main.h - the program as criu: its verbs, its options, its words where scripts read them.
 *
 *   criu ...         under that name, or as `dray criu ...`: exit status 0 or 1, as criu's
 *   dray VERB ...    the same verbs by themselves: exit status by dray's table, and that of the root for a restore that waits for it
 *
 * Threads: the main one. */
#ifndef DRAY_MIGRATE_CRIU_MAIN_H
#define DRAY_MIGRATE_CRIU_MAIN_H

#include <stdbool.h>

#include "migrate/cli/verbs.h"

/* Whether argv[0] asks for it. */
bool criu_is_name(const char *path);
/* argv[0] is the name, the rest is criu's. Returns the process's exit code. */
int criu_main(int argc, char **argv);

/* `dray criu`, and criu's verbs under dray's name but for those of which dray has its own. */
extern const struct verb_family criu_verbs_of_dray;

#endif
