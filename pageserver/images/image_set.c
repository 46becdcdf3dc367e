/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "images.pb-c.h"
#include "pageserver/images/aside.h"
#include "pageserver/images/dedup.h"
#include "pageserver/images/fold.h"
#include "pageserver/images/pagemap.h"
#include "pageserver/images/pagemap_chain.h"
#include "pageserver/images/pagemap_table.h"
#include "pageserver/images/pagemap_walk.h"
#include "pageserver/images/pages_file.h"
#include "pageserver/images/publish.h"
#include "pageserver/images/set_maps.h"
#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/wire/runs.h"

struct image_set {
	struct page_sink sink; /* first member */
	int home;
	char *parent_path;
	int parent; /* directory of the set before, -1 none */
	bool auto_dedup, check_holes, durable, revocable, flat;
	bool broken; /* something failed: never to be published */
	bool whole;  /* it is published */
	struct aside aside;
	struct set_maps maps;
	uint64_t written; /* pages */

	struct set_map *now; /* the one that is open, NULL none */
	struct image_out *out;
	struct pages_writer pages;
	struct pagemap_range last;     /* not written yet: the next may continue it; empty where end is 0 */
	struct pagemap_walk *filler; /* the parent's page map, opened for the first hole */
};

static struct image_set *set_of(struct page_sink *s)
{
	return (struct image_set *)s;
}

/* ---- the page map that is open ---- */

/* Both counters, so a range of more pages than the old one holds is split. */
static int put_range(struct image_set *s, const struct pagemap_range *r, struct err *e)
{
	uint64_t left = bytes_to_pages(r->end - r->vaddr), vaddr = r->vaddr;
	int rc = 0;

	while (left > 0 && rc == 0) {
		uint64_t nr = left < UINT32_MAX ? left : UINT32_MAX;
		PagemapEntry m = PAGEMAP_ENTRY__INIT;

		m.vaddr = vaddr;
		m.compat_nr_pages = (uint32_t)nr;
		m.has_nr_pages = m.has_flags = true;
		m.nr_pages = nr;
		m.flags = r->flags;
		rc = image_put(s->out, &m.base, e);
		vaddr += pages_to_bytes(nr);
		left -= nr;
	}
	return rc;
}

static int flush_last(struct image_set *s, struct err *e)
{
	struct pagemap_range r = s->last;

	s->last = (struct pagemap_range){ 0 };
	return put_range(s, &r, e);
}

static int pages_failed(const struct image_set *s, int rc, struct err *e)
{
	return err_set(e, ERR_SYSTEM, -rc, "write pages-%" PRIu32 ".img", s->now->pages_id);
}

/* Closes what is open without a word. */
static void drop_open(struct image_set *s)
{
	image_discard(s->out);
	pages_writer_drop(&s->pages);
	pagemap_walk_close(s->filler);
	s->now = NULL;
	s->out = NULL;
	s->filler = NULL;
}

static int close_files(struct image_set *s, struct err *e)
{
	struct image_out *out = s->out;
	int rc;

	s->out = NULL;
	if (image_close(out, s->durable, e) < 0)
		return -1;
	rc = pages_writer_close(&s->pages, s->durable);
	return rc < 0 ? pages_failed(s, rc, e) : 0;
}

static int end_map(struct image_set *s, struct err *e)
{
	int rc = 0;

	if (!s->now)
		return 0;
	if (flush_last(s, e) < 0 || close_files(s, e) < 0)
		rc = -1;
	drop_open(s);
	return rc;
}

static int open_files(struct image_set *s, bool anew, struct err *e)
{
	PagemapHead head = PAGEMAP_HEAD__INIT;
	enum image_type type = pagemap_image_type(s->now->kind);

	head.pages_id = s->now->pages_id;
	if (pages_writer_open(&s->pages, s->aside.dir, s->now->pages_id, anew, pages_to_bytes(s->now->stored), e) < 0)
		return -1;
	s->out = anew ? image_create(s->aside.dir, type, s->now->id, e) : image_append(s->aside.dir, type, s->now->id, e);
	if (!s->out)
		return -1;
	return anew ? image_put(s->out, &head.base, e) : 0;
}

static int begin_map(struct image_set *s, enum pagemap_kind kind, uint64_t id, bool anew, struct err *e)
{
	struct set_map *m = set_maps_find(&s->maps, kind, id);

	if (!m) {
		m = set_maps_add(&s->maps, kind, id, s->home, e);
		anew = true;
	}
	if (!m)
		return -1;
	if (anew) {
		s->written -= m->stored;
		m->stored = m->end = 0;
	}
	s->now = m;
	if (open_files(s, anew, e) == 0)
		return 0;
	drop_open(s);
	return -1;
}

