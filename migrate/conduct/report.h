/* SPDX-License-Identifier: Apache-2.0 */
/* report.h - what a migration says about itself: how it goes (struct progress), what it did (struct migration_report), and
 * through which door (struct observer). Data only: the conductor fills it, migrate/cli/ shows it.
 *
 * Units stand in the names. Text fields named `const char *` point to static strings and are never freed, so all of it is plain
 * value: zeroed is valid and empty, copying is allowed, nothing to free.
 * Threads: an observer is called by the conductor and its monitor, never by both at once, and must not block for long. */
#ifndef DRAY_MIGRATE_REPORT_H
#define DRAY_MIGRATE_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/base/err.h"

enum { REPORT_MAX_ROUNDS = 256 /* the last of them is the frozen one; bounds --max-rounds */ };

enum migration_outcome {
	MIGRATION_UNFINISHED = 0,
	MIGRATION_MOVED,     /* lives at the destination, and only there */
	MIGRATION_ABORTED,   /* an error or a limit: runs on at the source, the destination is clean */
	MIGRATION_CANCELLED, /* the user's wish; else as aborted */
	MIGRATION_UNDECIDED, /* commit was sent and no answer came: frozen at the source until `dray recover` knows */
	MIGRATION_GONE,      /* the process ended before it could move, or there was none (found) */
	MIGRATION_OUTCOMES
};
const char *migration_outcome_name(enum migration_outcome outcome);

struct round_report {
	unsigned round;      /* from 1 */
	bool last;           /* the tree was frozen */
	uint64_t pages;      /* sent as data */
	uint64_t zero_pages; /* elided because they hold zeros */
	uint64_t drop_pages; /* there no more: said so, not sent */
	uint64_t raw_bytes;  /* pages * 4096 */
	uint64_t wire_bytes; /* what they took on the streams, headers included */
	uint64_t duration_us;
	uint64_t stop_us;    /* how long the target stood still for this round; 0 with wp-async before the last */
	uint64_t cpu_us;     /* of the sending threads */
	uint64_t dirty_bytes_per_s;     /* how fast the target wrote while the round ran, as the next collect found */
	uint64_t bandwidth_bytes_per_s; /* wire_bytes over the time of sending */
	uint64_t predicted_blackout_us; /* as judged at its end; 0 for the last */
};

/* From the freeze to the first instruction at the destination, part by part; they add up to blackout_us but for the gaps. */
struct blackout_parts {
	uint64_t freeze_us;     /* stopping every thread */
	uint64_t collect_us;    /* finding what the last round must carry */
	uint64_t last_pages_us; /* the last round on the wire, placed */
	uint64_t capture_us;    /* describing the process */
	uint64_t rebuild_us;    /* at the destination, from the state to `prepared` */
	uint64_t commit_us;     /* journal, commit, `running` */
};

struct migration_report {
	char id[33];           /* hex digits of the migration's id */
	pid_t pid;             /* at the source */
	pid_t destination_pid; /* as the destination's agent sees it; 0 unknown */
	bool found;            /* there was a process of that number to begin with */
	char comm[32];
	char destination[280]; /* HOST:PORT as resolved or as typed */
	enum migration_outcome outcome;
	const char *tracker, *engine, *extract, *compress; /* as resolved; NULL before that */
	const char *tls; /* who encrypts: "none", "relay", "kernel"; NULL before there is a connection */
	const char *stop_reason; /* why rounds ended: "converged", "stalled", "max-rounds", "timeout"; NULL before that */
	unsigned streams;

	struct round_report round[REPORT_MAX_ROUNDS];
	size_t rounds;

	/* Sums over rounds. */
	uint64_t pages, zero_pages, drop_pages, raw_bytes, wire_bytes, cpu_us;

	uint64_t reconnections; /* of streams that were cut */
	uint64_t arm_stopped_us; /* the one injection at the start */
	uint64_t predicted_blackout_us; /* as predicted when the freeze was decided */
	uint64_t blackout_us;    /* 0 unless the tree was resumed somewhere after a freeze */
	struct blackout_parts part;
	uint64_t total_us;

	/* Post-copy: pages that were sent when it ran at the destination already. Zero without. */
	uint64_t late_pages, late_faults; /* faults: pages that it waited for */
	uint64_t late_us;                 /* from the end of the blackout until it had them all */

	bool kept_source;   /* --keep-source: the stopped original still stands */
	bool verified;      /* --verify: every byte compared equal */
	uint64_t verify_us; /* what that cost, inside the freeze */

	struct err error; /* kind ERR_NONE when nothing failed */
};

/* Appends a round and adds it to the sums. Beyond REPORT_MAX_ROUNDS only the sums grow. */
void migration_report_add(struct migration_report *r, const struct round_report *round);

struct progress {
	unsigned round;
	bool frozen;
	bool late; /* post-copy: it runs at the destination */
	uint64_t pages_total, pages_left; /* of this round */
	uint64_t wire_bytes;              /* since the start */
	uint64_t dirty_bytes_per_s;       /* of the round before; 0 unknown */
	uint64_t bandwidth_bytes_per_s;   /* 0 unknown */
	uint64_t predicted_blackout_us;   /* 0 unknown */
	uint64_t elapsed_us;              /* since the start */
};

enum migration_event {
	EVENT_START,       /* id, pid, destination, tracker, engine, extract, streams are known */
	EVENT_ARMED,       /* arm_stopped_us is known */
	EVENT_ROUND_BEGIN, /* progress: its round and pages_total */
	EVENT_PROGRESS,    /* some times a second */
	EVENT_ROUND_END,   /* report->round[rounds - 1] is the one */
	EVENT_FREEZE,      /* the blackout begins */
	EVENT_PREPARED,    /* the destination holds a whole stopped copy */
	EVENT_COMMIT,      /* from here on only the destination's copy may live */
	EVENT_RUNNING,     /* the destination said so */
	EVENT_LATE,        /* post-copy: every page is there, late_* are known */
	EVENT_THAW,        /* the source runs on instead */
	EVENT_END,         /* the report is final */
	MIGRATION_EVENTS
};
const char *migration_event_name(enum migration_event event);

struct observer {
	/* p is set with EVENT_ROUND_BEGIN and EVENT_PROGRESS, else NULL. */
	void (*event)(void *arg, enum migration_event event, const struct migration_report *r, const struct progress *p);
	void *arg;
};
static inline void observe(const struct observer *o, enum migration_event event, const struct migration_report *r,
			   const struct progress *p)
{
	if (o && o->event)
		o->event(o->arg, event, r, p);
}

#endif
