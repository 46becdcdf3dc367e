/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/images/pagemap_walk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "pageserver/images/pagemap_chain.h"
#include "pageserver/images/pagemap_stream.h"
#include "proto/base/cleanup.h"
#include "proto/wire/runs.h"

struct level {
	struct pagemap_stream map;
	struct pagemap_range range; /* where its page map is; behind `to` means that it has none there */
	bool ended;                 /* no further range */
	uint64_t to;                /* what is looked for in it now ends here */
	int dir, pages;             /* pages: -1 before the first that is needed */
	uint64_t size;              /* of the pages file */
};

struct pagemap_walk {
	enum pagemap_kind kind;
	uint64_t id;
	struct set_trail trail;
	struct level *level; /* that are open, from the set itself on */
	unsigned depth;
	bool all;            /* there are no more */
	unsigned now;        /* level */
	uint64_t at;         /* address */
	struct page_extent last; /* for pagemap_walk_covers */
};

static int in_level(unsigned depth, struct err *e)
{
	return depth ? err_wrap(e, "%u %s back", depth, depth == 1 ? "set" : "sets") : -1;
}

/* Takes dir. */
static int push(struct pagemap_walk *w, int dir, struct err *e)
{
	struct level *more = reallocarray(w->level, w->depth + 1, sizeof(*more)), *l;

	if (!more) {
		close(dir);
		return err_sys(e, "memory for a chain of sets");
	}
	w->level = more;
	l = &more[w->depth];
	*l = (struct level){ .dir = dir, .pages = -1 };
	if (set_trail_add(&w->trail, dir, e) == 0 && pagemap_stream_open(&l->map, dir, w->kind, w->id, e) == 0) {
		w->depth++;
		return 0;
	}
	close(dir);
	return -1;
}

static int advance(struct pagemap_walk *w, struct level *l, struct err *e)
{
	int rc = pagemap_stream_next(&l->map, &l->range, e);

	l->ended = rc == 0;
	return rc < 0 ? in_level((unsigned)(l - w->level), e) : 0;
}

/* The set before the last one, if there is one that has the page map. */
static int open_next(struct pagemap_walk *w, struct err *e)
{
	int dir;

	if (w->all)
		return 0;
	err_clear(e);
	dir = image_parent_open(w->level[w->depth - 1].dir, e);
	if (dir >= 0 && push(w, dir, e) == 0)
		return advance(w, &w->level[w->depth - 1], e);
	if (err_is_set(e) && e->kind != ERR_GONE)
		return in_level(w->depth, e);
	err_clear(e);
	w->all = true;
	return 0;
}

static int open_pages(struct pagemap_walk *w, struct level *l, uint64_t pages, struct err *e)
{
	char name[IMAGE_NAME_MAX];
	uint32_t id = pagemap_stream_pages_id(&l->map);

	if (l->pages < 0)
		l->pages = image_open_file(l->dir, IMAGE_PAGES, id, false, &l->size, e);
	if (l->pages < 0) {
		if (e->kind == ERR_GONE)
			e->kind = ERR_PROTOCOL; /* gone is what a page map may be, not the pages of one that is there */
		return in_level((unsigned)(l - w->level), e);
	}
	if (l->size / DRAY_PAGE_SIZE >= pages)
		return 0;
	image_name(IMAGE_PAGES, id, name);
	err_set(e, ERR_PROTOCOL, 0, "%s is truncated: its page map speaks of %" PRIu64 " pages, %" PRIu64 " are there", name, pages,
		l->size / DRAY_PAGE_SIZE);
	return in_level((unsigned)(l - w->level), e);
}

static int give(struct pagemap_walk *w, uint64_t end, struct page_extent x, struct page_extent *out)
{
	x.vaddr = w->at;
	x.nr = bytes_to_pages(end - w->at);
	x.depth = w->now;
	*out = x;
	w->at = end;
	return 1;
}

static int give_unfilled(struct pagemap_walk *w, uint64_t end, struct page_extent *out)
{
	return give(w, end, (struct page_extent){ .flags = PAGE_IN_PARENT, .fd = -1 }, out);
}

