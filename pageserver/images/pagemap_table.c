/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/images/pagemap_table.h"

#include <inttypes.h>
#include <stdlib.h>

#include "images.pb-c.h"
#include "proto/base/grow.h"
#include "proto/wire/runs.h"

enum { KNOWN_FLAGS = PAGE_IN_PARENT | PAGE_LAZY | PAGE_PRESENT };

enum image_type pagemap_image_type(enum pagemap_kind kind)
{
	return kind == PAGEMAP_SHMEM ? IMAGE_PAGEMAP_SHMEM : IMAGE_PAGEMAP;
}

static int take_head(struct pagemap_table *t, const uint8_t *body, size_t len, struct err *e)
{
	PagemapHead *h = pagemap_head__unpack(NULL, len, body);

	if (!h)
		return err_set(e, ERR_PROTOCOL, 0, "the first entry is no valid pagemap_head");
	t->pages_id = h->pages_id;
	t->has_head = true;
	pagemap_head__free_unpacked(h, NULL);
	return 0;
}

/* Old writers had a bool for what became a flag, and no flags for pages that are here. */
static uint32_t flags_of(const PagemapEntry *m)
{
	if (m->has_flags)
		return m->flags;
	return m->has_in_parent && m->in_parent ? PAGE_IN_PARENT : PAGE_PRESENT;
}

static int check_flags(uint64_t vaddr, uint32_t flags, struct err *e)
{
	if (flags & ~(uint32_t)KNOWN_FLAGS)
		return err_set(e, ERR_UNSUPPORTED, 0, "the entry at 0x%" PRIx64 " has flags 0x%x, which this version does not know", vaddr, flags);
	if (!flags || (flags & PAGE_PRESENT && flags & PAGE_IN_PARENT))
		return err_set(e, ERR_PROTOCOL, 0, "the entry at 0x%" PRIx64 " has flags 0x%x: its pages are %s", vaddr, flags,
			       flags ? "both here and in the parent" : "nowhere");
	return 0;
}

static int check_place(const struct pagemap_table *t, uint64_t vaddr, uint64_t nr, uint64_t *end, struct err *e)
{
	uint64_t bytes;

	if (vaddr % DRAY_PAGE_SIZE)
		return err_set(e, ERR_PROTOCOL, 0, "the entry at 0x%" PRIx64 " starts within a page", vaddr);
	if (!nr)
		return err_set(e, ERR_PROTOCOL, 0, "the entry at 0x%" PRIx64 " has no pages", vaddr);
	if (__builtin_mul_overflow(nr, DRAY_PAGE_SIZE, &bytes) || __builtin_add_overflow(vaddr, bytes, end) || *end > INT64_MAX)
		return err_set(e, ERR_PROTOCOL, 0, "the entry at 0x%" PRIx64 " of %" PRIu64 " pages ends past any address", vaddr, nr);
	if (t->count && vaddr < t->v[t->count - 1].end)
		return err_set(e, ERR_PROTOCOL, 0, "the entry at 0x%" PRIx64 " overlaps or precedes the one before it, which ends at 0x%" PRIx64,
			       vaddr, t->v[t->count - 1].end);
	return 0;
}

static int add(struct pagemap_table *t, const PagemapEntry *m, struct err *e)
{
	uint64_t nr = m->has_nr_pages ? m->nr_pages : m->compat_nr_pages;
	struct pagemap_range r = { .vaddr = m->vaddr, .first = t->stored, .flags = flags_of(m) };

	if (check_flags(r.vaddr, r.flags, e) < 0 || check_place(t, r.vaddr, nr, &r.end, e) < 0)
		return -1;
	if (t->last_only)
		t->count = 0;
	if (!array_room(&t->v, t->count, &t->capacity, sizeof(*t->v), 64))
		return err_sys(e, "memory for more than %zu ranges", t->count);
	t->v[t->count++] = r;
	if (r.flags & PAGE_PRESENT)
		t->stored += nr; /* ranges are apart, so all of them together fit into an address space */
	if (r.flags & PAGE_IN_PARENT)
		t->has_holes = true;
	return 0;
}

int pagemap_table_take(struct pagemap_table *t, const uint8_t *body, size_t len, struct err *e)
{
	PagemapEntry *m;
	int rc;

	if (!t->has_head)
		return take_head(t, body, len, e);
	m = pagemap_entry__unpack(NULL, len, body);
	if (!m)
		return err_set(e, ERR_PROTOCOL, 0, "entry %zu is no valid pagemap_entry", t->count + 1);
	rc = add(t, m, e);
	pagemap_entry__free_unpacked(m, NULL);
	return rc;
}

size_t pagemap_table_find(const struct pagemap_table *t, uint64_t vaddr)
{
	size_t low = 0, high = t->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (t->v[mid].end > vaddr)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

void pagemap_table_finish(struct pagemap_table *t)
{
	free(t->v);
	*t = (struct pagemap_table){ 0 };
}

static int take_all(struct pagemap_table *t, struct image_in *in, struct err *e)
{
	const uint8_t *body;
	size_t len;
	int rc;

	while ((rc = image_get_bytes(in, &body, &len, e)) == 1)
		if (pagemap_table_take(t, body, len, e) < 0)
			return -1;
	if (rc == 0 && !t->has_head)
		return err_set(e, ERR_PROTOCOL, 0, "there is no pagemap_head");
	return rc;
}

int pagemap_table_load(struct pagemap_table *t, int dirfd, enum pagemap_kind kind, uint64_t id, struct err *e)
{
	struct image_in *in = image_open(dirfd, pagemap_image_type(kind), id, e);
	char name[IMAGE_NAME_MAX];
	int rc;

	if (!in)
		return -1;
	rc = take_all(t, in, e);
	image_in_close(in);
	if (rc < 0) {
		image_name(pagemap_image_type(kind), id, name);
		err_wrap(e, "%s", name);
		pagemap_table_finish(t);
	}
	return rc;
}
