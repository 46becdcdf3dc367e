/* SPDX-License-Identifier: Apache-2.0 */
/* core-N.img of every thread, and its ThreadExt: ours where drayage.img has one, else made from what CRIU's messages say. */
#include "migrate/images/tree_images_read_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/user.h>

#include "migrate/images/xstate.h"

enum { SIGINFO = 128, NOTIFY_THREAD = 4 /* SIGEV_THREAD_ID */ };

static int whole(struct tree_read *r, const CoreEntry *c, uint32_t tid, bool leader)
{
	const ThreadInfoX86 *info = c->thread_info;

	if (c->mtype != MARCH__MARCH_X86_64)
		return err_set(r->e, ERR_UNSUPPORTED, 0, "core-%u.img: registers of another kind of processor (%d)", tid, c->mtype);
	if (!info || !c->thread_core || !c->thread_core->creds || (leader && !c->tc))
		return err_set(r->e, ERR_PROTOCOL, 0, "core-%u.img: %s", tid, !info ? "no registers" : !c->thread_core ? "no thread_core" :
			       !c->thread_core->creds ? "no credentials" : "no description of the process");
	if (leader && (!c->tc->timers || !c->tc->rlimits || c->tc->n_sigactions == 0))
		return err_set(r->e, ERR_UNSUPPORTED, 0, "core-%u.img: timers, limits or signal actions are in files of their own (criu before 2.0)", tid);
	return 0;
}

/* ---- what only the native engine would lose ---- */

static bool segment_used(const UserDescT *d)
{
	return d->base_addr || d->limit || !d->read_exec_only || !d->seg_not_present;
}

static int check_registers(struct tree_read *r, const ThreadInfoX86 *info, uint32_t tid)
{
	const UserX86XsaveEntry *x = info->fpregs->xsave;

	if (info->gpregs->has_mode && info->gpregs->mode != USER_X86_REGS_MODE__REGS_NATIVE)
		return err_set(r->e, ERR_UNSUPPORTED, 0, "thread %u: 32-bit program", tid);
	for (size_t i = 0; i < info->n_tls; i++)
		if (segment_used(info->tls[i]))
			return err_set(r->e, ERR_UNSUPPORTED, 0, "thread %u: segment %u (set_thread_area)", tid, info->tls[i]->entry_number);
	if (x && x->cet && x->cet->cet)
		return err_set(r->e, ERR_UNSUPPORTED, 0, "thread %u: shadow stack", tid);
	return 0;
}

static int check_queue(struct tree_read *r, const SignalQueueEntry *q, uint32_t tid)
{
	for (size_t i = 0; q && i < q->n_signals; i++)
		if (q->signals[i]->siginfo.len != SIGINFO)
			return err_set(r->e, ERR_PROTOCOL, 0, "core-%u.img: a pending signal of %zu bytes", tid, q->signals[i]->siginfo.len);
	return 0;
}

static int check_thread(struct tree_read *r, const CoreEntry *c, uint32_t tid)
{
	const ThreadCoreEntry *t = c->thread_core;
	const CredsEntry *creds = t->creds;
	SeccompMode mode = t->has_seccomp_mode ? t->seccomp_mode : c->tc && c->tc->has_old_seccomp_mode ? c->tc->old_seccomp_mode : 0;

	if (mode != SECCOMP_MODE__SECCOMP_DISABLED)
		return err_set(r->e, ERR_UNSUPPORTED, 0, "thread %u: seccomp (%s)", tid, mode == SECCOMP_MODE__SECCOMP_STRICT ? "strict" : "filter");
	if (creds->lsm_profile && r->inventory->has_lsmtype && r->inventory->lsmtype != LSMTYPE__NO_LSM && strcmp(creds->lsm_profile, "unconfined") != 0)
		return err_set(r->e, ERR_UNSUPPORTED, 0, "thread %u: security label %s", tid, creds->lsm_profile);
	if (creds->n_cap_prm > 2 || creds->n_cap_eff > 2 || creds->n_cap_inh > 2 || creds->n_cap_bnd > 2 || creds->n_cap_amb > 2)
		return err_set(r->e, ERR_PROTOCOL, 0, "core-%u.img: capabilities of more than 64 bits", tid);
	return check_queue(r, t->signals_p, tid) < 0 ? -1 : check_registers(r, c->thread_info, tid);
}

