/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/images/tree_images.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/images/images_ext.h"
#include "migrate/images/tree_images_read_priv.h"
#include "proto/base/cleanup.h"

enum { STATE_ALIVE = 1, STATE_STOPPED = 3 };

/* ---- the set ---- */

static int read_inventory(struct tree_read *r, struct tree_images_facts *facts)
{
	const InventoryEntry *v;

	r->inventory = (InventoryEntry *)image_read_one(r->dirfd, IMAGE_INVENTORY, 0, &inventory_entry__descriptor, r->e);
	if (!r->inventory)
		return r->e->kind == ERR_GONE ? err_set(r->e, ERR_SYSTEM, ENOENT, "no whole set of images is there: inventory.img") : -1;
	v = r->inventory;
	if (v->img_version == 0)
		return err_set(r->e, ERR_UNSUPPORTED, 0, "inventory.img: written by a pre-dump, which holds memory only");
	if (v->img_version > 2)
		return err_set(r->e, ERR_UNSUPPORTED, 0, "inventory.img: images of version %u", v->img_version);
	if (!v->has_fdinfo_per_id || !v->fdinfo_per_id)
		return err_set(r->e, ERR_UNSUPPORTED, 0, "inventory.img: descriptors are not kept by table (criu before 1.0)");
	if (!v->root_ids)
		return err_set(r->e, ERR_PROTOCOL, 0, "inventory.img: no root_ids");
	*facts = (struct tree_images_facts){ .tcp_close = v->has_tcp_close && v->tcp_close, .img_version = v->img_version };
	return 0;
}

/* Absent in a set of stock criu's. */
static int read_ext(struct tree_read *r)
{
	r->ext = images_ext_read(r->dirfd, r->e);
	if (r->ext)
		return 0;
	if (r->e->kind != ERR_GONE)
		return -1;
	err_clear(r->e);
	return 0;
}

/* ---- the task ---- */

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static int check_threads(struct tree_read *r, const PstreeEntry *p)
{
	cleanup_free uint32_t *sorted = malloc(p->n_threads * sizeof(*sorted));

	if (!sorted)
		return err_set(r->e, ERR_SYSTEM, ENOMEM, "threads");
	memcpy(sorted, p->threads, p->n_threads * sizeof(*sorted));
	qsort(sorted, p->n_threads, sizeof(*sorted), by_value);
	for (size_t i = 0; i < p->n_threads; i++)
		if (sorted[i] == 0 || sorted[i] > INT32_MAX || (i && sorted[i] == sorted[i - 1]))
			return err_set(r->e, ERR_PROTOCOL, 0, "pstree.img: process %u has a thread %u, or has it twice", p->pid, sorted[i]);
	return 0;
}

static int check_pstree(struct tree_read *r, PstreeEntry *const *ps, size_t n)
{
	if (n == 0)
		return err_set(r->e, ERR_PROTOCOL, 0, "pstree.img: no process in it");
	if (n > 1)
		return err_set(r->e, ERR_UNSUPPORTED, 0, "task %u: it has a child, process %u (only a process without children can be restored)", ps[0]->pid, ps[1]->pid);
	if (ps[0]->pid == 0 || ps[0]->pid > INT32_MAX || ps[0]->n_threads == 0)
		return err_set(r->e, ERR_PROTOCOL, 0, "pstree.img: process %u of %zu threads", ps[0]->pid, ps[0]->n_threads);
	if (ps[0]->threads[0] == 0)
		return err_set(r->e, ERR_UNSUPPORTED, 0, "task %u: it had ended (zombie)", ps[0]->pid);
	if (ps[0]->threads[0] != ps[0]->pid)
		return err_set(r->e, ERR_PROTOCOL, 0, "pstree.img: the first thread of process %u is %u", ps[0]->pid, ps[0]->threads[0]);
	return check_threads(r, ps[0]);
}

static int read_pstree(struct tree_read *r)
{
	PstreeEntry **ps = NULL;
	size_t n = 0;
	int rc = tree_read_list(r, IMAGE_PSTREE, 0, &pstree_entry__descriptor, &ps, &n);

	if (rc == 0)
		rc = check_pstree(r, ps, n);
	if (rc == 0) {
		r->task->ps = ps[0];
		ps[0] = ps[--n];
	}
	for (size_t i = 0; i < n; i++)
		pstree_entry__free_unpacked(ps[i], NULL);
	free(ps);
	return rc;
}

