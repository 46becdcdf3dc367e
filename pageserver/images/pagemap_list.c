/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/images/pagemap_list.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "pageserver/images/pagemap_table.h"
#include "proto/base/cleanup.h"
#include "proto/base/grow.h"

/* Wholly what image_name makes of the kind and an id. */
static bool is_page_map(const char *name, enum pagemap_kind kind, uint64_t *id)
{
	char again[IMAGE_NAME_MAX];
	const char *digits = strrchr(name, '-');

	if (!digits || sscanf(digits + 1, "%" SCNu64, id) != 1)
		return false;
	image_name(pagemap_image_type(kind), *id, again);
	return strcmp(name, again) == 0;
}

static int add(struct pagemap_list *l, struct pagemap_name name, struct err *e)
{
	if (!array_room(&l->v, l->count, &l->capacity, sizeof(*l->v), 16))
		return err_sys(e, "memory for more than %zu names", l->count);
	l->v[l->count++] = name;
	return 0;
}

static int take(struct pagemap_list *l, const char *name, struct err *e)
{
	static const enum pagemap_kind kinds[] = { PAGEMAP_TASK, PAGEMAP_SHMEM };
	uint64_t id;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (is_page_map(name, kinds[i], &id))
			return add(l, (struct pagemap_name){ kinds[i], id }, e);
	return 0;
}

static int take_all(struct pagemap_list *l, DIR *d, struct err *e)
{
	struct dirent *entry;

	while ((errno = 0, entry = readdir(d)))
		if (take(l, entry->d_name, e) < 0)
			return -1;
	return errno ? err_sys(e, "read the image directory") : 0;
}

int pagemap_list_read(struct pagemap_list *l, int dirfd, struct err *e)
{
	int own = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *d = own < 0 ? NULL : fdopendir(own);

	if (d)
		return take_all(l, d, e);
	err_sys(e, "read the image directory");
	if (own >= 0)
		close(own);
	return -1;
}

void pagemap_list_finish(struct pagemap_list *l)
{
	free(l->v);
	*l = (struct pagemap_list){ 0 };
}
