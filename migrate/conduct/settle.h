/* SPDX-License-Identifier: Apache-2.0 */
/* settle.h - the source's side of "exactly one copy lives": what becomes of a stopped tree when commit may have been sent.
 * Only the destination knows; it is asked by the migration's id until it answers. Used by the migrating process, by its keeper when that
 * process is gone, and by `dray recover`. Threads: any; blocks. */
#ifndef DRAY_MIGRATE_SETTLE_H
#define DRAY_MIGRATE_SETTLE_H

#include <stdint.h>

#include "migrate/conduct/journal.h"
#include "migrate/conduct/link.h"
#include "migrate/keeper/keeper.h"
#include "proto/base/err.h"

/* Asks again and again for up to patience_us. LINK_UNKNOWN is an answer too. A destination that misses pages of the original (post-copy) gets them
 * first. -1 with ERR_UNDECIDED: nobody could be asked, or not all pages could be given. original: the frozen process; there: out, its number
 * at the destination. The destination goes on knowing it: link_forget once the original has ended. */
int settle_ask(const struct link_config *link, pid_t original, uint64_t patience_us, enum link_outcome *outcome, uint32_t *there, struct err *e);

/* What a keeper whose migrating process is gone does: reads the record, asks if it must. */
struct settle_facts {
	char state_dir[512];
	char destination[280];
	char congestion[16]; /* "" for the system's */
	struct migration_id id;
	const struct tls_config *tls; /* as the migrating process had it, whose memory the keeper has a copy of */
	struct settle_case *open;     /* the keeper's, between the two calls */
};
/* Of a struct keeper_settler. */
enum keeper_verdict settle_for_keeper(void *facts, bool kept);
void settled_by_keeper(void *facts, bool failed);

/* `dray recover`: one record of this side whose owner is dead, brought to its end: asks the destination where it must (or not, with
 * force), thaws or kills, removes the record. */
enum settle_force { SETTLE_ASK, SETTLE_THAW, SETTLE_KILL };
struct settle_job {
	const char *state_dir;
	struct tls_gate *tls; /* for asking; NULL: plain text */
	enum settle_force force;
};
int settle_record(const struct settle_job *job, const struct migration_id *id, enum keeper_verdict *verdict, struct err *e);

/* For who begins in a state directory: what dead processes left of migrations that were never committed. Nobody is asked; a tree that is frozen runs on, its
 * cgroup goes. What can't be done is logged, and stays for the next. Not while a journal of this process is open. */
void settle_leftovers(const char *state_dir);

#endif
