/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/images/tree_images.h"

#include <errno.h>
#include <stdlib.h>

#include "migrate/images/images_ext.h"
#include "migrate/images/tree_images_write_priv.h"
#include "proto/base/cleanup.h"
#include "proto/image/image.h"

enum { IMG_VERSION = 2, OWN_OBJECTS = 1 };

static int write_pstree(int dirfd, const Drayage__TreeState *tree, struct err *e)
{
	struct image_out *o = image_create(dirfd, IMAGE_PSTREE, 0, e);

	if (!o)
		return -1;
	for (size_t i = 0; i < tree->n_tasks; i++) {
		if (image_put(o, &tree->tasks[i]->ps->base, e) < 0) {
			image_discard(o);
			return -1;
		}
	}
	return image_close(o, false, e);
}

static int write_descriptors(int dirfd, const Drayage__TaskState *task, uint32_t files_id, struct err *e)
{
	struct image_out *o = image_create(dirfd, IMAGE_FDINFO, files_id, e);

	if (!o)
		return -1;
	for (size_t i = 0; i < task->n_fds; i++) {
		if (image_put(o, &task->fds[i]->base, e) < 0) {
			image_discard(o);
			return -1;
		}
	}
	return image_close(o, false, e);
}

/* Stock wants small numbers, each namespace its own. The objects of the dumping process are numbered too, as if it were a task. Every
 * namespace of the tree is that of its mover, or it would have been refused: so it has the number that the inventory gives, and who restores keeps his own. */
static TaskKobjIdsEntry make_ids(uint32_t objects)
{
	TaskKobjIdsEntry ids = TASK_KOBJ_IDS_ENTRY__INIT;

	ids.vm_id = ids.files_id = ids.fs_id = ids.sighand_id = objects;
	ids.has_pid_ns_id = ids.has_net_ns_id = ids.has_ipc_ns_id = ids.has_uts_ns_id = true;
	ids.has_time_ns_id = ids.has_mnt_ns_id = ids.has_user_ns_id = ids.has_cgroup_ns_id = true;
	ids.pid_ns_id = 1, ids.net_ns_id = 2, ids.ipc_ns_id = 3, ids.uts_ns_id = 4;
	ids.time_ns_id = 5, ids.mnt_ns_id = 6, ids.user_ns_id = 7, ids.cgroup_ns_id = 8;
	return ids;
}

static int write_task(int dirfd, const Drayage__TaskState *task, uint32_t objects, struct err *e)
{
	TaskKobjIdsEntry ids = make_ids(objects);
	uint32_t pid = task->ps->pid;

	return image_write_one(dirfd, IMAGE_IDS, pid, &ids.base, e) < 0 || tree_write_cores(dirfd, task, e) < 0 ||
	       image_write_one(dirfd, IMAGE_MM, pid, &task->mm->base, e) < 0 || image_write_one(dirfd, IMAGE_FS, pid, &task->fs->base, e) < 0 ?
		       -1 : write_descriptors(dirfd, task, objects, e);
}

/* ---- drayage.img ---- */

struct ext_room {
	Drayage__ImagesExt x;
	Drayage__TaskImages *task;  /* one for each of the tree's */
	Drayage__TaskImages **tasks;
	Drayage__ThreadExt **threads;
};

static int fill_ext(struct ext_room *r, const Drayage__TreeState *tree, const struct tree_images_options *o)
{
	size_t threads = 0;

	drayage__images_ext__init(&r->x);
	for (size_t i = 0; i < tree->n_tasks; i++)
		threads += tree->tasks[i]->n_threads_ext;
	r->task = calloc(tree->n_tasks + 1, sizeof(*r->task));
	r->tasks = calloc(tree->n_tasks + 1, sizeof(Drayage__TaskImages *));
	r->threads = calloc(threads + 1, sizeof(Drayage__ThreadExt *));
	if (!r->task || !r->tasks || !r->threads)
		return -ENOMEM;
	for (size_t i = 0; i < tree->n_tasks; i++) {
		const Drayage__TaskState *t = tree->tasks[i];

		drayage__task_images__init(&r->task[i]);
		r->task[i].pid = t->ps->pid;
		r->task[i].start_time = o->start_times ? o->start_times[i] : 0;
		r->task[i].ext = t->ext;
		r->tasks[r->x.n_tasks++] = &r->task[i];
		for (size_t k = 0; k < t->n_threads_ext; k++)
			r->threads[r->x.n_threads++] = t->threads_ext[k];
	}
	r->x.tasks = r->tasks;
	r->x.threads = r->threads;
	r->x.files = tree->files_ext;
	r->x.n_files = tree->n_files_ext;
	r->x.has_set_id = o->set_id != NULL;
	if (o->set_id)
		r->x.set_id = (ProtobufCBinaryData){ .data = o->set_id, .len = IMAGES_SET_ID };
	return 0;
}

static int write_ext(int dirfd, const Drayage__TreeState *tree, const struct tree_images_options *o, struct err *e)
{
	struct ext_room r = { 0 };
	int rc = fill_ext(&r, tree, o) < 0 ? err_set(e, ERR_SYSTEM, ENOMEM, "drayage.img") : images_ext_write(dirfd, &r.x, e);

	free(r.task);
	free(r.tasks);
	free(r.threads);
	return rc;
}

/* ---- the inventory: last, since no set can be restored without one ---- */

static int write_inventory(int dirfd, const struct tree_images_options *o, struct err *e)
{
	InventoryEntry v = INVENTORY_ENTRY__INIT;
	TaskKobjIdsEntry ids = make_ids(OWN_OBJECTS);

	v.img_version = IMG_VERSION;
	v.has_fdinfo_per_id = v.fdinfo_per_id = true;
	v.has_ns_per_id = v.ns_per_id = true;
	v.root_ids = &ids;
	v.has_root_cg_set = true;
	v.root_cg_set = TREE_CGROUP_SET;
	v.has_lsmtype = true;
	v.lsmtype = LSMTYPE__NO_LSM;
	v.has_dump_uptime = o->dump_uptime_us != 0;
	v.dump_uptime = o->dump_uptime_us;
	v.has_tcp_close = v.tcp_close = o->tcp_close;
	v.has_network_lock_method = true;
	v.network_lock_method = o->network_lock_method;
	return image_write_one(dirfd, IMAGE_INVENTORY, 0, &v.base, e);
}

int tree_images_write(int dirfd, const Drayage__TreeState *tree, const struct tree_images_options *o, struct err *e)
{
	if (tree->n_tasks == 0)
		return err_set(e, ERR_INTERNAL, 0, "images of a tree without tasks");
	if (write_pstree(dirfd, tree, e) < 0)
		return -1;
	for (size_t i = 0; i < tree->n_tasks; i++)
		if (write_task(dirfd, tree->tasks[i], OWN_OBJECTS + 1 + (uint32_t)i, e) < 0)
			return -1;
	return tree_write_files(dirfd, tree, e) < 0 || write_ext(dirfd, tree, o, e) < 0 ? -1 : write_inventory(dirfd, o, e);
}