static int answer_parent(const struct image_set *s, enum pagemap_kind kind, uint64_t id, bool *parent, struct err *e)
{
	int rc = s->parent < 0 ? 0 : pagemap_exists(s->parent, kind, id, e);

	*parent = rc == 1;
	return rc < 0 ? err_wrap(e, "the parent's") : 0;
}

static int switch_map(struct image_set *s, enum pagemap_kind kind, uint64_t id, bool anew, bool *parent, struct err *e)
{
	int rc = -1;

	if (answer_parent(s, kind, id, parent, e) == 0 && end_map(s, e) == 0 && begin_map(s, kind, id, anew, e) == 0)
		rc = 0;
	s->broken |= rc < 0;
	return rc;
}

static int set_has_parent(struct page_sink *sink, enum pagemap_kind kind, uint64_t id, bool *parent, struct err *e)
{
	return answer_parent(set_of(sink), kind, id, parent, e);
}

static int set_open(struct page_sink *sink, enum pagemap_kind kind, uint64_t id, bool *parent, struct err *e)
{
	return switch_map(set_of(sink), kind, id, true, parent, e);
}

static int set_resume(struct page_sink *sink, enum pagemap_kind kind, uint64_t id, bool *parent, struct err *e)
{
	struct image_set *s = set_of(sink);

	if (s->now && set_map_is(s->now, kind, id))
		return answer_parent(s, kind, id, parent, e);
	return switch_map(s, kind, id, false, parent, e);
}

/* ---- ranges ---- */

static int check_range(const struct image_set *s, uint64_t vaddr, uint64_t nr, uint64_t *end, struct err *e)
{
	uint64_t bytes;

	if (!s->now || s->broken)
		return err_set(e, ERR_INTERNAL, 0, s->now ? "the set is broken" : "no page map is open");
	if (vaddr % DRAY_PAGE_SIZE || !nr || __builtin_mul_overflow(nr, DRAY_PAGE_SIZE, &bytes) ||
	    __builtin_add_overflow(vaddr, bytes, end) || *end > INT64_MAX)
		return err_set(e, ERR_PROTOCOL, 0, "0x%" PRIx64 " of %" PRIu64 " pages is no range", vaddr, nr);
	if (vaddr < s->now->end)
		return err_set(e, ERR_PROTOCOL, 0, "the range at 0x%" PRIx64 " overlaps or precedes the one before it, which ends at 0x%" PRIx64,
			       vaddr, s->now->end);
	return 0;
}

/* After its pages, if it has any, have been written. */
static int record(struct image_set *s, uint64_t vaddr, uint64_t end, uint32_t flags, struct err *e)
{
	s->now->end = end;
	if (s->last.end == vaddr && s->last.flags == flags) {
		s->last.end = end;
		return 0;
	}
	if (flush_last(s, e) < 0)
		return -1;
	s->last = (struct pagemap_range){ .vaddr = vaddr, .end = end, .flags = flags };
	return 0;
}

static int record_pages(struct image_set *s, uint64_t vaddr, uint64_t end, uint32_t flags, struct err *e)
{
	s->now->stored += bytes_to_pages(end - vaddr);
	s->written += bytes_to_pages(end - vaddr);
	return record(s, vaddr, end, flags, e);
}

/* Names the page map in an error, and keeps the set from being published. */
static int range_failed(struct image_set *s, struct err *e)
{
	char name[IMAGE_NAME_MAX] = "";

	s->broken = true;
	if (s->now) {
		set_map_name(s->now, name);
		err_wrap(e, "%s", name);
	}
	return -1;
}

static int check_present(uint32_t flags, struct err *e)
{
	if (flags == PAGE_PRESENT || flags == (PAGE_PRESENT | PAGE_LAZY))
		return 0;
	return err_set(e, ERR_PROTOCOL, 0, "flags 0x%x are not those of pages that are here", flags);
}

static int put_pages(struct image_set *s, uint64_t vaddr, uint64_t nr, uint32_t flags, const void *data, struct err *e)
{
	uint64_t end;
	int rc;

	if (check_present(flags, e) < 0 || check_range(s, vaddr, nr, &end, e) < 0)
		return -1;
	rc = pages_writer_put(&s->pages, data, end - vaddr);
	if (rc < 0)
		return pages_failed(s, rc, e);
	return record_pages(s, vaddr, end, flags, e);
}

