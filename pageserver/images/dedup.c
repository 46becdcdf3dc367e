/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/images/dedup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "pageserver/images/pagemap.h"
#include "pageserver/images/pagemap_chain.h"
#include "pageserver/images/pagemap_list.h"
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

static int punch_level(const struct pagemap_table *newer, const struct pagemap_level *older, struct err *e)
{
	struct punch p = { .fd = older->pages };
	size_t i = 0, k = 0;

	while (i < newer->count && k < older->table.count) {
		const struct pagemap_range *a = &newer->v[i], *b = &older->table.v[k];

		if (punch_common(&p, a, b, e) < 0)
			return -1;
		if (a->end < b->end)
			i++;
		else
			k++;
	}
	return punch_now(&p, e);
}

static uint64_t blocks_of(const struct pagemap_chain *c)
{
	uint64_t sum = 0;
	struct stat st;

	for (unsigned i = 1; i < c->depth; i++)
		if (c->level[i].pages >= 0 && fstat(c->level[i].pages, &st) == 0)
			sum += (uint64_t)st.st_blocks;
	return sum;
}

static int punch_chain(const struct pagemap_chain *c, unsigned levels, struct err *e)
{
	for (unsigned i = 0; i < c->depth && i < levels; i++)
		for (unsigned k = i + 1; k < c->depth; k++)
			if (punch_level(&c->level[i].table, &c->level[k], e) < 0)
				return err_wrap(e, "%u %s back", k, k == 1 ? "set" : "sets");
	return 0;
}

int dedup_map(int dirfd, enum pagemap_kind kind, uint64_t id, unsigned levels, uint64_t *pages_freed, struct err *e)
{
	char name[IMAGE_NAME_MAX];
	struct pagemap_chain c;
	uint64_t before;
	int rc;

	if (pagemap_chain_open(&c, dirfd, kind, id, CHAIN_PUNCH, e) < 0)
		return -1;
	before = blocks_of(&c);
	rc = punch_chain(&c, levels, e);
	if (pages_freed)
		*pages_freed += (before - blocks_of(&c)) / (DRAY_PAGE_SIZE / 512);
	pagemap_chain_close(&c);
	image_name(pagemap_image_type(kind), id, name);
	return rc < 0 ? err_wrap(e, "%s", name) : 0;
}

void dedup_free_chain(const struct pagemap_chain *c)
{
	for (unsigned i = 0; i < c->depth; i++)
		if (c->level[i].pages >= 0)
			(void)fallocate(c->level[i].pages, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
					(off_t)pages_to_bytes(c->level[i].table.stored));
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
