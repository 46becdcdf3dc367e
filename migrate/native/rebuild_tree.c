/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a TreeState makes sense, checked as a whole before any of it is acted on: it comes from a peer. */
#include <errno.h>
#include <string.h>
#include <sys/user.h>

#include "migrate/native/rebuild_priv.h"

#define TASK_END UINT64_C(0x7ffffffff000) /* four-level page tables; beyond it mappings are refused */
enum { PAGE = 4096, MAX_THREADS = 1 << 16, STATUS_STACK = 0x2, STATUS_SPECIAL = 0x4 | 0x8 | 0x1000 };

bool rebuild_vma_special(const VmaEntry *v)
{
	return v->status & STATUS_SPECIAL;
}

static int check_vmas(const Drayage__TaskState *t, struct err *e)
{
	uint64_t end = 0;

	for (size_t i = 0; i < t->mm->n_vmas; i++) {
		const VmaEntry *v = t->mm->vmas[i];

		if (v->status & 0x4) /* vsyscall: outside the address space proper */
			continue;
		if (v->start % PAGE || v->end % PAGE || v->start >= v->end || v->start < end || v->end > TASK_END)
			return err_set(e, ERR_PROTOCOL, 0, "task %u: mapping %#llx-%#llx makes no sense", t->ps->pid, (unsigned long long)v->start,
				       (unsigned long long)v->end);
		end = v->end;
	}
	return 0;
}

static int check_threads(const Drayage__TaskState *t, struct err *e)
{
	if (t->n_threads == 0 || t->n_threads != t->n_threads_ext || t->n_threads != t->ps->n_threads || t->n_threads > MAX_THREADS)
		return err_set(e, ERR_PROTOCOL, 0, "task %u: %zu threads, details of %zu, ids of %zu", t->ps->pid, t->n_threads, t->n_threads_ext,
			       t->ps->n_threads);
	if (t->ps->threads[0] != t->ps->pid)
		return err_set(e, ERR_PROTOCOL, 0, "task %u: its first thread is %u", t->ps->pid, t->ps->threads[0]);
	for (size_t i = 0; i < t->n_threads; i++) {
		const CoreEntry *c = t->threads[i];

		if (c->mtype != MARCH__MARCH_X86_64 || !c->thread_info || !c->thread_core || !c->thread_core->creds)
			return err_set(e, ERR_PROTOCOL, 0, "thread %u: description is not whole", t->ps->threads[i]);
		if (t->threads_ext[i]->gpregs.len != sizeof(struct user_regs_struct))
			return err_set(e, ERR_PROTOCOL, 0, "thread %u: %zu bytes of registers", t->ps->threads[i], t->threads_ext[i]->gpregs.len);
	}
	if (!t->threads[0]->tc)
		return err_set(e, ERR_PROTOCOL, 0, "task %u: description is not whole", t->ps->pid);
	return 0;
}

int rebuild_check_tree(const Drayage__TreeState *tree, struct err *e)
{
	if (tree->n_tasks != 1)
		return err_set(e, ERR_UNSUPPORTED, 0, "a tree of %zu processes: only one can be rebuilt", tree->n_tasks);
	return check_threads(tree->tasks[0], e) < 0 || check_vmas(tree->tasks[0], e) < 0 ? -1 : 0;
}
