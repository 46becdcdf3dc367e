/* SPDX-License-Identifier: Apache-2.0 */
/* Post-copy, as the conductor sees it: what is held back in the freeze, and given when the process runs at the destination. */
#include <errno.h>

#include "migrate/conduct/source_priv.h"
#include "proto/base/fault.h"
#include "proto/base/io.h"
#include "proto/base/log.h"

enum { RUNS_ENOUGH = 4096, GAP_MAX_PAGES = 16 };
#define HUGE_SIZE (2ul << 20)
#define GIVE_PATIENCE_US (10ull * 60 * 1000000) /* without a connection; then it is `dray recover`'s */

/* Both lists are gone through once: *k is where the last call stopped. */
static bool is_needed_at_once(const struct vma_list *seen, const struct vma *v, size_t *k)
{
	while (*k < seen->count && seen->vma[*k].end <= v->start)
		(*k)++;
	for (size_t i = *k; i < seen->count && seen->vma[i].start < v->end; i++)
		if ((seen->vma[i].vm_flags & (VMF_LOCKED | VMF_LOCKONFAULT)) == VMF_LOCKED || seen->vma[i].vm_flags & (VMF_WIPEONFORK | VMF_GROWSDOWN))
			return true;
	return false;
}

/* Private anonymous memory can come late; what files and shared memory hold can't be waited for by userfaultfd, or not by all who share it. A stack,
 * and what else grows like one, is needed at once. Who locks memory wants to wait for none of it: locked, it is there as soon as it is mapped, and would have to be
 * fetched before the process runs, as what was locked since is. In memory that is wiped at a fork a child has zeros, of which no event tells. */
static bool may_come_late(const struct vma *v, const struct vma_list *seen, size_t *k)
{
	return v->kind == VMA_ANON && !v->stack && !is_needed_at_once(seen, v, k);
}

/* Moves what may come late from runs to late. Runs and mappings both ascend, runs never leave the mappings. Of a mapping, late runs with at most gap pages
 * between them, and none that comes now, become one. */
static int divide(const struct vma_list *vmas, const struct vma_list *seen, const struct run_list *runs, uint64_t gap, struct run_list *now,
		  struct run_list *late)
{
	uint64_t last_end = 0; /* of the run before, where it is late */
	size_t v = 0, k = 0;

	for (size_t i = 0; i < runs->count; i++) {
		const struct page_run *r = &runs->run[i];

		for (uint64_t at = r->addr; at < run_end(r);) {
			uint64_t end = run_end(r);
			bool wait;

			while (v < vmas->count && vmas->vma[v].end <= at)
				v++;
			wait = v < vmas->count && r->kind == RUN_DATA && may_come_late(&vmas->vma[v], seen, &k);
			if (v < vmas->count && vmas->vma[v].end < end)
				end = vmas->vma[v].end;
			if (wait && last_end > 0 && last_end >= vmas->vma[v].start && at > last_end && at - last_end <= pages_to_bytes(gap) &&
			    run_list_add(late, last_end, bytes_to_pages(at - last_end), RUN_DATA) < 0)
				return -1;
			if (run_list_add(wait ? late : now, at, bytes_to_pages(end - at), (enum run_kind)r->kind) < 0)
				return -1;
			last_end = wait ? end : 0;
			at = end;
		}
	}
	return 0;
}

/* What was placed of late runs is void, and each costs the freeze some microseconds on the other side, however small: where there are too many, what lies
 * between them comes once more. */
static int divide_bounded(struct source *s, const struct run_list *runs, struct run_list *now)
{
	int rc = -1;

	for (uint64_t gap = 0; gap <= GAP_MAX_PAGES; gap = gap ? 2 * gap : 1) {
		run_list_clear(now);
		run_list_clear(&s->late_runs);
		rc = divide(&s->vmas, &s->late_seen, runs, gap, now, &s->late_runs);
		if (rc < 0 || s->late_runs.count <= RUNS_ENOUGH)
			break;
	}
	return rc < 0 ? err_set(s->err, ERR_SYSTEM, ENOMEM, "post-copy") : 0;
}

/* Pages in no whole 2 MiB of a mapping. Runs and mappings both ascend. */
static uint64_t count_small(const struct vma_list *vmas, const struct run_list *runs)
{
	uint64_t inside = 0;
	size_t v = 0, i = 0;

	while (v < vmas->count && i < runs->count) {
		uint64_t start = (vmas->vma[v].start + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1), end = vmas->vma[v].end & ~(HUGE_SIZE - 1);
		const struct page_run *r = &runs->run[i];
		uint64_t from = r->addr > start ? r->addr : start, to = run_end(r) < end ? run_end(r) : end;

		if (from < to)
			inside += bytes_to_pages(to - from);
		if (vmas->vma[v].end < run_end(r))
			v++;
		else
			i++;
	}
	return runs->data_pages - inside;
}

