/* SPDX-License-Identifier: Apache-2.0 */
/* Open files: files.img and what is queued in pipes, FIFOs and sockets. */
#include "migrate/images/tree_images_write_priv.h"

#include "proto/base/cleanup.h"
#include "proto/image/image.h"

/* The outcome of a writing loop: closes o either way. */
static int end_image(struct image_out *o, int rc, struct err *e)
{
	if (rc == 0)
		return image_close(o, false, e);
	image_discard(o);
	return -1;
}

static int write_files(int dirfd, const Drayage__TreeState *tree, struct err *e)
{
	struct image_out *o = image_create(dirfd, IMAGE_FILES, 0, e);
	int rc = o ? 0 : -1;

	for (size_t i = 0; rc == 0 && i < tree->n_files; i++)
		rc = image_put(o, &tree->files[i]->base, e);
	return end_image(o, rc, e);
}

/* Every mapping of shared memory needs its entry here, also where no descriptor is open. */
static int write_memfds(int dirfd, const Drayage__TreeState *tree, struct err *e)
{
	struct image_out *o;
	int rc;

	if (tree->n_memfds == 0)
		return 0;
	o = image_create(dirfd, IMAGE_MEMFD, 0, e);
	rc = o ? 0 : -1;
	for (size_t i = 0; rc == 0 && i < tree->n_memfds; i++)
		rc = image_put(o, &tree->memfds[i]->base, e);
	return end_image(o, rc, e);
}

/* Named or not: the two have files of their own. */
static bool is_fifo(const Drayage__TreeState *tree, uint32_t pipe_id)
{
	for (size_t i = 0; i < tree->n_files; i++)
		if (tree->files[i]->fifo && tree->files[i]->fifo->pipe_id == pipe_id)
			return true;
	return false;
}

static int write_pipe(struct image_out *o, const Drayage__PipeData *p, struct err *e)
{
	PipeDataEntry entry = PIPE_DATA_ENTRY__INIT;

	entry.pipe_id = p->pipe_id;
	entry.bytes = (uint32_t)p->data.len;
	entry.has_size = true;
	entry.size = p->capacity;
	return image_put(o, &entry.base, e) < 0 ? -1 : image_put_raw(o, p->data.data, p->data.len, e);
}

static int write_pipes(int dirfd, const Drayage__TreeState *tree, bool fifos, struct err *e)
{
	struct image_out *o = NULL;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < tree->n_pipes; i++) {
		if (is_fifo(tree, tree->pipes[i]->pipe_id) != fifos)
			continue;
		if (!o)
			o = image_create(dirfd, fifos ? IMAGE_FIFO_DATA : IMAGE_PIPES_DATA, 0, e);
		rc = o ? write_pipe(o, tree->pipes[i], e) : -1;
	}
	return o || rc < 0 ? end_image(o, rc, e) : 0;
}

static int write_queue(struct image_out *o, const Drayage__SocketQueue *q, struct err *e)
{
	SkPacketEntry entry = SK_PACKET_ENTRY__INIT;

	entry.id_for = q->file_id;
	for (size_t i = 0; i < q->n_packets; i++) {
		entry.length = (uint32_t)q->packets[i].len;
		if (image_put(o, &entry.base, e) < 0 || image_put_raw(o, q->packets[i].data, q->packets[i].len, e) < 0)
			return -1;
	}
	return 0;
}

static int write_queues(int dirfd, const Drayage__TreeState *tree, struct err *e)
{
	struct image_out *o;
	int rc;

	if (tree->n_queues == 0)
		return 0;
	o = image_create(dirfd, IMAGE_SK_QUEUES, 0, e);
	rc = o ? 0 : -1;
	for (size_t i = 0; rc == 0 && i < tree->n_queues; i++)
		rc = write_queue(o, tree->queues[i], e);
	return end_image(o, rc, e);
}

int tree_write_files(int dirfd, const Drayage__TreeState *tree, struct err *e)
{
	return write_files(dirfd, tree, e) < 0 || write_memfds(dirfd, tree, e) < 0 || write_pipes(dirfd, tree, false, e) < 0 ||
	       write_pipes(dirfd, tree, true, e) < 0 ? -1 : write_queues(dirfd, tree, e);
}
