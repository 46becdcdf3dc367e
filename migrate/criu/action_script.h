/* SPDX-License-Identifier: Apache-2.0 */
/* action_script.h - programs that are run at the stages of a dump or a restore (criu's --action-script). They find the stage in
 * CRTOOLS_SCRIPT_ACTION, a path to the images in CRTOOLS_IMAGE_DIR, and the root of the tree, where there is one, in CRTOOLS_INIT_PID. They work
 * in the work directory; what they print goes where the log goes.
 * Threads: the only one of its process. Owns nothing. */
#ifndef DRAY_MIGRATE_CRIU_ACTION_SCRIPT_H
#define DRAY_MIGRATE_CRIU_ACTION_SCRIPT_H

#include <stddef.h>
#include <sys/types.h>

#include "proto/base/err.h"

struct action_scripts { char *const *path; size_t n; }; /* paths, or names that PATH has */

/* Runs all in their order, until one fails; none where a client would have to answer a question. init_pid: 0 where there is none. Fails: the script and its exit status are named. */
int action_scripts_run(const struct action_scripts *s, const char *action, int images_dir, int work_dir, pid_t init_pid, struct err *e);

#endif
