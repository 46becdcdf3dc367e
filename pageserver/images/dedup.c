/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/images/dedup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pageserver/images/pagemap.h"
#include "pageserver/images/pagemap_chain.h"
#include "pageserver/images/pagemap_list.h"
#include "pageserver/images/pagemap_stream.h"
#include "proto/wire/runs.h"

/* Bytes of one pages file that are to go; they are collected as long as they lie side by side. */
struct punch {
	int fd;
	uint64_t start, end; /* empty where equal */
};

static int punch_now(struct punch *p, struct err *e)
{
	uint64_t len = p->end - p->start;

	if (len == 0)
		return 0;
	while (fallocate(p->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)p->start, (off_t)len) < 0) {
		if (errno == EOPNOTSUPP)
			return err_set(e, ERR_UNSUPPORTED, 0, "the filesystem of a parent can't punch holes into files");
		if (errno != EINTR)
			return err_sys(e, "punch pages out of a parent");
	}
	p->start = p->end = 0;
	return 0;
}

static int punch_add(struct punch *p, uint64_t start, uint64_t end, struct err *e)
{
	if (p->end != start || p->start == p->end) {
		if (punch_now(p, e) < 0)
			return -1;
		p->start = start;
	}
	p->end = end;
	return 0;
}

/* Pages that range a of the newer set covers of b, as bytes of b's pages file. */
static int punch_common(struct punch *p, const struct pagemap_range *a, const struct pagemap_range *b, struct err *e)
{
	uint64_t start = a->vaddr > b->vaddr ? a->vaddr : b->vaddr, end = a->end < b->end ? a->end : b->end;
	uint64_t base = pages_to_bytes(b->first);

	if (start >= end || !(a->flags & b->flags & PAGE_PRESENT))
		return 0;
	return punch_add(p, base + (start - b->vaddr), base + (end - b->vaddr), e);
}

/* ---- the sets that build on each other, with a page map each ---- */

struct set_level { int dir, pages; /* descriptors; pages, open for writing: -1: it has no file */ };
struct set_levels {
	struct set_trail trail;
	struct set_level v[PAGEMAP_CHAIN_MAX];
	unsigned count;
	enum pagemap_kind kind;
	uint64_t id;
};

static void levels_close(struct set_levels *l)
{
	while (l->count > 0) {
		const struct set_level *x = &l->v[--l->count];

		close(x->dir);
		if (x->pages >= 0)
			close(x->pages);
	}
}

/* Takes dir. ERR_GONE when it has no such page map. */
static int levels_push(struct set_levels *l, int dir, struct err *e)
{
	struct pagemap_stream s;
	uint64_t size;

	if (set_trail_add(&l->trail, dir, e) < 0 || pagemap_stream_open(&s, dir, l->kind, l->id, e) < 0) {
		close(dir);
		return -1;
	}
	l->v[l->count++] = (struct set_level){ dir, image_open_file(dir, IMAGE_PAGES, pagemap_stream_pages_id(&s), true, &size, e) };
	pagemap_stream_close(&s);
	if (l->v[l->count - 1].pages < 0 && e->kind != ERR_GONE)
		return -1;
	err_clear(e);
	return 0;
}

static int levels_push_parents(struct set_levels *l, struct err *e)
{
	for (;;) {
		int dir = image_parent_open(l->v[l->count - 1].dir, e), rc;

		if (dir < 0)
			return err_is_set(e) ? -1 : 0;
		rc = levels_push(l, dir, e);
		if (rc < 0 && e->kind == ERR_GONE) {
			err_clear(e);
			return 0;
		}
		if (rc < 0)
			return -1;
	}
}

static int levels_open(struct set_levels *l, int dirfd, enum pagemap_kind kind, uint64_t id, struct err *e)
{
	int dir = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);

	l->kind = kind;
	l->id = id;
	l->count = l->trail.count = 0;
	if (dir < 0)
		return err_sys(e, "open a set");
	err_clear(e);
	if (levels_push(l, dir, e) == 0 && levels_push_parents(l, e) == 0)
		return 0;
	if (l->count > 0)
		err_wrap(e, "%u %s back", l->count, l->count == 1 ? "set" : "sets");
	levels_close(l);
	return -1;
}

/* ---- punching ---- */

static int punch_along(struct punch *p, struct pagemap_stream *newer, struct pagemap_stream *older, struct err *e)
{
	struct pagemap_range a, b;
	int rc = pagemap_stream_next(newer, &a, e);

	if (rc == 1)
		rc = pagemap_stream_next(older, &b, e);
	while (rc == 1) {
		if (punch_common(p, &a, &b, e) < 0)
			return -1;
		rc = a.end < b.end ? pagemap_stream_next(newer, &a, e) : pagemap_stream_next(older, &b, e);
	}
	return rc < 0 ? -1 : punch_now(p, e);
}

static int punch_level(const struct set_levels *l, unsigned newer, unsigned older, struct err *e)
{
	struct punch p = { .fd = l->v[older].pages };
	struct pagemap_stream a = { 0 }, b = { 0 };
	int rc = -1;

	if (pagemap_stream_open(&a, l->v[newer].dir, l->kind, l->id, e) == 0 && pagemap_stream_open(&b, l->v[older].dir, l->kind, l->id, e) == 0)
		rc = punch_along(&p, &a, &b, e);
	pagemap_stream_close(&a);
	pagemap_stream_close(&b);
	return rc;
}

static uint64_t blocks_of(const struct set_levels *l)
{
	uint64_t sum = 0;
	struct stat st;

	for (unsigned i = 1; i < l->count; i++)
		if (l->v[i].pages >= 0 && fstat(l->v[i].pages, &st) == 0)
			sum += (uint64_t)st.st_blocks;
	return sum;
}

static int punch_all(const struct set_levels *l, unsigned levels, struct err *e)
{
	for (unsigned i = 0; i < l->count && i < levels; i++)
		for (unsigned k = i + 1; k < l->count; k++)
			if (l->v[k].pages >= 0 && punch_level(l, i, k, e) < 0)
				return err_wrap(e, "%u %s back", k, k == 1 ? "set" : "sets");
	return 0;
}

int dedup_map(int dirfd, enum pagemap_kind kind, uint64_t id, unsigned levels, uint64_t *pages_freed, struct err *e)
{
	char name[IMAGE_NAME_MAX];
	struct set_levels l;
	uint64_t before;
	int rc;

	if (levels_open(&l, dirfd, kind, id, e) < 0)
		return -1;
	before = blocks_of(&l);
	rc = punch_all(&l, levels, e);
	if (pages_freed)
		*pages_freed += (before - blocks_of(&l)) / (DRAY_PAGE_SIZE / 512);
	levels_close(&l);
	image_name(pagemap_image_type(kind), id, name);
	return rc < 0 ? err_wrap(e, "%s", name) : 0;
}

int image_set_dedup(int dirfd, uint64_t *pages_freed, struct err *e)
{
	struct pagemap_list maps = { 0 };
	int rc = pagemap_list_read(&maps, dirfd, e);

	*pages_freed = 0;
	for (size_t i = 0; i < maps.count && rc == 0; i++)
		rc = dedup_map(dirfd, maps.v[i].kind, maps.v[i].id, UINT_MAX, pages_freed, e);
	pagemap_list_finish(&maps);
	return rc;
}
