/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/images/pagemap_chain.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/wire/runs.h"

/* What is needed while a chain is opened, no longer. */
struct walk {
	struct pagemap_chain *chain;
	struct set_trail trail;
	enum pagemap_kind kind;
	uint64_t id;
};

int image_parent_open(int dirfd, struct err *e)
{
	struct stat st;
	int fd = openat(dirfd, "parent", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	if (errno == ENOENT && fstatat(dirfd, "parent", &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
		return -1;
	return err_sys(e, "open the parent directory");
}

int set_trail_add(struct set_trail *t, int dirfd, struct err *e)
{
	struct stat st;

	if (fstat(dirfd, &st) < 0)
		return err_sys(e, "stat a directory of images");
	for (unsigned i = 0; i < t->count; i++)
		if (t->seen[i].dev == st.st_dev && t->seen[i].ino == st.st_ino)
			return err_set(e, ERR_PROTOCOL, 0, "the parents go round in a circle");
	if (t->count == PAGEMAP_CHAIN_MAX)
		return err_set(e, ERR_LIMIT, 0, "more than %d sets build on each other", PAGEMAP_CHAIN_MAX);
	t->seen[t->count].dev = st.st_dev;
	t->seen[t->count++].ino = st.st_ino;
	return 0;
}

static int open_pages(int dirfd, struct pagemap_level *l, struct err *e)
{
	char name[IMAGE_NAME_MAX];
	uint64_t size;

	if (!l->table.stored)
		return 0;
	l->pages = image_open_file(dirfd, IMAGE_PAGES, l->table.pages_id, false, &size, e);
	if (l->pages < 0) {
		if (e->kind == ERR_GONE)
			e->kind = ERR_PROTOCOL; /* gone is what a page map may be, not the pages of one that is there */
		return -1;
	}
	if (size / DRAY_PAGE_SIZE >= l->table.stored)
		return 0;
	image_name(IMAGE_PAGES, l->table.pages_id, name);
	return err_set(e, ERR_PROTOCOL, 0, "%s is truncated: its page map speaks of %" PRIu64 " pages, %" PRIu64 " are there", name, l->table.stored,
		       size / DRAY_PAGE_SIZE);
}

static int push(struct pagemap_chain *c, const struct pagemap_level *l, struct err *e)
{
	struct pagemap_level *more = reallocarray(c->level, c->depth + 1, sizeof(*more));

	if (!more)
		return err_sys(e, "memory for a chain of sets");
	c->level = more;
	c->level[c->depth++] = *l;
	return 0;
}

static void level_finish(struct pagemap_level *l)
{
	pagemap_table_finish(&l->table);
	if (l->pages >= 0)
		close(l->pages);
}

static int load_level(struct walk *w, int dirfd, struct err *e)
{
	struct pagemap_level l = { .pages = -1 };

	if (set_trail_add(&w->trail, dirfd, e) == 0 && pagemap_table_load(&l.table, dirfd, w->kind, w->id, e) == 0 && open_pages(dirfd, &l, e) == 0 &&
	    push(w->chain, &l, e) == 0)
		return 0;
	level_finish(&l);
	return -1;
}

static bool goes_on(const struct walk *w)
{
	const struct pagemap_chain *c = w->chain;

	return c->level[c->depth - 1].table.has_holes;
}

/* The parent in exchange for *dir; 0: there is none. */
static int step_up(int *dir, int from, struct err *e)
{
	int parent = image_parent_open(from, e);

	if (parent < 0)
		return err_is_set(e) ? -1 : 0;
	if (*dir >= 0)
		close(*dir);
	*dir = parent;
	return 1;
}

static int walk_up(struct walk *w, int dirfd, struct err *e)
{
	cleanup_fd int dir = -1;
	int rc;

	if (load_level(w, dirfd, e) < 0)
		return -1;
	while (goes_on(w)) {
		rc = step_up(&dir, dir < 0 ? dirfd : dir, e);
		if (rc <= 0)
			return rc;
		if (load_level(w, dir, e) < 0) {
			if (e->kind != ERR_GONE)
				return -1;
			err_clear(e);
			return 0;
		}
	}
	return 0;
}

int pagemap_chain_open(struct pagemap_chain *c, int dirfd, enum pagemap_kind kind, uint64_t id, struct err *e)
{
	struct walk w = { .chain = c, .kind = kind, .id = id };

	*c = (struct pagemap_chain){ 0 };
	err_clear(e);
	if (walk_up(&w, dirfd, e) == 0)
		return 0;
	if (c->depth > 0)
		err_wrap(e, "%u %s back", c->depth, c->depth == 1 ? "set" : "sets");
	pagemap_chain_close(c);
	return -1;
}

void pagemap_chain_close(struct pagemap_chain *c)
{
	for (unsigned i = 0; i < c->depth; i++)
		level_finish(&c->level[i]);
	free(c->level);
	*c = (struct pagemap_chain){ 0 };
}
