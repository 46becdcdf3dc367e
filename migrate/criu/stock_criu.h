/* SPDX-License-Identifier: Apache-2.0 */
/* stock_criu.h - the criu that a distribution installed, for what the native engine can't carry, and the choice between the two.
 *
 *   auto     native where it can carry everything, else criu, if one is installed and its own check says that it works here
 *   native   never criu
 *   criu     always criu
 *
 * What one takes over it takes over whole: this process becomes criu, with the request still unread in its socket, so that descriptors,
 * notifications and exit codes are criu's own.
 * Threads: the only one of its process. */
#ifndef DRAY_MIGRATE_STOCK_CRIU_H
#define DRAY_MIGRATE_STOCK_CRIU_H

#include <limits.h>
#include <stdbool.h>

#include "proto/base/err.h"

enum engine { ENGINE_AUTO, ENGINE_NATIVE, ENGINE_CRIU };

struct engine_choice {
	enum engine engine;
	const char *criu; /* its path; NULL: the first criu of PATH that is not this program */
};

/* name: NULL or empty: what DRAY_ENGINE says, else auto. criu: NULL: what DRAY_CRIU says, if anything. */
int engine_choose(const char *name, const char *criu, struct engine_choice *c, struct err *e);

/* Where it is. False: nowhere. */
bool stock_criu_find(const struct engine_choice *c, char path[PATH_MAX]);
/* Whether its own `check` is content. Runs it. */
bool stock_criu_works(const char *path);
/* Becomes it. argv ends with NULL. fd: the descriptor that it shall have beside the standard ones; -1: none. -1: it could not be started. */
int stock_criu_become(const char *path, char *const *argv, int fd, struct err *e);

#endif
