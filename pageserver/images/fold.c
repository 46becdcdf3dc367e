/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/images/fold.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pageserver/images/pagemap.h"

/* A `parent` that home has goes before one that was named, as when the set was begun. */
static int link_parent(const struct fold_options *o, struct err *e)
{
	char path[PATH_MAX + 4];
	struct stat st;
	bool there = fstatat(o->home, "parent", &st, AT_SYMLINK_NOFOLLOW) == 0;
	const char *name = there || !o->parent_path ? "parent" : o->parent_path;

	snprintf(path, sizeof(path), "%s%s", name[0] == '/' ? "" : "../", name);
	return symlinkat(path, o->aside, "parent") < 0 ? err_sys(e, "link the parent") : 0;
}

static int learn_numbers(const struct fold_options *o, struct set_maps *maps, struct err *e)
{
	for (size_t i = 0; i < maps->count; i++)
		if (set_map_pages_id(o->aside, maps->v[i], &maps->v[i]->pages_id, e) < 0)
			return -1;
	return 0;
}

int fold_set(const struct fold_options *o, struct set_maps *maps, struct err *e)
{
	struct image_flatten_options f = { .dirfd = o->aside, .durable = o->durable,
					   .first_pages_id = set_maps_numbers_in_a_row(maps->next_pages_id, maps->count, o->home) };

	if (link_parent(o, e) < 0 || image_set_flatten(&f, NULL, e) < 0 || learn_numbers(o, maps, e) < 0)
		return err_wrap(e, "fold the set with its parents");
	return 0;
}
