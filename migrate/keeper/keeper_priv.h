/* SPDX-License-Identifier: Apache-2.0 */
/* keeper_priv.h - what the two sides of the socketpair agree on. The migrating process's: keeper.c asks, keeper_fork.c makes who is asked. The keeper's
 * own: hold.c does it, serve.c is asked for it. */
#ifndef DRAY_MIGRATE_KEEPER_PRIV_H
#define DRAY_MIGRATE_KEEPER_PRIV_H

#include <limits.h>

#include "migrate/freeze/cgroup_stop.h"
#include "migrate/keeper/keeper.h"

enum keeper_op { OP_ARM = 1, OP_FREEZE, OP_THAW, OP_CAPTURE, OP_HOLD, OP_END, OP_UFFD };

/* One packet each way; both ends are the same program. */
struct keeper_request {
	enum keeper_op op;
	bool want_uffd;
	unsigned want_twins;
	struct capture_options capture;
	enum keeper_verdict verdict;
	char cgroup[PATH_MAX]; /* freeze by it; "" not */
	int stop_ms;           /* for stopping; 0: as long as ever */
};
/* Descriptors travel with it: arm's userfaultfd, capture's memfd. The twins' ends follow in packets of their own, PAIRS_A_PACKET each. */
struct keeper_reply {
	int rc;
	struct err e;
	uint64_t us; /* how long it stood still, or what stopping took */
	uint64_t scratch_start, scratch_end;
	unsigned twin_count;
	struct freezer freezer;
};
enum { PAIRS_A_PACKET = 8, TWINS_MAX = 16 };

/* The keeper as the migrating process has it. */
struct keeper {
	pid_t pid;
	int sock;
	int event;       /* epoll over the two: */
	int target_fd, keeper_fd;
	pid_t target;
	struct freezer freezer; /* the target's, as the keeper told it last */
	bool kept;              /* and it stands still in it */
	bool holding;           /* it may: that was asked for */
};
/* keeper_fork.c. Waits for a keeper that has nothing to do any more, or is dead already. */
void keeper_reap(struct keeper *k);
void keeper_release(struct keeper *k); /* closes and frees */

/* The target as the keeper holds it. */
struct hold {
	pid_t target;
	int pidfd; /* owned */
	char id[48];
	struct remote r;       /* valid while held */
	int stop_ms;           /* for stopping it; 0: the usual */
	bool held;             /* every thread stopped by us */
	uint64_t held_since;
	uint64_t scratch, scratch_len, scratch_taken; /* ours in the target, held or not */
	struct twins twins;
	struct vma_list seen;  /* the mappings with their flags as they were soon after the arming, for capture_tree_seen */
	struct freezer freezer; /* made by arm, or else by hold_keep */
	struct cgroup_stop caller; /* the caller's control group, while we hold what is in it */
	bool kept;              /* and closed: the target stands still in it */
};

int hold_init(struct hold *h, pid_t target, const char *id, int pidfd);
/* out's descriptors are owned by the caller. */
int hold_arm(struct hold *h, bool want_uffd, unsigned want_twins, struct keeper_armed *out, struct err *e);
/* Reads the running target's mappings for a later capture; takes 50 ms a GiB. Whether it can matters to nobody. */
void hold_look(struct hold *h);
int hold_uffd(struct hold *h, int *uffd, uint64_t *stopped_us, struct err *e);
int hold_freeze(struct hold *h, const char *cgroup, uint64_t *us, struct err *e);
int hold_thaw(struct hold *h, uint64_t *us, struct err *e);
int hold_capture(struct hold *h, const struct capture_options *opt, int *memfd, struct err *e);
int hold_keep(struct hold *h, struct err *e);
/* Whatever state it is in. The hold is over, also when this fails. */
int hold_end(struct hold *h, enum keeper_verdict how, struct err *e);

/* The keeper's main function: serves until the end was asked for or the other side is gone. Returns its exit code. */
int keeper_serve(struct hold *h, int sock, const struct keeper_settler *settler);

#endif
