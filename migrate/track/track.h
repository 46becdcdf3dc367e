/* SPDX-License-Identifier: Apache-2.0 */
/* track.h - which pages changed since the last time one asked. One interface, three implementations; never less than what changed.
 *
 *   wp-async    userfaultfd WP_ASYNC + PAGEMAP_SCAN (Linux 6.7): read and re-armed with the target running
 *   soft-dirty  /proc/PID/clear_refs 4 + pagemap bit 55: the target must be frozen while it is read and re-armed
 *   none        every page that is there
 *
 * Threads: one. Lifetime: open/close; close disarms and accepts NULL. The object borrows nothing after open. */
#ifndef DRAY_MIGRATE_TRACK_H
#define DRAY_MIGRATE_TRACK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "migrate/mm/vma.h"
#include "proto/base/err.h"
#include "proto/wire/runs.h"

enum tracker_kind { TRACKER_AUTO, TRACKER_WP_ASYNC, TRACKER_SOFT_DIRTY, TRACKER_NONE };
const char *tracker_name(enum tracker_kind kind);
bool tracker_parse(const char *name, enum tracker_kind *kind);
/* What this kernel can do; AUTO resolves to the best. False with the reason in e. */
bool tracker_probe(enum tracker_kind kind, struct err *e);
enum tracker_kind tracker_best(void);

struct tracker;
struct witness_list; /* window.h */
/* uffd: a userfaultfd made inside the target (wp-async), taken; else -1. */
struct tracker *tracker_open(enum tracker_kind kind, pid_t pid, int uffd, struct err *e);
enum tracker_kind tracker_kind_of(const struct tracker *t);
bool tracker_needs_stop(const struct tracker *t); /* collect() wants the target stopped */

struct collected {
	struct run_list runs;  /* RUN_DATA: contents to send; RUN_DROP: there no more (only what may have been sent before). Ascending */
	struct run_list reset; /* RUN_DROP runs: mappings that are new, were replaced, or are something else by vmas than by the list before: void at the destination
			      * before runs are placed. Ascending */
};
/* Collects what changed since the last collect (the first: all that is present), for the mappings in vmas that carry pages. Replaces what
 * out held (a zeroed one is valid).
 * rearm: start the next round (false in the frozen round: reading suffices). Mappings that appeared are taken in as a whole.
 * Shared memory can be written past every tracker (write(2), another process, another mapping): all that its files hold is reported
 * when it is first seen (where nothing was sent before) and by every collect with last set, nothing in between.
 * vmas: read from the target right before; with last set, after it was frozen. Runs never leave them. What vanishes or appears while
 * the target runs is no error: the next collect has it. After a failure every later collect fails: what it had read is lost. */
int tracker_collect(struct tracker *t, const struct vma_list *vmas, bool rearm, bool last, struct collected *out, struct err *e);
/* The data runs that a collect would find now, roughly, in a list that is not read yet; changes nothing, stops nothing. */
int tracker_estimate(struct tracker *t, const struct vma_list *vmas, struct run_list *runs, struct err *e);
void collected_finish(struct collected *c);
void tracker_close(struct tracker *t);

/* ---- rounds that build on each other in different processes ---- */

/* Ends t without disarming: what it tracked goes on to be tracked. Returns the userfaultfd that this hangs on, the caller's, or -1 where the
 * kernel needs nobody (soft-dirty, none). */
int tracker_leave(struct tracker *t);
/* The tracker that was left, opened again, for the same process: the next collect reports what changed since the last one before it was left.
 * base: what was reported until then and not dropped, as tracker_holds tells; less only what was not there any more when it was to be read.
 * witnesses: as tracker_witnesses told when it was left; borrowed. NULL: nobody can tell (stock criu's soft-dirty bits), and a page table that was moved to
 * where pages had been sent is missed, as it is by stock criu. */
struct tracker *tracker_resume(enum tracker_kind kind, pid_t pid, int uffd, const struct run_list *base, const struct witness_list *witnesses,
			       struct err *e);
/* What the next tracker has to know beside the pages (witness.h), into an empty list; soft-dirty only. -ENOMEM. */
int tracker_witnesses(const struct tracker *t, struct witness_list *out);
/* Appends what was reported and not dropped since, ascending, as RUN_DATA runs: where a receiver of all that was reported holds contents. -ENOMEM. */
int tracker_holds(const struct tracker *t, struct run_list *out);

/* Bytes that would travel: present or swapped pages of mappings that carry pages. Needs no tracker. */
int present_bytes(pid_t pid, const struct vma_list *vmas, uint64_t *bytes, struct err *e);

#endif
