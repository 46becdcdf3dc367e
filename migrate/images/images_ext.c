/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/images/images_ext.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/image/image.h"

/* Threads, files and tasks of one entry. Each is bounded (an extended state by 64 KiB, watches and options by what was captured), so an entry
 * stays far below its cap. */
enum { AT_ONCE = 64 };

static size_t take(size_t n, size_t at)
{
	size_t left = n > at ? n - at : 0;

	return left < AT_ONCE ? left : AT_ONCE;
}

static bool write_piece(const Drayage__ImagesExt *x, size_t at, Drayage__ImagesExt *piece)
{
	drayage__images_ext__init(piece);
	piece->has_set_id = at == 0 && x->has_set_id;
	piece->set_id = piece->has_set_id ? x->set_id : piece->set_id;
	piece->n_tasks = take(x->n_tasks, at);
	piece->n_threads = take(x->n_threads, at);
	piece->n_files = take(x->n_files, at);
	piece->tasks = piece->n_tasks ? x->tasks + at : NULL;
	piece->threads = piece->n_threads ? x->threads + at : NULL;
	piece->files = piece->n_files ? x->files + at : NULL;
	return at == 0 || piece->n_tasks || piece->n_threads || piece->n_files;
}

int images_ext_write(int dirfd, const Drayage__ImagesExt *x, struct err *e)
{
	struct image_out *o = image_create(dirfd, IMAGE_DRAYAGE, 0, e);
	Drayage__ImagesExt piece;

	if (!o)
		return -1;
	for (size_t at = 0; write_piece(x, at, &piece); at += AT_ONCE) {
		if (image_put(o, &piece.base, e) < 0) {
			image_discard(o);
			return -1;
		}
	}
	return image_close(o, false, e);
}

/* Moves the messages of one list to the end of another. */
static int append(void *list, size_t *n, void *more, size_t *n_more)
{
	void ***to = list, ***from = more, **grown;

	if (*n_more == 0)
		return 0;
	grown = realloc(*to, (*n + *n_more) * sizeof(**to));
	if (!grown)
		return -ENOMEM;
	memcpy(grown + *n, *from, *n_more * sizeof(**to));
	*to = grown;
	*n += *n_more;
	*n_more = 0;
	return 0;
}

static int merge(Drayage__ImagesExt *all, Drayage__ImagesExt *one)
{
	if (one->has_set_id && !all->has_set_id) {
		all->has_set_id = true;
		all->set_id = one->set_id;
		one->has_set_id = false;
		one->set_id = (ProtobufCBinaryData){ 0 };
	}
	if (append(&all->tasks, &all->n_tasks, &one->tasks, &one->n_tasks) < 0 ||
	    append(&all->threads, &all->n_threads, &one->threads, &one->n_threads) < 0)
		return -ENOMEM;
	return append(&all->files, &all->n_files, &one->files, &one->n_files);
}

Drayage__ImagesExt *images_ext_read(int dirfd, struct err *e)
{
	struct image_in *in = image_open(dirfd, IMAGE_DRAYAGE, 0, e);
	Drayage__ImagesExt *all;
	ProtobufCMessage *entry = NULL;
	int rc;

	if (!in)
		return NULL;
	all = malloc(sizeof(*all));
	if (all)
		drayage__images_ext__init(all);
	rc = all ? 1 : err_set(e, ERR_SYSTEM, ENOMEM, "drayage.img");
	while (rc == 1 && (rc = image_get(in, &drayage__images_ext__descriptor, &entry, e)) == 1) {
		if (merge(all, (Drayage__ImagesExt *)entry) < 0)
			rc = err_set(e, ERR_SYSTEM, ENOMEM, "drayage.img");
		drayage__images_ext__free_unpacked((Drayage__ImagesExt *)entry, NULL);
	}
	image_in_close(in);
	if (rc < 0 && all) {
		drayage__images_ext__free_unpacked(all, NULL);
		all = NULL;
	}
	return all;
}