/* The blackout, from what would be held back now. */
static int predict(struct source *s)
{
	struct run_list runs = { 0 }, now = { 0 };
	struct policy_round r;
	uint64_t begin = clock_us();
	int rc = rounds_look(s, &runs, &r);

	if (rc == 0)
		rc = divide_bounded(s, &runs, &now);
	if (rc == 0) {
		r.remaining_bytes = pages_to_bytes(now.data_pages);
		r.late_pages = s->late_runs.data_pages;
		r.late_runs = s->late_runs.count;
		r.late_small = count_small(&s->vmas, &s->late_runs);
		r.fixed_us = s->fixed_us + (clock_us() - begin); /* divided it is there again too */
		s->report->predicted_blackout_us = policy_predict_us(&r);
		s->monitor.predicted_us = s->report->predicted_blackout_us;
	}
	run_list_finish(&runs);
	run_list_finish(&now);
	return rc;
}

int postcopy_connect(struct source *s)
{
	if (!s->late_wanted)
		return 0;
	if (!(s->facts.features & HELLO_FEATURE_POSTCOPY))
		return err_set(s->err, ERR_UNSUPPORTED, 0, "the agent at %s is too old for post-copy", s->config->destination);
	/* Now, for in the freeze the walk that it takes would count. */
	if (vma_list_read(&s->late_seen, s->pid, VMA_READ_SMAPS, s->err) < 0)
		return -1;
	s->late = late_source_create(s->pid, s->err);
	if (!s->late || late_source_connect(s->late, &s->link, s->err) < 0)
		return -1;
	return s->round > 0 ? predict(s) : 0; /* without rounds nothing is known of the link */
}

int postcopy_hold_back(struct source *s)
{
	struct run_list now = { 0 };

	if (!s->late)
		return 0;
	if (divide_bounded(s, &s->collected.runs, &now) < 0) {
		run_list_finish(&now);
		return -1;
	}
	run_list_finish(&s->collected.runs);
	s->collected.runs = now;
	if (s->late_runs.data_pages == 0) { /* nothing is left: as without post-copy */
		late_source_destroy(s->late);
		s->late = NULL;
		return 0;
	}
	/* From now on, for the destination may need some before it says Prepared. */
	return late_source_answer(s->late, &s->late_runs, s->err);
}

/* The destination ended its copy: the original may run, from where it was frozen. */
static int taken_back(struct source *s)
{
	return err_set(s->err, ERR_PEER, 0, "%s could not give the process all its memory and ended it there; it goes on here from where it was "
		       "frozen, and what it did there meanwhile is not undone", s->config->destination);
}

/* A lost connection is waited out. */
static int give_again(struct source *s)
{
	enum link_outcome outcome = LINK_UNKNOWN;
	uint32_t there = 0;

	log_event(LOG_WARN, "late-pages-interrupted", "error=\"%s\" left=%llu", s->err->text, (unsigned long long)late_source_left(s->late));
	err_clear(s->err);
	if (late_source_resume(s->late, s->pid, &s->link, GIVE_PATIENCE_US, &outcome, &there, s->err) < 0 || outcome == LINK_UNKNOWN) {
		s->report->outcome = MIGRATION_UNDECIDED;
		if (!err_is_set(s->err))
			err_set(s->err, ERR_UNDECIDED, 0, "%s has no record of this migration", s->config->destination);
		return -1;
	}
	s->asked = true;
	return outcome == LINK_RUNNING ? 0 : taken_back(s);
}

int postcopy_give(struct source *s)
{
	uint64_t begin = clock_us();
	struct late_stats stats;

	if (!s->late)
		return 0;
	s->monitor.pages_total = s->late_runs.data_pages;
	s->monitor.late = true;
	fault_point("source.late", s->control);
	if (late_source_push(s->late, s->err) < 0 && give_again(s) < 0)
		return -1;
	stats = late_source_stats(s->late);
	s->report->late_pages = stats.pages;
	s->report->late_faults = stats.faults;
	s->report->wire_bytes += stats.wire_bytes;
	s->report->raw_bytes += pages_to_bytes(stats.pages);
	s->report->late_us = clock_us() - begin;
	monitor_tell(s, EVENT_LATE, NULL);
	return 0;
}
