/* SPDX-License-Identifier: Apache-2.0 */
/* source_priv.h - the state of a migration at the source, shared by the files that conduct its phases:
 *
 *   source.c    order of the phases, beginning and end
 *   rounds.c    pre-copy rounds, and the last one inside the freeze
 *   handover.c  freeze, state, prepared, commit, outcome
 *   monitor.c   a thread that shows progress and wakes everything up when the migration is to end early
 *
 * Threads: the conductor's; fields marked (monitor) are read by the monitor thread under its rules. */
#ifndef DRAY_MIGRATE_SOURCE_PRIV_H
#define DRAY_MIGRATE_SOURCE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "migrate/conduct/journal.h"
#include "migrate/conduct/late_source.h"
#include "migrate/conduct/layout.h"
#include "migrate/conduct/link.h"
#include "migrate/conduct/report.h"
#include "migrate/conduct/config.h"
#include "migrate/conduct/policy.h"
#include "migrate/keeper/keeper.h"
#include "migrate/mm/vma.h"
#include "migrate/send/sender.h"
#include "migrate/track/track.h"

/* Who wants the migration to end before its time. */
enum interruption { NOT_INTERRUPTED = 0, INTERRUPTED_BY_USER, INTERRUPTED_BY_TARGET, INTERRUPTED_BY_TIME };

struct monitor {
	pthread_t thread;
	bool started;
	int stop_fd; /* eventfd: ends the thread */
	pthread_mutex_t observer_lock; /* an observer sees one event at a time, whichever thread tells it */
	_Atomic int interruption; /* enum interruption; set once */
	_Atomic bool committed;   /* past the point where anything may be interrupted */
	/* What the progress line shows; written by the conductor. */
	_Atomic unsigned round;
	_Atomic bool frozen;
	_Atomic bool late; /* post-copy is under way */
	_Atomic uint64_t pages_total, dirty_rate, bandwidth, predicted_us;
};

struct source {
	const struct migrate_config *config;
	const struct observer *observer;
	struct migration_report *report;
	struct err *err; /* = &report->error */
	pid_t pid;       /* the target, as we see it */
	int cancel_fd;
	uint64_t start_us;

	struct link_config link;
	struct link_facts facts; /* of the control connection */
	char identity[33]; /* of the destination's state directory */
	int control; /* -1 before it is connected */
	struct keeper *keeper;
	struct keeper_armed armed;
	struct tracker *tracker;
	struct sender *sender;
	pthread_mutex_t reconnect_lock; /* one stream at a time connects again */
	struct journal *journal;
	struct journal_record record;
	struct layout layout;
	struct vma_list vmas;
	struct vma_list flags_seen; /* mappings with their flags, as they were when somebody had the time to look */
	struct collected collected;
	struct late_source *late; /* post-copy: from right before the freeze on; else NULL */
	bool late_wanted;         /* the freeze is to be followed by post-copy */
	struct run_list late_runs;
	struct vma_list late_seen; /* mappings with what was advised about them, before the freeze */
	struct monitor monitor;

	unsigned round;
	uint64_t last_collect_us; /* when the tracker was read last */
	uint64_t rounds_start_us;
	uint64_t memory_per_s;    /* bytes of memory that the link moves, as measured; 0 unknown */
	uint64_t fixed_us;        /* what a freeze costs beside memory, as estimated */
	uint64_t freeze_us;       /* when the freeze began */
	bool commit_sent;
	bool asked;               /* what became of it was learnt by a question: the control connection is lost */
};

/* rounds.c */
int rounds_until_freeze(struct source *s);
int round_frozen(struct source *s);
/* What a freeze would find now, and would cost: it is looked at in the same way there again. runs: zeroed; the caller's. Stops nothing. */
int rounds_look(struct source *s, struct run_list *runs, struct policy_round *now);
/* postcopy.c: before the freeze; in it, between collecting and sending; after the destination runs. Each does nothing without post-copy. */
int postcopy_connect(struct source *s);
int postcopy_hold_back(struct source *s);
int postcopy_give(struct source *s);
/* handover.c: from the freeze to the outcome. */
int handover(struct source *s);
int source_record(struct source *s, enum journal_state state); /* with s->record.freezer as it is */

/* monitor.c */
int monitor_start(struct source *s);
void monitor_stop(struct source *s);
/* Tells the observer. p may be NULL. */
void monitor_tell(struct source *s, enum migration_event event, const struct progress *p);
/* Fails with the interruption's own words if there was one; err holds what a broken connection said, otherwise. Call after anything failed. */
int monitor_explain(struct source *s);
/* Also looks whether the user wants it to end right now, before the monitor thread has seen it. */
bool monitor_interrupted(struct source *s);
/* Waits us microseconds, or until interrupted (-1). */
int monitor_pause(struct source *s, uint64_t us);

#endif
