/* SPDX-License-Identifier: Apache-2.0 */
/* Never less than what changed: after any number of rounds beside a restless process, and a last one with it frozen, a destination that got
 * nothing but what the tracker reported equals it byte for byte. After some rounds the tracker is left, and another one goes on from there.
 *
 *   tracker_property [TRACKER [SEEDS [FIRST_SEED]]]      without a tracker: all that this kernel has
 *
 * The test tests itself: with reports held back on purpose the comparison must fail. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/track/track.h"
#include "migrate/track/window.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "tests/lib/mirror.h"
#include "tests/lib/restless.h"

enum deaf { HEARS_ALL, DEAF_TO_LAST_DATA, DEAF_TO_DROPS, DEAF_TO_RESETS, DEAF_TO_ONE_ROUND };
enum { ROUNDS = 5, CONTROL_SEEDS = 30 };
#ifdef __SANITIZE_ADDRESS__
enum { SEEDS = 1, OPS_PER_ROUND = 60 }; /* each fork copies the page tables of the sanitizer's shadow */
/* The subject is a copy of this process: memory that the sanitizer keeps from being used again would be moved each time. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "quarantine_size_mb=1";
}
#else
enum { SEEDS = 16, OPS_PER_ROUND = 400 };
#endif

struct run {
	enum tracker_kind kind;
	uint64_t seed;
	enum deaf deaf;
	struct restless subject;
	struct tracker *tracker;
	struct vma_list vmas;
	struct collected got;
	struct mirror mirror;
	int mem;
	uint64_t reported; /* data pages of all rounds */
};

static int complain(const struct run *r, const char *what, const struct err *e)
{
	fprintf(stderr, "%s seed %llu: %s%s%s\n", tracker_name(r->kind), (unsigned long long)r->seed, what, e ? ": " : "", e ? e->text : "");
	return -1;
}

/* Ascending, without overlaps, inside mappings that carry pages. */
static int check_order(const struct run *r)
{
	uint64_t at = 0;

	for (size_t i = 0; i < r->got.runs.count; i++) {
		const struct page_run *run = &r->got.runs.run[i];

		if (run->addr < at || run->pages == 0 || run->addr % DRAY_PAGE_SIZE)
			return complain(r, "runs out of order", NULL);
		at = run_end(run);
		for (uint64_t in = run->addr; in < at;) {
			const struct vma *v = vma_list_find(&r->vmas, in);

			if (!v || !vma_carries_pages(v))
				return complain(r, "a run leaves the mappings", NULL);
			in = v->end;
		}
	}
	return 0;
}

static void hold_back(struct run *r, unsigned round, bool last)
{
	struct run_list kept = { 0 }, *runs = &r->got.runs;
	bool no_data = (r->deaf == DEAF_TO_LAST_DATA && last) || (r->deaf == DEAF_TO_ONE_ROUND && round == ROUNDS - 1);

	if (r->deaf == DEAF_TO_RESETS)
		run_list_clear(&r->got.reset);
	for (size_t i = 0; i < runs->count; i++) {
		const struct page_run *run = &runs->run[i];

		if (run->kind == RUN_DATA ? !no_data : r->deaf != DEAF_TO_DROPS)
			if (run_list_add(&kept, run->addr, run->pages, (enum run_kind)run->kind) < 0)
				abort();
	}
	run_list_finish(runs);
	*runs = kept;
}

static int one_round(struct run *r, unsigned round, bool last)
{
	bool stop = !last && tracker_needs_stop(r->tracker);
	struct err e = { 0 };

	if (stop && restless_stop(&r->subject) < 0)
		return complain(r, "can't stop it", NULL);
	if (vma_list_read(&r->vmas, r->subject.pid, VMA_READ_MAPS, &e) < 0 ||
	    tracker_collect(r->tracker, &r->vmas, !last, last, &r->got, &e) < 0)
		return complain(r, "collect", &e);
	if (stop && restless_continue(&r->subject) < 0)
		return complain(r, "can't let it go", NULL);
	if (check_order(r) < 0)
		return -1;
	if (r->deaf != HEARS_ALL)
		hold_back(r, round, last);
	mirror_layout(&r->mirror, &r->vmas, &r->got.reset);
	mirror_apply(&r->mirror, &r->got.runs, r->mem);
	r->reported += r->got.runs.data_pages;
	return 0;
}

static int open_run(struct run *r)
{
	struct err e = { 0 };
	char path[40];

	if (restless_start(&r->subject, r->seed, r->kind == TRACKER_WP_ASYNC) < 0 || restless_await(&r->subject, 300) < 0)
		return complain(r, "no subject", NULL);
	snprintf(path, sizeof(path), "/proc/%d/mem", r->subject.pid);
	r->mem = open(path, O_RDONLY | O_CLOEXEC);
	r->tracker = tracker_open(r->kind, r->subject.pid, steal_fd(&r->subject.uffd), &e);
	if (!r->tracker || r->mem < 0)
		return complain(r, "open", &e);
	return 0;
}

/* A process that stands still has nothing new; only shared memory, which a last round sends in any case. */
static int quiet_is_quiet(struct run *r)
{
	struct err e = { 0 };

	for (int i = 0; i < 2; i++)
		if (vma_list_read(&r->vmas, r->subject.pid, VMA_READ_MAPS, &e) < 0 ||
		    tracker_collect(r->tracker, &r->vmas, true, false, &r->got, &e) < 0)
			return complain(r, "collect", &e);
	if (r->kind != TRACKER_NONE && (r->got.runs.count || r->got.reset.count))
		return complain(r, "a process that stood still has changed", NULL);
	return 0;
}