static int set_pages(struct page_sink *sink, uint64_t vaddr, uint64_t nr, uint32_t flags, const void *data, struct err *e)
{
	struct image_set *s = set_of(sink);

	return put_pages(s, vaddr, nr, flags, data, e) < 0 ? range_failed(s, e) : 0;
}

static uint8_t *set_room(struct page_sink *sink, uint64_t *bytes)
{
	struct image_set *s = set_of(sink);

	return s->now && !s->broken ? pages_writer_room(&s->pages, bytes) : NULL;
}

static int copy_pages_of(struct image_set *s, uint64_t vaddr, uint64_t nr, uint32_t flags, int fd, uint64_t offset, struct err *e)
{
	uint64_t end;
	int rc;

	if (check_present(flags, e) < 0 || check_range(s, vaddr, nr, &end, e) < 0)
		return -1;
	rc = pages_writer_copy(&s->pages, fd, offset, end - vaddr);
	if (rc < 0)
		return pages_failed(s, rc, e);
	return record_pages(s, vaddr, end, flags, e);
}

int image_set_copy(struct page_sink *sink, uint64_t vaddr, uint64_t nr, uint32_t flags, int fd, uint64_t offset, struct err *e)
{
	struct image_set *s = set_of(sink);

	return copy_pages_of(s, vaddr, nr, flags, fd, offset, e) < 0 ? range_failed(s, e) : 0;
}

static int pull_pages(struct image_set *s, uint64_t vaddr, uint64_t nr, uint32_t flags, struct page_source *from, struct err *e)
{
	uint64_t end;
	int rc;

	if (check_present(flags, e) < 0 || check_range(s, vaddr, nr, &end, e) < 0)
		return -1;
	rc = pages_writer_pull(&s->pages, from, end - vaddr, e);
	if (rc < 0)
		return pages_failed(s, rc, e);
	return rc == 0 ? record_pages(s, vaddr, end, flags, e) : rc;
}

/* Its source speaks for itself. */
static int set_pull(struct page_sink *sink, uint64_t vaddr, uint64_t nr, uint32_t flags, struct page_source *from, struct err *e)
{
	struct image_set *s = set_of(sink);
	int rc = pull_pages(s, vaddr, nr, flags, from, e);

	s->broken |= rc != 0;
	return rc > 0 ? -1 : rc < 0 ? range_failed(s, e) : 0;
}

static int check_filled(struct image_set *s, uint64_t vaddr, uint64_t nr, struct err *e)
{
	int rc = 0;

	if (!s->filler && s->parent >= 0) {
		s->filler = pagemap_walk_open(s->parent, s->now->kind, s->now->id, e);
		if (!s->filler && e->kind != ERR_GONE)
			return err_wrap(e, "the parent's");
	}
	if (s->filler)
		rc = pagemap_walk_covers(s->filler, vaddr, nr, e);
	if (rc != 0)
		return rc == 1 ? 0 : err_wrap(e, "the parent's");
	return err_set(e, ERR_PROTOCOL, 0, "the hole at 0x%" PRIx64 " of %" PRIu64 " pages is in no parent", vaddr, nr);
}

static int put_hole(struct image_set *s, uint64_t vaddr, uint64_t nr, uint32_t flags, struct err *e)
{
	uint64_t end;

	if (!flags || flags & ~(uint32_t)(PAGE_IN_PARENT | PAGE_LAZY))
		return err_set(e, ERR_PROTOCOL, 0, "flags 0x%x are not those of a hole", flags);
	if (check_range(s, vaddr, nr, &end, e) < 0)
		return -1;
	if (flags & PAGE_IN_PARENT && s->check_holes && check_filled(s, vaddr, nr, e) < 0)
		return -1;
	return record(s, vaddr, end, flags, e);
}

static int set_hole(struct page_sink *sink, uint64_t vaddr, uint64_t nr, uint32_t flags, struct err *e)
{
	struct image_set *s = set_of(sink);

	return put_hole(s, vaddr, nr, flags, e) < 0 ? range_failed(s, e) : 0;
}

/* ---- publication ---- */

static struct publish_options publication(struct image_set *s)
{
	return (struct publish_options){ .aside = &s->aside, .maps = &s->maps, .parent = s->flat ? NULL : s->parent_path, .durable = s->durable };
}

