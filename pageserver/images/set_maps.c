/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/images/set_maps.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "images.pb-c.h"
#include "pageserver/images/pagemap_table.h"
#include "proto/base/grow.h"

void set_map_name(const struct set_map *m, char name[IMAGE_NAME_MAX])
{
	image_name(pagemap_image_type(m->kind), m->id, name);
}

bool set_map_is(const struct set_map *m, enum pagemap_kind kind, uint64_t id)
{
	return m->kind == kind && m->id == id;
}

static bool precedes(const struct set_map *m, enum pagemap_kind kind, uint64_t id)
{
	return m->kind != kind ? m->kind < kind : m->id < id;
}

/* Where it is, or would be. */
static size_t place_of(const struct set_maps *t, enum pagemap_kind kind, uint64_t id)
{
	size_t low = 0, high = t->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (precedes(t->v[mid], kind, id))
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct set_map *set_maps_find(const struct set_maps *t, enum pagemap_kind kind, uint64_t id)
{
	size_t i = place_of(t, kind, id);

	return i < t->count && set_map_is(t->v[i], kind, id) ? t->v[i] : NULL;
}

static bool number_is_taken(int home, uint32_t pages_id)
{
	char name[IMAGE_NAME_MAX];

	image_name(IMAGE_PAGES, pages_id, name);
	return faccessat(home, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static uint32_t take_number(struct set_maps *t, int home)
{
	while (t->next_pages_id && number_is_taken(home, t->next_pages_id))
		t->next_pages_id++;
	return t->next_pages_id ? t->next_pages_id++ : 0;
}

uint32_t set_maps_numbers_in_a_row(uint32_t from, size_t count, int home)
{
	for (size_t n = 0; from && n < count; n++) {
		if (number_is_taken(home, from + (uint32_t)n)) {
			from += (uint32_t)n + 1;
			n = SIZE_MAX; /* begins anew */
		}
	}
	return from;
}

int set_map_pages_id(int dirfd, const struct set_map *m, uint32_t *pages_id, struct err *e)
{
	PagemapHead *h = (PagemapHead *)image_read_one(dirfd, pagemap_image_type(m->kind), m->id, &pagemap_head__descriptor, e);

	if (!h)
		return -1;
	*pages_id = h->pages_id;
	pagemap_head__free_unpacked(h, NULL);
	return 0;
}

struct set_map *set_maps_add(struct set_maps *t, enum pagemap_kind kind, uint64_t id, int home, struct err *e)
{
	size_t i = place_of(t, kind, id);
	struct set_map *m;

	m = array_room(&t->v, t->count, &t->capacity, sizeof(struct set_map *), 16) ? malloc(sizeof(*m)) : NULL;
	if (!m) {
		err_sys(e, "memory for a page map");
		return NULL;
	}
	*m = (struct set_map){ .kind = kind, .id = id, .pages_id = take_number(t, home) };
	if (!m->pages_id) {
		err_set(e, ERR_LIMIT, 0, "the numbers for pages files are used up");
		free(m);
		return NULL;
	}
	memmove(t->v + i + 1, t->v + i, (t->count - i) * sizeof(*t->v));
	t->v[i] = m;
	t->count++;
	return m;
}

void set_maps_finish(struct set_maps *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->v[i]);
	free(t->v);
	*t = (struct set_maps){ 0 };
}