/* Stock: an id that only one side has counts as another namespace, except where one of the two kinds may be missing for its age. */
static int check_namespaces(struct tree_read *r)
{
	const TaskKobjIdsEntry *a = r->inventory->root_ids, *b = r->task->ids;
	const struct { const char *name; bool has[2]; uint32_t id[2]; bool young; } kind[] = {
		{ "PID", { a->has_pid_ns_id, b->has_pid_ns_id }, { a->pid_ns_id, b->pid_ns_id }, false },
		{ "network", { a->has_net_ns_id, b->has_net_ns_id }, { a->net_ns_id, b->net_ns_id }, false },
		{ "IPC", { a->has_ipc_ns_id, b->has_ipc_ns_id }, { a->ipc_ns_id, b->ipc_ns_id }, false },
		{ "UTS", { a->has_uts_ns_id, b->has_uts_ns_id }, { a->uts_ns_id, b->uts_ns_id }, false },
		{ "mount", { a->has_mnt_ns_id, b->has_mnt_ns_id }, { a->mnt_ns_id, b->mnt_ns_id }, false },
		{ "user", { a->has_user_ns_id, b->has_user_ns_id }, { a->user_ns_id, b->user_ns_id }, false },
		{ "cgroup", { a->has_cgroup_ns_id, b->has_cgroup_ns_id }, { a->cgroup_ns_id, b->cgroup_ns_id }, true },
		{ "time", { a->has_time_ns_id, b->has_time_ns_id }, { a->time_ns_id, b->time_ns_id }, true },
	};

	for (size_t i = 0; i < sizeof(kind) / sizeof(kind[0]); i++) {
		if (kind[i].has[0] && kind[i].has[1] ? kind[i].id[0] == kind[i].id[1] : kind[i].young || kind[i].has[0] == kind[i].has[1])
			continue;
		return err_set(r->e, ERR_UNSUPPORTED, 0, "task %u: a %s namespace of its own", r->task->ps->pid, kind[i].name);
	}
	return 0;
}

static int read_task_images(struct tree_read *r)
{
	Drayage__TaskState *t = r->task;
	uint32_t pid = t->ps->pid;

	t->ids = (TaskKobjIdsEntry *)image_read_one(r->dirfd, IMAGE_IDS, pid, &task_kobj_ids_entry__descriptor, r->e);
	if (!t->ids || check_namespaces(r) < 0)
		return -1;
	t->mm = (MmEntry *)image_read_one(r->dirfd, IMAGE_MM, pid, &mm_entry__descriptor, r->e);
	if (!t->mm)
		return -1;
	t->fs = (FsEntry *)image_read_one(r->dirfd, IMAGE_FS, pid, &fs_entry__descriptor, r->e);
	return t->fs ? 0 : -1;
}

/* ---- what CRIU's messages lack ---- */

static Drayage__TaskExt *take_task_ext(struct tree_read *r)
{
	for (size_t i = 0; r->ext && i < r->ext->n_tasks; i++)
		if (r->ext->tasks[i]->pid == r->task->ps->pid && r->ext->tasks[i]->ext) {
			Drayage__TaskExt *x = r->ext->tasks[i]->ext;

			r->ext->tasks[i]->ext = NULL;
			return x;
		}
	return TREE_NEW(r, drayage__task_ext);
}

static int set_task_ext(struct tree_read *r)
{
	const TaskCoreEntry *tc = r->task->threads[0]->tc;
	Drayage__TaskExt *x = take_task_ext(r);

	r->task->ext = x;
	if (!x)
		return -1;
	if (tc->task_state != STATE_ALIVE && tc->task_state != STATE_STOPPED)
		return err_set(r->e, ERR_UNSUPPORTED, 0, "task %u: it had ended (state %u)", r->task->ps->pid, tc->task_state);
	if (tc->task_state == STATE_STOPPED) {
		x->has_main_stop_signal = true;
		x->main_stop_signal = tc->has_stop_signo && tc->stop_signo ? (int32_t)tc->stop_signo : 19 /* SIGSTOP */;
	}
	return 0;
}

static int read_tree(struct tree_read *r, struct tree_images_facts *facts)
{
	r->task = TREE_NEW(r, drayage__task_state);
	if (tree_push(r, &r->tree->tasks, &r->tree->n_tasks, r->task) < 0)
		return -1;
	if (read_inventory(r, facts) < 0 || read_ext(r) < 0 || read_pstree(r) < 0 || read_task_images(r) < 0)
		return -1;
	if (tree_read_threads(r) < 0 || set_task_ext(r) < 0)
		return -1;
	return tree_read_files(r) < 0 || tree_read_memory(r) < 0 ? -1 : tree_check_links(r);
}

Drayage__TreeState *tree_images_read(int dirfd, struct tree_images_facts *facts, struct err *e)
{
	struct tree_read r = { .dirfd = dirfd, .e = e };

	err_clear(e);
	r.tree = TREE_NEW(&r, drayage__tree_state);
	if (r.tree && read_tree(&r, facts) < 0) {
		drayage__tree_state__free_unpacked(r.tree, NULL);
		r.tree = NULL;
	}
	if (r.inventory)
		inventory_entry__free_unpacked(r.inventory, NULL);
	if (r.ext)
		drayage__images_ext__free_unpacked(r.ext, NULL);
	return r.tree;
}
