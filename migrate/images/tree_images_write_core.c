/* SPDX-License-Identifier: Apache-2.0 */
/* core-N.img of every thread: the captured messages with what only an image needs: registers that another process can be started with,
 * the extended state by its parts, the empty segments, the control group set. The tree is left as it is; the additions live on the stack. */
#include "migrate/images/tree_images_write_priv.h"

#include <errno.h>
#include <sys/syscall.h>

#include "migrate/images/xstate.h"
#include "proto/image/image.h"

/* The kernel's own results of a system call that a signal cut short (include/linux/errno.h): it goes on by them when the thread runs again, as
 * long as the registers are its own. A thread that is started with them elsewhere would see them. */
enum { ERESTARTSYS_ = 512, ERESTARTNOINTR_ = 513, ERESTARTNOHAND_ = 514, ERESTART_RESTARTBLOCK_ = 516 };
enum { SYSCALL_LENGTH = 2, TLS_FIRST = 12, TLS_SLOTS = 3 };

/* Back to the system call instruction, so that the call is made anew; of a sleep with its whole time. One of which nobody knows any more which it
 * was is interrupted. */
static void make_call_anew(UserX86RegsEntry *g)
{
	int64_t result = (int64_t)g->ax;

	if ((int64_t)g->orig_ax < 0)
		return;
	if (g->orig_ax == SYS_restart_syscall && result == -ERESTART_RESTARTBLOCK_) {
		g->ax = (uint64_t)-EINTR;
		return;
	}
	if (result != -ERESTARTSYS_ && result != -ERESTARTNOINTR_ && result != -ERESTARTNOHAND_ && result != -ERESTART_RESTARTBLOCK_)
		return;
	g->ax = g->orig_ax;
	g->ip -= SYSCALL_LENGTH;
}

struct core_room {
	CoreEntry core;
	ThreadInfoX86 info;
	UserX86RegsEntry gpregs;
	UserX86FpregsEntry fpregs;
	UserX86XsaveEntry xsave;
	struct xstate_words words;
	TaskCoreEntry tc;
	ThreadCoreEntry thread;
	UserDescT tls[TLS_SLOTS];
	UserDescT *tls_list[TLS_SLOTS];
};

/* A 64-bit program has its thread pointer in fs_base. A slot that is not used says so by being neither present nor writable. */
static void empty_segments(struct core_room *r)
{
	for (uint32_t i = 0; i < TLS_SLOTS; i++) {
		user_desc_t__init(&r->tls[i]);
		r->tls[i].entry_number = TLS_FIRST + i;
		r->tls[i].read_exec_only = r->tls[i].seg_not_present = true;
		r->tls_list[i] = &r->tls[i];
	}
	r->info.n_tls = TLS_SLOTS;
	r->info.tls = r->tls_list;
}

static void registers(struct core_room *r, const struct xstate_layout *l, const CoreEntry *from, const Drayage__ThreadExt *ext)
{
	r->info = *from->thread_info;
	r->gpregs = *from->thread_info->gpregs;
	r->fpregs = *from->thread_info->fpregs;
	make_call_anew(&r->gpregs);
	if (xstate_to_entry(l, ext->xsave.data, ext->xsave.len, &r->words, &r->xsave))
		r->fpregs.xsave = &r->xsave;
	r->info.gpregs = &r->gpregs;
	r->info.fpregs = &r->fpregs;
	empty_segments(r);
	r->core.thread_info = &r->info;
}

static void make_core(struct core_room *r, const struct xstate_layout *l, const CoreEntry *from, const Drayage__ThreadExt *ext)
{
	r->core = *from;
	registers(r, l, from, ext);
	r->thread = *from->thread_core;
	r->thread.has_cg_set = true;
	r->thread.cg_set = TREE_CGROUP_SET;
	r->thread.has_seccomp_mode = true; /* what runs under seccomp is refused */
	r->thread.seccomp_mode = SECCOMP_MODE__SECCOMP_DISABLED;
	r->core.thread_core = &r->thread;
	if (!from->tc)
		return;
	r->tc = *from->tc;
	r->tc.has_cg_set = true;
	r->tc.cg_set = TREE_CGROUP_SET;
	r->core.tc = &r->tc;
}

int tree_write_cores(int dirfd, const Drayage__TaskState *task, struct err *e)
{
	struct xstate_layout layout;
	struct core_room room;

	xstate_layout_host(&layout);
	for (size_t i = 0; i < task->n_threads; i++) {
		make_core(&room, &layout, task->threads[i], task->threads_ext[i]);
		if (image_write_one(dirfd, IMAGE_CORE, task->ps->threads[i], &room.core.base, e) < 0)
			return -1;
	}
	return 0;
}
