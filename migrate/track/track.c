/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/track/track.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/track/track_priv.h"
#include "proto/base/cleanup.h"

static const struct tracker_ops *const by_preference[] = { &track_wp_async, &track_soft_dirty, &track_none };
enum { TRACKERS = sizeof(by_preference) / sizeof(by_preference[0]) };
/* The wire carries addresses below this. */
static const uint64_t address_limit = 1ull << 47;

const char *tracker_name(enum tracker_kind kind)
{
	switch (kind) {
	case TRACKER_AUTO:
		return "auto";
	case TRACKER_WP_ASYNC:
		return "wp-async";
	case TRACKER_SOFT_DIRTY:
		return "soft-dirty";
	case TRACKER_NONE:
		return "none";
	}
	return "?";
}

bool tracker_parse(const char *name, enum tracker_kind *kind)
{
	for (int k = TRACKER_AUTO; k <= TRACKER_NONE; k++) {
		if (strcmp(name, tracker_name((enum tracker_kind)k)) == 0) {
			*kind = (enum tracker_kind)k;
			return true;
		}
	}
	return false;
}

static const struct tracker_ops *ops_of(enum tracker_kind kind)
{
	for (int i = 0; i < TRACKERS; i++)
		if (by_preference[i]->kind == kind)
			return by_preference[i];
	return NULL;
}

enum tracker_kind tracker_best(void)
{
	struct err ignored = { 0 };

	for (int i = 0; i < TRACKERS; i++)
		if (by_preference[i]->probe(&ignored))
			return by_preference[i]->kind;
	return TRACKER_NONE;
}

bool tracker_probe(enum tracker_kind kind, struct err *e)
{
	const struct tracker_ops *ops = ops_of(kind == TRACKER_AUTO ? tracker_best() : kind);

	if (!ops) {
		err_set(e, ERR_INTERNAL, 0, "unknown tracker %d", (int)kind);
		return false;
	}
	return ops->probe(e);
}

static struct tracker *open_tracker(enum tracker_kind kind, pid_t pid, int uffd, bool resumed, struct err *e)
{
	struct tracker *t = calloc(1, sizeof(*t));

	if (!t) {
		cleanup_fd_(&uffd);
		err_set(e, ERR_SYSTEM, ENOMEM, "tracker");
		return NULL;
	}
	*t = (struct tracker){ .ops = ops_of(kind == TRACKER_AUTO ? tracker_best() : kind), .pid = pid, .uffd = uffd, .pagemap = -1,
		.resumed = resumed };
	t->vec = malloc(SCAN_VECTOR * sizeof(*t->vec));
	t->words = malloc(WINDOW_PAGES * sizeof(*t->words));
	if (!t->ops || !t->vec || !t->words) {
		err_set(e, ERR_SYSTEM, ENOMEM, "tracker");
		goto failed;
	}
	if (t->ops->open && t->ops->open(t, e) < 0) {
		err_wrap(e, "tracker %s", tracker_name(t->ops->kind));
		goto failed;
	}
	return t;
failed:
	tracker_close(t);
	return NULL;
}

struct tracker *tracker_open(enum tracker_kind kind, pid_t pid, int uffd, struct err *e)
{
	return open_tracker(kind, pid, uffd, false, e);
}

struct tracker *tracker_resume(enum tracker_kind kind, pid_t pid, int uffd, const struct run_list *base, const struct witness_list *witnesses, struct err *e)
{
	struct tracker *t = open_tracker(kind, pid, uffd, true, e);

	if (t && sent_assume(&t->sent, base) < 0) {
		err_set(e, ERR_SYSTEM, ENOMEM, "tracker");
		tracker_close(t);
		return NULL;
	}
	if (t && witnesses)
		sent_call(&t->sent, witnesses);
	else if (t)
		t->unwitnessed = true;
	return t;
}

int tracker_leave(struct tracker *t)
{
	int uffd = steal_fd(&t->uffd);

	tracker_close(t);
	return uffd;
}

int tracker_holds(const struct tracker *t, struct run_list *out)
{
	return sent_list(&t->sent, out);
}

int tracker_witnesses(const struct tracker *t, struct witness_list *out)
{
	return sent_witnesses(&t->sent, out);
}

enum tracker_kind tracker_kind_of(const struct tracker *t)
{
	return t->ops->kind;
}

bool tracker_needs_stop(const struct tracker *t)
{
	return t->ops->needs_stop;
}

