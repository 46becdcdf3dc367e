/* SPDX-License-Identifier: Apache-2.0 */
/* dump_priv.h - what the parts of the dumper share: the object, the task, one round. Threads, failure: as dump.h. */
#ifndef DRAY_MIGRATE_DUMP_PRIV_H
#define DRAY_MIGRATE_DUMP_PRIV_H

#include "migrate/dump/dump.h"
#include "migrate/dump/dump_copy.h"
#include "migrate/dump/dump_files.h"
#include "migrate/dump/dump_parent.h"
#include "migrate/dump/dump_plan.h"
#include "migrate/dump/tracker_left.h"
#include "migrate/keeper/keeper.h"
#include "migrate/mm/vma.h"
#include "migrate/track/track.h"
#include "state.pb-c.h"

struct dump_task {
	pid_t pid;           /* as we see it */
	uint32_t inside;     /* as it sees itself: names its images */
	uint64_t start_time; /* clock ticks since boot */
};

struct dumper {
	struct dump_copier *copier;
	struct dump_task tracked; /* whom the tracker is for */
	struct tracker *tracker;  /* armed; NULL: none */
	bool based;               /* base is the set that was written when the tracker was armed last: holes may refer to it */
	uint8_t base[IMAGES_SET_ID];
	uint64_t base_uptime_us;
};

/* Whose word counts on what the parent has. */
enum dump_trust {
	TRUST_NOBODY,   /* there is no parent: the set is whole */
	TRUST_TRACKER,  /* what it says is unchanged is in the parent as it is */
	TRUST_CONTENTS, /* each page is compared with the parent's */
};

/* One pre-dump or dump. */
struct dump_round {
	struct dumper *d;
	const struct dump_request *q;
	struct dump_task task;
	struct dump_parent parent;
	enum dump_trust trust;
	struct keeper *keeper;
	struct page_sink *sink; /* the request's, or own */
	bool own_sink;
	struct dump_files files;
	bool links_parent; /* there was no link to a parent in images_dir, so that one is this round's */
	struct vma_list vmas;
	struct collected found;
	struct run_list held;
	struct dump_plan plan;
	uint8_t set_id[IMAGES_SET_ID];
	uint64_t uptime_us;
	struct dump_stats stats;
};

/* dump_round.c */
/* All of one: begun, run, ended, the target running on unless run settled otherwise. Where it fails the images directory is left as it was: no page map, no
 * file, and no link to a parent that another dump into it would take for its own. out: what is known of it, also of one that failed. */
int dump_round_run(struct dumper *d, const struct dump_request *q, int (*run)(struct dump_round *r, struct err *e), struct dump_stats *out, struct err *e);
/* Mappings and changes of the task. last: it is frozen, and this is the final dump. rearm: the next round is tracked from here. */
int dump_round_collect(struct dump_round *r, bool rearm, bool last, struct err *e);
/* The page map of the task into the sink. */
int dump_round_pages(struct dump_round *r, struct err *e);
/* After a round that re-armed the tracker: where its pages went to a page server it is noted which that has now. */
int dump_round_note_sent(const struct dump_round *r, struct err *e);
int dump_round_freeze(struct dump_round *r, struct err *e); /* the keeper was started */

/* dump_track.c */
/* Finds out whose word counts, and takes over the tracker that a former caller left where that is the one. track: tracking goes on after
 * this round, so that what was left is of no more use to anybody. */
int dump_track_choose(struct dump_round *r, bool track, struct err *e);
/* A tracker of our own; the keeper stops the task for a moment where it needs that. Nothing that was written before is its base. */
int dump_track_arm(struct dump_round *r, struct err *e);
/* Without a tracker after all, for the reason in e, which is logged and cleared. */
int dump_track_nothing(struct dump_round *r, struct err *e);
/* The set of this round is written: it is the base of the next. */
void dump_track_based(struct dump_round *r);
/* A round that re-arms has begun: until it is based there is no base. */
void dump_track_unbase(struct dumper *d);
/* The end of the dumper: what is armed and based is left to the next caller. */
void dump_track_leave(struct dumper *d);
void dump_track_forget(struct dumper *d);

/* dump_shm.c: the contents of shared memory, whole, a page map for each object. */
int dump_shared_memory(const struct dump_task *task, const Drayage__TreeState *tree, struct page_sink *sink, struct err *e);

/* dump_lazy.c: serves the pages that the plan left to one client, until it says that it needs no more. -1: it ended before it had them all. */
int dump_serve_lazy(const struct dump_round *r, struct err *e);

/* dump_sequences.c: registers of threads inside a restartable sequence are set to its abort handler. */
void dump_leave_sequences(const struct dump_task *task, Drayage__TreeState *tree);

#endif
