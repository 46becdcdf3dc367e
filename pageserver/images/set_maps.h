/* SPDX-License-Identifier: Apache-2.0 */
/* set_maps.h - the page maps of a set that is being written, found by kind and id, and the numbers of their pages files.
 * Threads: a table belongs to one. Lifetime: a zeroed table is valid and empty, set_maps_finish() accepts it. Fails: err. */
#ifndef DRAY_PAGESERVER_SET_MAPS_H
#define DRAY_PAGESERVER_SET_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pageserver/images/page_sink.h"
#include "proto/base/err.h"
#include "proto/image/image.h"

struct set_map {
	enum pagemap_kind kind;
	uint32_t pages_id;
	uint64_t id;
	uint64_t end;    /* of its last range, bytes */
	uint64_t stored; /* pages in its pages file */
	uint32_t replaced; /* while it is published: the pages file of the page map in its place; 0: none */
};

struct set_maps {
	struct set_map **v; /* ascending by kind and id; a map stays where it is */
	size_t count, capacity;
	uint32_t next_pages_id; /* 0: used up */
};

bool set_map_is(const struct set_map *m, enum pagemap_kind kind, uint64_t id);
void set_map_name(const struct set_map *m, char name[IMAGE_NAME_MAX]);

struct set_map *set_maps_find(const struct set_maps *t, enum pagemap_kind kind, uint64_t id); /* NULL: not there */
/* One that is not there yet. Its pages file gets the next number that no file in home has. */
struct set_map *set_maps_add(struct set_maps *t, enum pagemap_kind kind, uint64_t id, int home, struct err *e);
/* The number of its pages file, as the page map in dirfd has it. */
int set_map_pages_id(int dirfd, const struct set_map *m, uint32_t *pages_id, struct err *e);
/* From which number on, at least `from`, so many are free in home. */
uint32_t set_maps_numbers_in_a_row(uint32_t from, size_t count, int home);
void set_maps_finish(struct set_maps *t);

#endif
