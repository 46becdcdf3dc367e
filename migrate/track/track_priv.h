/* SPDX-License-Identifier: Apache-2.0 */
/* track_priv.h - what the three trackers share: the walk over windows calls them for each piece of a mapping.
 * Threads, failure: as track.h. */
#ifndef DRAY_MIGRATE_TRACK_PRIV_H
#define DRAY_MIGRATE_TRACK_PRIV_H

#include "migrate/track/known.h"
#include "migrate/track/pagemap.h"
#include "migrate/track/track.h"
#include "migrate/track/window.h"

struct tracker_ops {
	enum tracker_kind kind;
	bool needs_stop;
	bool (*probe)(struct err *e);
	int (*open)(struct tracker *t, struct err *e); /* may be NULL, as may the following two */
	int (*begin)(struct tracker *t, const struct vma_list *vmas, struct collected *out, struct err *e);
	/* Sets w's data and gone bits for [start, end), all in one window, of private memory. file: pages may be a file's. -errno. */
	int (*fill)(struct tracker *t, struct window *w, uint64_t start, uint64_t end, bool file);
	int (*end)(struct tracker *t, struct err *e);
	void (*close)(struct tracker *t);
};
extern const struct tracker_ops track_wp_async, track_soft_dirty, track_none;

struct tracker {
	const struct tracker_ops *ops;
	pid_t pid;
	int uffd;
	int pagemap;       /* opened for each collect: an exec in between gives the process another address space */
	bool can_scan;
	bool rearm, last;  /* of the collect that runs */
	bool estimating;   /* nothing is known of what was sent, and none of it may count */
	bool resumed;      /* armed by somebody before us, who left it so */
	bool unwitnessed;  /* soft-dirty: who armed it left no witnesses, clear bits count by themselves */
	bool failed;       /* a collect was lost: nothing that this tracker says can be trusted any more */
	struct sent_map sent;
	struct known known;
	struct run_list fresh;      /* wp-async: what this collect found untracked; RUN_DATA: registered now, RUN_DROP: could not be */
	size_t fresh_cursor;
	struct run_list registered; /* wp-async: to be let go piece by piece at the end */
	struct zero_pages zero;
	struct scan_region *vec;    /* SCAN_VECTOR */
	uint64_t *words;            /* WINDOW_PAGES */
};

/* Memory files: bits for what the file behind the mapping v holds in [start, end), whoever put it there. -errno. */
int shmem_fill(pid_t pid, const struct vma *v, struct window *w, uint64_t start, uint64_t end);

#endif
