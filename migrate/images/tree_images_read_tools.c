/* SPDX-License-Identifier: Apache-2.0 */
/* What all parts of reading a set use: lists of entries, and open files by their ids. */
#include <stdio.h>

#include "migrate/images/tree_images_read_priv.h"

enum { ENTRIES_MAX = 1 << 20 };

int tree_open(struct tree_read *r, enum image_type type, uint64_t id, struct image_in **in)
{
	*in = image_open(r->dirfd, type, id, r->e);
	if (*in)
		return 1;
	if (r->e->kind != ERR_GONE)
		return -1;
	err_clear(r->e);
	return 0;
}

int tree_read_list(struct tree_read *r, enum image_type type, uint64_t id, const ProtobufCMessageDescriptor *d, void *array, size_t *n)
{
	ProtobufCMessage *entry;
	struct image_in *in;
	int rc = tree_open(r, type, id, &in);

	if (rc <= 0)
		return rc;
	while ((rc = image_get(in, d, &entry, r->e)) == 1) {
		rc = tree_push(r, array, n, entry);
		if (rc == 0 && *n > ENTRIES_MAX)
			rc = err_set(r->e, ERR_LIMIT, 0, "more than %d entries of type %s", ENTRIES_MAX, d->name);
		if (rc < 0)
			break;
	}
	image_in_close(in);
	return rc;
}

FileEntry *tree_images_file(const Drayage__TreeState *tree, uint64_t id)
{
	size_t low = 0, high = tree->n_files;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (tree->files[mid]->id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low < tree->n_files && tree->files[low]->id == id ? tree->files[low] : NULL;
}

FileEntry *tree_file(const struct tree_read *r, uint64_t id)
{
	return tree_images_file(r->tree, id);
}

void tree_file_name(const struct tree_read *r, uint32_t id, char out[64])
{
	const Drayage__TaskState *t = r->task;

	for (size_t i = 0; i < t->n_fds; i++) {
		if (t->fds[i]->id == id) {
			snprintf(out, 64, "fd %u", t->fds[i]->fd);
			return;
		}
	}
	for (size_t i = 0; i < t->mm->n_vmas; i++) {
		if (t->mm->vmas[i]->shmid == id) {
			snprintf(out, 64, "mapping %llx-%llx", (unsigned long long)t->mm->vmas[i]->start, (unsigned long long)t->mm->vmas[i]->end);
			return;
		}
	}
	snprintf(out, 64, "%s", t->mm->exe_file_id == id ? "executable" : t->fs->cwd_id == id ? "working directory" : "open file");
}