static int give_range(struct pagemap_walk *w, struct level *l, uint64_t end, struct page_extent *out, struct err *e)
{
	const struct pagemap_range *r = &l->range;
	struct page_extent x = { .flags = r->flags, .fd = -1 };

	if (r->flags & PAGE_PRESENT) {
		if (open_pages(w, l, r->first + bytes_to_pages(r->end - r->vaddr), e) < 0)
			return -1;
		x.fd = l->pages;
		x.offset = pages_to_bytes(r->first) + (w->at - r->vaddr);
	}
	return give(w, end, x, out);
}

enum { GO_ON = 2 };

/* Up again to who asked, or on to the set's own next range. 0: that was the last. */
static int leave(struct pagemap_walk *w, struct err *e)
{
	struct level *l = &w->level[w->now];

	if (w->now > 0) {
		w->now--;
		return GO_ON;
	}
	if (advance(w, l, e) < 0)
		return -1;
	if (l->ended)
		return 0;
	w->at = l->range.vaddr;
	l->to = l->range.end;
	return GO_ON;
}

/* A hole up to `end`, to be filled by the sets before. */
static int enter(struct pagemap_walk *w, uint64_t end, struct page_extent *out, struct err *e)
{
	if (w->now + 1 == w->depth && open_next(w, e) < 0)
		return -1;
	if (w->now + 1 == w->depth)
		return give_unfilled(w, end, out);
	w->level[++w->now].to = end;
	return GO_ON;
}

static int step(struct pagemap_walk *w, struct page_extent *out, struct err *e)
{
	struct level *l = &w->level[w->now];

	if (w->at >= l->to)
		return leave(w, e);
	while (!l->ended && l->range.end <= w->at)
		if (advance(w, l, e) < 0)
			return -1;
	if (l->ended || l->range.vaddr > w->at)
		return give_unfilled(w, l->ended ? l->to : least(l->range.vaddr, l->to), out);
	if (l->range.flags & PAGE_IN_PARENT)
		return enter(w, least(l->range.end, l->to), out, e);
	return give_range(w, l, least(l->range.end, l->to), out, e);
}

int pagemap_walk_next(struct pagemap_walk *w, struct page_extent *out, struct err *e)
{
	int rc;

	do
		rc = step(w, out, e);
	while (rc == GO_ON);
	return rc;
}

int pagemap_walk_covers(struct pagemap_walk *w, uint64_t vaddr, uint64_t nr, struct err *e)
{
	uint64_t end = vaddr + pages_to_bytes(nr);
	const struct page_extent *x = &w->last;

	while (vaddr < end) {
		while (x->vaddr + pages_to_bytes(x->nr) <= vaddr) {
			int rc = pagemap_walk_next(w, &w->last, e);

			if (rc <= 0)
				return rc;
		}
		if (x->vaddr > vaddr || !(x->flags & PAGE_PRESENT))
			return 0;
		vaddr = x->vaddr + pages_to_bytes(x->nr);
	}
	return 1;
}

struct pagemap_walk *pagemap_walk_open(int dirfd, enum pagemap_kind kind, uint64_t id, struct err *e)
{
	struct pagemap_walk *w = calloc(1, sizeof(*w));
	int dir = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);

	if (!w || dir < 0) {
		err_sys(e, "walk a page map");
		if (dir >= 0)
			close(dir);
		free(w);
		return NULL;
	}
	w->kind = kind;
	w->id = id;
	if (push(w, dir, e) == 0)
		return w;
	pagemap_walk_close(w);
	return NULL;
}

void pagemap_walk_close(struct pagemap_walk *w)
{
	if (!w)
		return;
	for (unsigned i = 0; i < w->depth; i++) {
		pagemap_stream_close(&w->level[i].map);
		close(w->level[i].dir);
		if (w->level[i].pages >= 0)
			close(w->level[i].pages);
	}
	free(w->level);
	free(w);
}
