/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pageserver/images/pagemap.h"
#include "pageserver/images/pagemap_list.h"
#include "pageserver/images/pagemap_table.h"
#include "pageserver/images/pagemap_walk.h"

static int put_extent(struct page_sink *to, const struct page_extent *x, struct err *e)
{
	if (x->flags & PAGE_PRESENT)
		return image_set_copy(to, x->vaddr, x->nr, x->flags, x->fd, x->offset, e);
	if (x->flags & PAGE_IN_PARENT)
		return err_set(e, ERR_PROTOCOL, 0, "the hole at 0x%" PRIx64 " of %" PRIu64 " pages is in no parent", x->vaddr, x->nr);
	return to->ops->hole(to, x->vaddr, x->nr, x->flags, e);
}

static int put_all(struct page_sink *to, struct pagemap_walk *w, struct err *e)
{
	struct page_extent x;
	int rc;

	while ((rc = pagemap_walk_next(w, &x, e)) == 1)
		if (put_extent(to, &x, e) < 0)
			return -1;
	return rc;
}

/* A page map with all its pages, wherever in its chain they are, into a set that is being written. */
static int flatten_map(struct page_sink *to, int from, enum pagemap_kind kind, uint64_t id, struct err *e)
{
	char name[IMAGE_NAME_MAX];
	struct pagemap_walk *w = pagemap_walk_open(from, kind, id, e);
	bool ignored;
	int rc;

	if (!w)
		return -1;
	rc = to->ops->open(to, kind, id, &ignored, e);
	if (rc == 0)
		rc = put_all(to, w, e);
	pagemap_walk_close(w);
	image_name(pagemap_image_type(kind), id, name);
	return rc < 0 ? err_wrap(e, "flatten %s", name) : 0;
}

/* 1: it has holes; 0; -1. */
static int needs_parent(int dirfd, const struct pagemap_name *name, struct err *e)
{
	struct pagemap_table t = { .last_only = true };
	int rc = pagemap_table_load(&t, dirfd, name->kind, name->id, e);

	if (rc == 0)
		rc = t.has_holes;
	pagemap_table_finish(&t);
	return rc;
}

static int replace_map(const struct image_flatten_options *o, const struct pagemap_name *name, uint64_t *pages, struct err *e)
{
	struct image_set_options so = { .dirfd = o->dirfd, .first_pages_id = o->first_pages_id, .durable = o->durable };
	struct page_sink *to = image_set_create(&so, e);
	int rc;

	if (!to)
		return -1;
	rc = flatten_map(to, o->dirfd, name->kind, name->id, e);
	if (rc == 0)
		rc = to->ops->finish(to, e);
	*pages += rc == 0 ? image_set_pages_written(to) : 0;
	to->ops->destroy(to);
	return rc;
}

static int unlink_parent(const struct image_flatten_options *o, struct err *e)
{
	struct stat st;

	if (fstatat(o->dirfd, "parent", &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISLNK(st.st_mode))
		return 0;
	if (unlinkat(o->dirfd, "parent", 0) < 0)
		return err_sys(e, "remove the link to the parent");
	return o->durable && fsync(o->dirfd) < 0 ? err_sys(e, "write the image directory to disk") : 0;
}

int image_set_flatten(const struct image_flatten_options *o, uint64_t *pages, struct err *e)
{
	struct pagemap_list maps = { 0 };
	uint64_t written = 0;
	int rc = pagemap_list_read(&maps, o->dirfd, e);

	for (size_t i = 0; i < maps.count && rc == 0; i++) {
		rc = needs_parent(o->dirfd, &maps.v[i], e);
		if (rc == 1)
			rc = replace_map(o, &maps.v[i], &written, e);
	}
	pagemap_list_finish(&maps);
	if (pages)
		*pages = written;
	return rc < 0 ? -1 : unlink_parent(o, e);
}
