/* SPDX-License-Identifier: Apache-2.0 */
/* chain.h - which set was last published for whom: the parent of the next one.
 * Threads: one. Lifetime: a zeroed object is valid and empty. Holds as many as CHAINS_MAX; beyond, who came least recently is forgotten, and
 * his next set has no parent. */
#ifndef DRAY_PAGESERVER_CHAIN_H
#define DRAY_PAGESERVER_CHAIN_H

#include <stddef.h>

enum { CHAINS_MAX = 1024 };

struct chain { char *peer, *path; };
struct chains {
	struct chain *chain; /* by time of publication */
	size_t count;
};

void chains_set(struct chains *c, const char *peer, const char *path);
void chains_forget(struct chains *c, const char *peer);
const char *chains_last(const struct chains *c, const char *peer); /* NULL: none; borrowed until the next chains_set */
void chains_finish(struct chains *c);

#endif