/* ---- the walk ---- */

struct walk {
	struct tracker *t;
	struct collected *out;
	struct window w;
	size_t reset; /* runs of out->reset that lie behind us */
	bool open; /* w is being filled */
	int rc;    /* of a skip */
};

static int close_window(struct walk *k)
{
	if (!k->open)
		return 0;
	k->open = false;
	return window_emit(&k->w, &k->t->sent, &k->out->runs);
}

static int open_window(struct walk *k, uint64_t base)
{
	struct sent_window *kept;
	int rc;

	if (k->open && k->w.base == base)
		return 0;
	rc = close_window(k);
	if (rc < 0)
		return rc;
	memset(&k->w, 0, sizeof(k->w));
	k->w.base = base;
	kept = sent_visit(&k->t->sent, base);
	if (!kept)
		return -ENOMEM;
	k->w.sent = &kept->bits;
	k->w.witness = kept->witness;
	k->open = true;
	return 0;
}

/* Reservations of terabytes with little in them are common: go on where something is, or was sent. */
static uint64_t skip_hole(struct walk *k, uint64_t at, uint64_t end)
{
	uint64_t base = at & ~(WINDOW_SIZE - 1), there, sent;

	if (!k->t->can_scan || (k->open && k->w.base == base))
		return at;
	/* What is open belongs before base in the sent map. */
	k->rc = close_window(k);
	if (k->rc < 0)
		return end;
	there = pagemap_first(k->t->pagemap, at, end);
	sent = sent_next(&k->t->sent, base);
	if (sent < there)
		there = sent > at ? sent : at;
	return there < end ? there : end;
}

/* Shared memory can change behind every tracker's back: by write(2), by another process, through another mapping. So all that is in it
 * is reported by the last collect, and where nothing was sent yet; in between not at all. What it does not hold the last collect says too, of every page: it may
 * have been sent at another address, where the memory was mapped then. */
static int fill_shared(struct walk *k, const struct vma *v, uint64_t start, uint64_t end)
{
	unsigned from = window_page(&k->w, start), to = window_page(&k->w, end);

	if (!k->t->last && page_bits_any(k->w.sent, from, to))
		return 0;
	if (k->t->last)
		page_bits_set(k->w.sent, from, to);
	return shmem_fill(k->t->pid, v, &k->w, start, end);
}

/* What is void at the destination was not sent. */
static void forget_reset(struct walk *k, uint64_t start, uint64_t end)
{
	const struct run_list *reset = &k->out->reset;

	while (k->reset < reset->count && run_end(&reset->run[k->reset]) <= start)
		k->reset++;
	for (size_t i = k->reset; i < reset->count && reset->run[i].addr < end; i++) {
		uint64_t from = reset->run[i].addr > start ? reset->run[i].addr : start;
		uint64_t to = run_end(&reset->run[i]) < end ? run_end(&reset->run[i]) : end;

		page_bits_clear(k->w.sent, window_page(&k->w, from), window_page(&k->w, to));
	}
}

/* [start, end) belongs to v, or to v and neighbours of its kind. */
static int walk_range(struct walk *k, const struct vma *v, uint64_t start, uint64_t end)
{
	for (;;) {
		uint64_t base, stop;
		int rc;

		if (v->kind == VMA_ANON)
			start = skip_hole(k, start, end);
		if (start >= end)
			return k->rc;
		base = start & ~(WINDOW_SIZE - 1);
		stop = end < base + WINDOW_SIZE ? end : base + WINDOW_SIZE;
		rc = open_window(k, base);
		if (rc < 0)
			return rc;
		page_bits_set(&k->w.mapped, window_page(&k->w, start), window_page(&k->w, stop));
		forget_reset(k, start, stop);
		if (v->kind == VMA_SHMEM)
			rc = fill_shared(k, v, start, stop);
		else
			rc = k->t->ops->fill(k->t, &k->w, start, stop, v->kind == VMA_FILE_PRIVATE);
		if (rc < 0)
			return rc;
		start = stop;
	}
}

static bool continues(const struct vma *a, const struct vma *b)
{
	return a->kind == VMA_ANON && b->kind == VMA_ANON && a->end == b->start && vma_carries_pages(b);
}