/* Images before 3.17 don't say which thread a timer signals. */
static int check_timers(struct tree_read *r, const TaskTimersEntry *t, const Drayage__ImagesExt *ext)
{
	for (size_t i = 0; !ext && i < t->n_posix; i++)
		if (t->posix[i]->it_sigev_notify == NOTIFY_THREAD && !t->posix[i]->notify_thread_id)
			return err_set(r->e, ERR_UNSUPPORTED, 0, "task %u: POSIX timer %u signals a thread, and the images don't say which",
				       r->task->ps->pid, t->posix[i]->it_id);
	return 0;
}

static int check_process(struct tree_read *r, const TaskCoreEntry *tc, uint32_t pid)
{
	for (size_t i = 0; i < tc->n_sigactions; i++)
		if (tc->sigactions[i]->has_compat_sigaction && tc->sigactions[i]->compat_sigaction)
			return err_set(r->e, ERR_UNSUPPORTED, 0, "task %u: 32-bit signal handler", pid);
	return check_queue(r, tc->signals_s, pid) < 0 ? -1 : check_timers(r, tc->timers, r->ext);
}

/* ---- ThreadExt ---- */

static int set_bytes(struct tree_read *r, ProtobufCBinaryData *out, size_t len)
{
	free(out->data);
	out->data = calloc(1, len);
	out->len = out->data ? len : 0;
	return out->data ? 0 : err_set(r->e, ERR_SYSTEM, ENOMEM, "registers");
}

static int make_gpregs(struct tree_read *r, const UserX86RegsEntry *g, ProtobufCBinaryData *out)
{
	const struct user_regs_struct regs = {
		.r15 = g->r15, .r14 = g->r14, .r13 = g->r13, .r12 = g->r12, .rbp = g->bp, .rbx = g->bx, .r11 = g->r11, .r10 = g->r10,
		.r9 = g->r9, .r8 = g->r8, .rax = g->ax, .rcx = g->cx, .rdx = g->dx, .rsi = g->si, .rdi = g->di, .orig_rax = g->orig_ax,
		.rip = g->ip, .cs = g->cs, .eflags = g->flags, .rsp = g->sp, .ss = g->ss, .fs_base = g->fs_base, .gs_base = g->gs_base,
		.ds = g->ds, .es = g->es, .fs = g->fs, .gs = g->gs,
	};

	if (set_bytes(r, out, sizeof(regs)) < 0)
		return -1;
	memcpy(out->data, &regs, sizeof(regs));
	return 0;
}

static Drayage__ThreadExt *take_ext(struct tree_read *r, uint32_t tid)
{
	Drayage__ImagesExt *x = r->ext;
	Drayage__ThreadExt *found;

	for (size_t i = 0; x && i < x->n_threads; i++) {
		if (x->threads[i]->tid != tid)
			continue;
		found = x->threads[i];
		x->threads[i] = x->threads[--x->n_threads];
		return found;
	}
	found = TREE_NEW(r, drayage__thread_ext);
	if (found)
		found->tid = tid;
	return found;
}

/* The raw area is kept only where it is this processor's; another's is put together from its parts. */
static int read_ext(struct tree_read *r, const CoreEntry *c, uint32_t tid, const struct xstate_layout *l)
{
	Drayage__ThreadExt *x = take_ext(r, tid);

	if (tree_push(r, &r->task->threads_ext, &r->task->n_threads_ext, x) < 0)
		return -1;
	if (x->gpregs.len != sizeof(struct user_regs_struct) && make_gpregs(r, c->thread_info->gpregs, &x->gpregs) < 0)
		return -1;
	if (x->xsave.len == l->size)
		return 0;
	if (set_bytes(r, &x->xsave, l->size) < 0)
		return -1;
	return xstate_from_entry(l, c->thread_info->fpregs, x->xsave.data, r->e) < 0 ? err_wrap(r->e, "thread %u", tid) : 0;
}

static int read_thread(struct tree_read *r, uint32_t tid, const struct xstate_layout *l)
{
	bool leader = r->task->n_threads == 0;
	CoreEntry *c = (CoreEntry *)image_read_one(r->dirfd, IMAGE_CORE, tid, &core_entry__descriptor, r->e);

	if (tree_push(r, &r->task->threads, &r->task->n_threads, c) < 0)
		return -1;
	if (whole(r, c, tid, leader) < 0 || check_thread(r, c, tid) < 0 || (leader && check_process(r, c->tc, tid) < 0))
		return -1;
	return read_ext(r, c, tid, l);
}

int tree_read_threads(struct tree_read *r)
{
	struct xstate_layout layout;

	xstate_layout_host(&layout);
	for (size_t i = 0; i < r->task->ps->n_threads; i++)
		if (read_thread(r, r->task->ps->threads[i], &layout) < 0)
			return -1;
	return 0;
}
