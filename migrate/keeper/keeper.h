/* SPDX-License-Identifier: Apache-2.0 */
/* keeper.h - the process that holds the target: its tracer and its watchdog.
 *
 * ptrace belongs to one thread, and a tracer that is killed in mid-injection would leave the target with wrong registers. So a
 * child of `dray migrate`, in a session of its own, does all of it, on requests over a socketpair; the migrating process can die at any moment:
 * the keeper then sees the end of the socketpair and settles the matter:
 *
 *   journal says not committed (or no journal)   -> thaw, take everything back out of the target, end
 *   journal says commit may have been sent       -> target stays frozen; the settler asks the destination until it knows
 *
 * Requests are blocking calls on the migrating process's side. Threads: one. Start before any other thread exists (it forks).
 * Fails: err. The keeper itself killed: the calls fail with ERR_INTERNAL, the kernel lets the target go (or the cgroup keeps it frozen), and
 * keeper_end does what can be done without it: thaws or kills what was held, takes the cgroup away. */
#ifndef DRAY_MIGRATE_KEEPER_H
#define DRAY_MIGRATE_KEEPER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "migrate/extract/twin.h"
#include "migrate/freeze/freezer.h"
#include "migrate/native/capture.h"
#include "proto/base/err.h"

struct keeper;

enum keeper_verdict { KEEPER_THAW, KEEPER_KILL, KEEPER_STAY_FROZEN };
/* Run in the keeper when the migrating process is gone. decide: what shall become of the target; may block; kept: it stands still where it outlives the
 * keeper (keeper_hold), before that nothing can have been committed. settled: that is true now, or (failed)
 * could not be made so; may be NULL. */
struct keeper_settler {
	enum keeper_verdict (*decide)(void *arg, bool kept);
	void (*settled)(void *arg, bool failed);
	void *arg;
};

/* settler: copied; NULL: the target runs on. */
struct keeper *keeper_start(pid_t target, const char *id, const struct keeper_settler *settler, struct err *e);

struct keeper_armed {
	int uffd;                     /* owned; -1 if not asked for */
	struct twin_ends twins[16];   /* owned */
	unsigned twin_count;
	uint64_t scratch_start, scratch_end; /* the mover's mapping in the target: neither tracked nor sent */
	struct freezer freezer;       /* where it is now, not frozen; of no kind: keeper_hold will try once more */
	uint64_t stopped_us;          /* how long the target stood still for it */
};
/* The one injection: scratch, userfaultfd, twins. A target that can't have twins (seccomp) gets none: twin_count tells. On failure the target
 * runs on with nothing of ours in it. */
int keeper_arm(struct keeper *k, bool want_uffd, unsigned want_twins, struct keeper_armed *out, struct err *e);
/* Only a userfaultfd, for a tracker: one stop, after which nothing of ours is in the target and nothing is to be taken out. *uffd: owned. */
int keeper_make_uffd(struct keeper *k, int *uffd, uint64_t *stopped_us, struct err *e);
int keeper_freeze(struct keeper *k, uint64_t *freezing_us, struct err *e); /* all threads stopped */
/* The same by way of a control group's freezer (either version), whose directory cgroup is: all that is in it stands still until the target's threads are
 * stopped. One that was frozen is so again in the end. cgroup: NULL for none; timeout_ms: for stopping each thread. */
int keeper_freeze_in(struct keeper *k, const char *cgroup, int timeout_ms, uint64_t *freezing_us, struct err *e);
int keeper_thaw(struct keeper *k, uint64_t *stopped_us, struct err *e);    /* after keeper_freeze: they run on */
/* Frozen only. Packed TreeState, owned by the caller (free). */
int keeper_capture(struct keeper *k, const struct capture_options *opt, uint8_t **state, size_t *len, struct err *e);
/* Frozen only, and the last thing before commit: takes twins and scratch out of the target (nobody may ever come back to do it), then makes
 * the stop outlive keeper and migrating process. Only keeper_end can follow. The freezer's facts for the journal in out. */
int keeper_hold(struct keeper *k, struct freezer *out, struct err *e);
/* Ends, from any state: the target runs on with nothing of ours left in it (thaw; ERR_GONE when it has ended), is killed, or is left frozen in
 * its cgroup (held first if it wasn't). -1: that is not so. Frees k, also on failure. */
int keeper_end(struct keeper *k, enum keeper_verdict how, struct err *e);
/* Readable when the keeper or the target died. */
int keeper_event_fd(const struct keeper *k);

#endif