static int publish(struct image_set *s, struct err *e)
{
	struct publish_options o = publication(s);

	return publish_set(&o, e);
}

/* From here on there is no way back. */
static void settle(struct image_set *s)
{
	struct publish_options o = publication(s);

	publish_settle(&o);
	aside_close(&s->aside);
}

void image_set_revoke(struct page_sink *sink)
{
	struct image_set *s = set_of(sink);
	struct publish_options o = publication(s);

	assert(s->revocable);
	if (!s->whole)
		return;
	publish_revoke(&o);
	s->whole = false;
}

/* Not before the set is whole, and not while somebody waits for an answer. What can't be punched costs space, nothing else. */
static void punch_parents(const struct image_set *s)
{
	for (size_t i = 0; i < s->maps.count; i++) {
		struct err e = { 0 };

		if (dedup_map(s->home, s->maps.v[i]->kind, s->maps.v[i]->id, 1, NULL, &e) < 0) {
			log_event(LOG_WARN, "dedup-failed", "reason=\"%s\"", e.text);
			return;
		}
	}
}

static int fold(struct image_set *s, struct err *e)
{
	struct fold_options o = { .home = s->home, .aside = s->aside.dir, .parent_path = s->parent_path, .durable = s->durable };

	return s->flat && s->parent >= 0 ? fold_set(&o, &s->maps, e) : 0;
}

static int set_finish(struct page_sink *sink, struct err *e)
{
	struct image_set *s = set_of(sink);

	if (s->broken)
		return err_set(e, ERR_INTERNAL, 0, "a set that is broken can't be published");
	s->broken = true; /* no second time */
	if (end_map(s, e) < 0 || fold(s, e) < 0 || publish(s, e) < 0)
		return -1;
	s->whole = true;
	if (!s->revocable)
		settle(s);
	return 0;
}

static void set_destroy(struct page_sink *sink)
{
	struct image_set *s = set_of(sink);

	if (!s)
		return;
	if (s->whole && s->revocable)
		settle(s);
	if (s->whole && s->auto_dedup && !s->flat && s->parent >= 0)
		punch_parents(s);
	drop_open(s);
	pages_writer_finish(&s->pages);
	aside_close(&s->aside);
	if (s->parent >= 0)
		close(s->parent);
	set_maps_finish(&s->maps);
	free(s->parent_path);
	free(s);
}

static const struct page_sink_ops set_ops = {
	.has_parent = set_has_parent,
	.open = set_open,
	.resume = set_resume,
	.pages = set_pages,
	.room = set_room,
	.pull = set_pull,
	.hole = set_hole,
	.finish = set_finish,
	.destroy = set_destroy,
};

/* An entry that is there is taken, whatever was asked for. */
static int open_parent(struct image_set *s, struct err *e)
{
	err_clear(e);
	s->parent = image_parent_open(s->home, e);
	if (s->parent >= 0)
		return 0;
	if (err_is_set(e) && s->parent_path)
		return -1;
	err_clear(e); /* an old link that leads nowhere, and nobody asked for a parent */
	if (!s->parent_path)
		return 0;
	s->parent = openat(s->home, s->parent_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return s->parent < 0 ? err_sys(e, "open the parent directory %s", s->parent_path) : 0;
}

struct page_sink *image_set_create(const struct image_set_options *o, struct err *e)
{
	struct image_set *s = calloc(1, sizeof(*s));

	if (!s) {
		err_sys(e, "memory for an image set");
		return NULL;
	}
	s->sink.ops = &set_ops;
	s->home = o->dirfd;
	s->parent = s->aside.dir = s->pages.fd = -1;
	s->auto_dedup = o->auto_dedup;
	s->check_holes = o->check_holes;
	s->durable = o->durable;
	s->revocable = o->revocable;
	s->flat = o->flat;
	s->maps.next_pages_id = o->first_pages_id;
	s->parent_path = o->parent ? strdup(o->parent) : NULL;
	if (o->parent && !s->parent_path) {
		err_sys(e, "memory for a path");
		goto fail;
	}
	if (pages_writer_init(&s->pages, e) < 0 || open_parent(s, e) < 0 || aside_open(&s->aside, s->home, e) < 0)
		goto fail;
	return &s->sink;
fail:
	set_destroy(&s->sink);
	return NULL;
}

uint64_t image_set_pages_written(const struct page_sink *s)
{
	return ((const struct image_set *)s)->written;
}