/* The next round is another tracker's, as if another process made it. */
static int hand_over(struct run *r)
{
	struct run_list base = { 0 };
	struct witness_list witnesses = { 0 };
	struct err e = { 0 };
	bool told = tracker_holds(r->tracker, &base) == 0 && tracker_witnesses(r->tracker, &witnesses) == 0;
	int uffd = tracker_leave(r->tracker);

	r->tracker = told ? tracker_resume(r->kind, r->subject.pid, uffd, &base, &witnesses, &e) : NULL;
	run_list_finish(&base);
	witness_list_finish(&witnesses);
	return r->tracker ? 0 : complain(r, "resume", &e);
}

/* Returns the pages that differ at the end, or -1. */
static int64_t run_once(struct run *r)
{
	int64_t wrong = -1;
	unsigned round = 0;

	r->mem = -1;
	if (open_run(r) < 0)
		goto out;
	for (; round < ROUNDS; round++) {
		/* Short intervals too, in which most of a mapping is left alone: what happens to the rest must not need company. */
		uint64_t ops = round % 2 == r->seed % 2 ? OPS_PER_ROUND : OPS_PER_ROUND / 20;

		if (one_round(r, round, false) < 0 || ((r->seed + round) % 3 == 0 && hand_over(r) < 0) || restless_await(&r->subject, ops) < 0)
			goto out;
	}
	if (restless_stop(&r->subject) < 0 || one_round(r, round, true) < 0)
		goto out;
	wrong = (int64_t)mirror_differences(&r->mirror, r->subject.pid, &r->vmas, r->mem, r->deaf == HEARS_ALL);
	if (r->deaf == HEARS_ALL && wrong == 0 && quiet_is_quiet(r) < 0)
		wrong = -1;
out:
	tracker_close(r->tracker);
	restless_end(&r->subject);
	if (r->mem >= 0)
		close(r->mem);
	vma_list_finish(&r->vmas);
	collected_finish(&r->got);
	mirror_finish(&r->mirror);
	return wrong;
}

static int nothing_is_missed(enum tracker_kind kind, uint64_t seeds, uint64_t first)
{
	uint64_t started = clock_us(), pages = 0;

	for (uint64_t seed = first; seed < first + seeds; seed++) {
		struct run r = { .kind = kind, .seed = seed };
		int64_t wrong = run_once(&r);

		if (wrong > 0)
			fprintf(stderr, "%s seed %llu: %lld pages differ\n", tracker_name(kind), (unsigned long long)seed, (long long)wrong);
		if (wrong != 0)
			return -1;
		pages += r.reported;
	}
	printf("%s: seeds %llu to %llu equal, %llu pages reported, %llu ms\n", tracker_name(kind), (unsigned long long)first,
	       (unsigned long long)(first + seeds - 1), (unsigned long long)pages, (unsigned long long)(clock_us() - started) / 1000);
	return 0;
}

static int a_deaf_tracker_is_caught(enum tracker_kind kind, enum deaf deaf, const char *name)
{
	for (uint64_t seed = 1; seed <= CONTROL_SEEDS; seed++) {
		struct run r = { .kind = kind, .seed = seed, .deaf = deaf };
		int64_t wrong = run_once(&r);

		if (wrong < 0)
			return -1;
		if (wrong > 0) {
			printf("%s deaf to %s: caught with seed %llu\n", tracker_name(kind), name, (unsigned long long)seed);
			return 0;
		}
	}
	fprintf(stderr, "%s deaf to %s: not caught\n", tracker_name(kind), name);
	return -1;
}

static int test_tracker(enum tracker_kind kind, uint64_t seeds, uint64_t first)
{
	if (nothing_is_missed(kind, seeds, first) < 0 || a_deaf_tracker_is_caught(kind, DEAF_TO_LAST_DATA, "the last data") < 0 ||
	    a_deaf_tracker_is_caught(kind, DEAF_TO_DROPS, "drops") < 0)
		return -1;
	if (kind != TRACKER_NONE && a_deaf_tracker_is_caught(kind, DEAF_TO_ONE_ROUND, "one round's data") < 0)
		return -1;
	return kind == TRACKER_WP_ASYNC ? a_deaf_tracker_is_caught(kind, DEAF_TO_RESETS, "resets") : 0;
}

int main(int argc, char **argv)
{
	static const enum tracker_kind all[] = { TRACKER_WP_ASYNC, TRACKER_SOFT_DIRTY, TRACKER_NONE };
	uint64_t seeds = argc > 2 ? strtoull(argv[2], NULL, 10) : SEEDS, first = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
	enum tracker_kind only = TRACKER_AUTO;
	int tested = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 1 && !tracker_parse(argv[1], &only)) {
		fprintf(stderr, "no such tracker: %s\n", argv[1]);
		return 1;
	}
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct err e = { 0 };

		if (only != TRACKER_AUTO && all[i] != only)
			continue;
		if (!tracker_probe(all[i], &e)) {
			printf("%s is not tested: %s\n", tracker_name(all[i]), e.text);
			continue;
		}
		if (test_tracker(all[i], all[i] == TRACKER_NONE ? (seeds + 3) / 4 : seeds, first) < 0)
			return 1;
		tested++;
	}
	return tested ? 0 : 77;
}
