/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/dump/dump_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/cleanup.h"

int dump_files_open(struct dump_files *f, int images_dir, struct err *e)
{
	*f = DUMP_FILES_NONE;
	return aside_open(&f->aside, images_dir, e);
}

static int add_name(struct dump_files *f, const char *name)
{
	void *more = reallocarray(f->name, f->names + 1, sizeof(f->name[0]));

	if (!more)
		return -1;
	f->name = more;
	snprintf(f->name[f->names++], IMAGE_NAME_MAX, "%.*s", IMAGE_NAME_MAX - 1, name);
	return 0;
}

/* No set can be restored without its inventory: so that has its name last, and loses it first. */
static void inventory_last(struct dump_files *f)
{
	char inventory[IMAGE_NAME_MAX];

	image_name(IMAGE_INVENTORY, 0, inventory);
	for (size_t i = 0; i + 1 < f->names; i++) {
		if (strcmp(f->name[i], inventory) != 0)
			continue;
		memcpy(f->name[i], f->name[f->names - 1], IMAGE_NAME_MAX);
		memcpy(f->name[f->names - 1], inventory, IMAGE_NAME_MAX);
	}
}

static int list_names(struct dump_files *f, struct err *e)
{
	int own = openat(f->aside.dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *d = own < 0 ? NULL : fdopendir(own);
	const struct dirent *entry;

	if (!d)
		return err_sys(e, "list what was dumped");
	while ((entry = readdir(d)))
		if (entry->d_name[0] != '.' && add_name(f, entry->d_name) < 0)
			return err_set(e, ERR_SYSTEM, ENOMEM, "names of images");
	inventory_last(f);
	return 0;
}

int dump_files_publish(struct dump_files *f, struct err *e)
{
	if (list_names(f, e) < 0)
		return -1;
	for (; f->given < f->names; f->given++) {
		if (aside_publish(&f->aside, f->name[f->given], true, e) < 0) {
			dump_files_take_back(f);
			return -1;
		}
	}
	return 0;
}

void dump_files_take_back(struct dump_files *f)
{
	while (f->given > 0)
		aside_take_back(&f->aside, f->name[--f->given]);
}

void dump_files_close(struct dump_files *f)
{
	aside_close(&f->aside);
	free(f->name);
	*f = DUMP_FILES_NONE;
}