static int walk_mappings(struct walk *k, const struct vma_list *vmas)
{
	int rc = 0;

	for (size_t i = 0; i < vmas->count && rc == 0; i++) {
		const struct vma *v = &vmas->vma[i];

		if (!vma_carries_pages(v))
			continue;
		while (i + 1 < vmas->count && continues(&vmas->vma[i], &vmas->vma[i + 1]))
			i++;
		rc = walk_range(k, v, v->start, vmas->vma[i].end);
	}
	return rc == 0 ? close_window(k) : rc;
}

static int check_addresses(const struct vma_list *vmas, struct err *e)
{
	for (size_t i = 0; i < vmas->count; i++)
		if (vma_carries_pages(&vmas->vma[i]) && vmas->vma[i].end > address_limit)
			return err_set(e, ERR_UNSUPPORTED, 0, "mapping %llx-%llx lies above 2^47", (unsigned long long)vmas->vma[i].start,
				       (unsigned long long)vmas->vma[i].end);
	return 0;
}

static int collect(struct tracker *t, const struct vma_list *vmas, struct collected *out, struct err *e)
{
	struct walk k = { .t = t, .out = out };
	int rc;

	t->can_scan = pagemap_can_scan(t->pagemap);
	if (known_compare(&t->known, vmas, !t->estimating, &out->reset) < 0)
		return err_set(e, ERR_SYSTEM, ENOMEM, "mappings of process %d", t->pid);
	if (t->ops->begin && t->ops->begin(t, vmas, out, e) < 0)
		return -1;
	sent_begin(&t->sent);
	rc = walk_mappings(&k, vmas);
	sent_end(&t->sent);
	if (rc < 0)
		return err_set(e, ERR_SYSTEM, -rc, "read the pages of process %d", t->pid);
	return t->ops->end ? t->ops->end(t, e) : 0;
}

int tracker_collect(struct tracker *t, const struct vma_list *vmas, bool rearm, bool last, struct collected *out, struct err *e)
{
	int rc;

	run_list_clear(&out->runs);
	run_list_clear(&out->reset);
	if (t->failed)
		return err_set(e, ERR_INTERNAL, 0, "a collect failed before: its changes are lost");
	if (check_addresses(vmas, e) < 0)
		return -1;
	t->pagemap = proc_pagemap_open(t->pid);
	if (t->pagemap < 0) {
		if (t->pagemap == -ENOENT || t->pagemap == -ESRCH)
			return err_set(e, ERR_GONE, 0, "process %d is gone", t->pid);
		return err_set(e, ERR_SYSTEM, -t->pagemap, "open /proc/%d/pagemap", t->pid);
	}
	t->rearm = rearm;
	t->last = last;
	rc = collect(t, vmas, out, e);
	t->failed = rc < 0;
	close(steal_fd(&t->pagemap));
	return rc;
}

/* A collect that re-arms nothing, against an empty memory of what was sent, so that the real one stays as it is: a drop
 * that an estimate saw must still be told. Shared memory counts whole, as the last collect will have it. */
int tracker_estimate(struct tracker *t, const struct vma_list *vmas, struct run_list *runs, struct err *e)
{
	struct sent_map kept = t->sent;
	struct collected c = { 0 };
	int rc;

	t->sent = (struct sent_map){ 0 };
	t->estimating = true;
	rc = tracker_collect(t, vmas, false, false, &c, e);
	t->estimating = false;
	sent_finish(&t->sent);
	t->sent = kept;
	*runs = c.runs;
	c.runs = (struct run_list){ 0 };
	collected_finish(&c);
	return rc;
}

void collected_finish(struct collected *c)
{
	run_list_finish(&c->runs);
	run_list_finish(&c->reset);
}

void tracker_close(struct tracker *t)
{
	if (!t)
		return;
	if (t->ops && t->ops->close)
		t->ops->close(t);
	cleanup_fd_(&t->uffd);
	zero_pages_finish(&t->zero);
	sent_finish(&t->sent);
	known_finish(&t->known);
	run_list_finish(&t->fresh);
	run_list_finish(&t->registered);
	free(t->vec);
	free(t->words);
	free(t);
}

int present_bytes(pid_t pid, const struct vma_list *vmas, uint64_t *bytes, struct err *e)
{
	struct tracker *t = tracker_open(TRACKER_NONE, pid, -1, e);
	struct collected c = { 0 };
	int rc;

	if (!t)
		return -1;
	rc = tracker_collect(t, vmas, false, true, &c, e);
	*bytes = pages_to_bytes(c.runs.data_pages);
	collected_finish(&c);
	tracker_close(t);
	return rc;
}
