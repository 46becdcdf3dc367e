/* SPDX-License-Identifier: Apache-2.0 */
/* journal.h - the decision about a migration, kept where a killed process can't take it along.
 *
 * One file a migration and side, STATE_DIR/ID.source or ID.destination: "key value" lines, replaced by rename. A record must survive
 * the processes that write it, not the host: when the host dies, its copy of the tree is gone with it. So nothing is synced to disk on
 * the way of a freeze (docs/decisions/004), and the boot id in the record tells one from before a reboot.
 *
 * The writer holds a POSIX record lock on ID.SIDE.lock while it lives: who finds a record unlocked knows that its owner is dead.
 * Threads: one. Lifetime: journal_open/journal_close. */
#ifndef DRAY_MIGRATE_JOURNAL_H
#define DRAY_MIGRATE_JOURNAL_H

#include <stdbool.h>

#include "migrate/freeze/freezer.h"
#include "proto/base/err.h"
#include "proto/wire/hello.h"

enum journal_side { JOURNAL_SOURCE, JOURNAL_DESTINATION };
enum journal_state {
	JOURNAL_NONE = 0,
	JOURNAL_ARMED,      /* source: it runs, in a cgroup of ours: nothing to decide */
	JOURNAL_FROZEN,     /* source: stopped by its freezer, not committed: thaw */
	JOURNAL_COMMITTING, /* source: Commit may have been sent: only the destination knows */
	JOURNAL_KEPT,       /* source: moved, and the stopped original is wanted here (--keep-source) */
	JOURNAL_PREPARED,   /* destination: on its way in, or rebuilt and frozen; Commit has not come: abort */
	JOURNAL_COMMITTED,  /* destination: it lives here: thaw */
	JOURNAL_ABORTED,    /* destination: prepared once, never ran and never will */
	JOURNAL_STATES
};
const char *journal_state_name(enum journal_state state);

struct journal_record {
	enum journal_state state;
	struct freezer freezer;
	char peer[280]; /* source: HOST:PORT to ask; destination: who it came from */
	char comm[32];
	char identity[33]; /* source: of the destination's state directory, as it named it in the offer */
	bool keep_source;
	bool late;            /* destination, committed: post-copy was under way. With its session dead its memory is not whole: abort */
	bool this_boot;       /* out */
	long long written_at; /* out: seconds since the epoch */
};

struct journal;

/* Makes STATE_DIR (0700) where it is missing. Takes the lock: ERR_CONFLICT when another live process has it. Writes no record yet. */
struct journal *journal_open(const char *state_dir, const struct migration_id *id, enum journal_side side, struct err *e);
int journal_write(struct journal *j, const struct journal_record *r, struct err *e);
int journal_read(struct journal *j, struct journal_record *r, struct err *e); /* ERR_GONE: no record */
void journal_remove(struct journal *j); /* the record is not needed any more. Accepts NULL */
/* Releases the lock and takes its file away: a record without one has no owner. Accepts NULL. */
void journal_close(struct journal *j);

/* Reads a record without the lock: for other processes. ERR_GONE: none. *owned: its writer lives. */
int journal_peek(const char *state_dir, const struct migration_id *id, enum journal_side side, struct journal_record *r, bool *owned,
		 struct err *e);

/* 32 random hex digits that a state directory gets once. Who is asked about a migration that it has no record of, and has the same
 * identity as when it was offered, knows that it was never committed there; in another directory nothing is known. */
int journal_identity(const char *state_dir, char identity[33], struct err *e);

/* Takes away what killed processes left beside records: locks, records half written. */
void journal_sweep(const char *state_dir, enum journal_side side);

/* Calls fn for every record of a side until it returns false. Returns how many can't be read, of which e names one; -1. */
typedef bool journal_each_fn(const struct migration_id *id, const struct journal_record *r, bool owned, void *arg);
int journal_each(const char *state_dir, enum journal_side side, journal_each_fn *fn, void *arg, struct err *e);

#endif
