/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/images/publish.h"

#include <errno.h>
#include <unistd.h>

/* The names in the order in which they are given. */
static size_t names_count(const struct set_maps *maps)
{
	return 2 * maps->count;
}

static bool is_page_map(const struct set_maps *maps, size_t i)
{
	return i >= maps->count;
}

static void name_at(const struct set_maps *maps, size_t i, char name[IMAGE_NAME_MAX])
{
	if (is_page_map(maps, i))
		set_map_name(maps->v[i - maps->count], name);
	else
		image_name(IMAGE_PAGES, maps->v[i]->pages_id, name);
}

static void take_back(const struct publish_options *o, size_t given)
{
	char name[IMAGE_NAME_MAX];

	while (given > 0) {
		name_at(o->maps, --given, name);
		aside_take_back(o->aside, name);
	}
}

static int give_names(const struct publish_options *o, struct err *e)
{
	char name[IMAGE_NAME_MAX];

	for (size_t i = 0; i < names_count(o->maps); i++) {
		name_at(o->maps, i, name);
		if (aside_publish(o->aside, name, is_page_map(o->maps, i), e) < 0) {
			take_back(o, i);
			return -1;
		}
	}
	return 0;
}

/* The pages files of page maps that lie there already. */
static void learn_replaced(const struct publish_options *o)
{
	for (size_t i = 0; i < o->maps->count; i++) {
		struct set_map *m = o->maps->v[i];
		struct err none_there = { 0 };

		if (set_map_pages_id(o->aside->home, m, &m->replaced, &none_there) < 0 || m->replaced == m->pages_id)
			m->replaced = 0;
	}
}

void publish_settle(const struct publish_options *o)
{
	char name[IMAGE_NAME_MAX];

	for (size_t i = 0; i < o->maps->count; i++) {
		if (!o->maps->v[i]->replaced)
			continue;
		image_name(IMAGE_PAGES, o->maps->v[i]->replaced, name);
		unlinkat(o->aside->home, name, 0);
	}
}

/* 1: it was made; 0: there was one; -1. */
static int link_parent(const struct publish_options *o, struct err *e)
{
	if (!o->parent)
		return 0;
	if (symlinkat(o->parent, o->aside->home, "parent") == 0)
		return 1;
	return errno == EEXIST ? 0 : err_sys(e, "link the parent");
}

int publish_set(const struct publish_options *o, struct err *e)
{
	int linked = link_parent(o, e), rc;

	if (linked < 0)
		return -1;
	learn_replaced(o);
	rc = give_names(o, e);
	if (rc == 0 && o->durable && fsync(o->aside->home) < 0) {
		rc = err_sys(e, "write the image directory to disk");
		take_back(o, names_count(o->maps));
	}
	if (rc < 0 && linked)
		unlinkat(o->aside->home, "parent", 0);
	return rc;
}

void publish_revoke(const struct publish_options *o)
{
	take_back(o, names_count(o->maps));
}
