/* SPDX-License-Identifier: Apache-2.0 */
/* Threads: making them with the ids they had, what each has registered, and at the end its registers. */
#include <elf.h>
#include <errno.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "migrate/native/rebuild_priv.h"

enum { BORN_AT_ONCE = 100, IOPRIO_WHO_PROCESS_ = 1, ROBUST_LIST_LEN = 24, USER_CS = 0x33, USER_SS = 0x2b };

/* linux/rseq.h: what the rseq_cs field of a thread's area points to */
struct rseq_section { uint32_t version, flags; uint64_t start_ip, post_commit_offset, abort_ip; };
enum { RSEQ_CS_FIELD = 8 };

/* Like pthread_create's. The id address is set at birth, everything else later. */
static void clone_thread(struct outside *o, size_t i)
{
	const CoreEntry *c = o->task->threads[i];
	uint64_t clear = c->thread_info->clear_tid_addr;
	int32_t tid = (int32_t)o->task->ps->threads[i];
	struct clone_args args = {
		.flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | (clear ? CLONE_CHILD_CLEARTID : 0),
		.child_tid = clear,
		.set_tid_size = 1,
	};

	args.set_tid = batch_put(o, &tid, sizeof(tid));
	batch_call(o, REMOTE_CALL(SYS_clone3, batch_put(o, &args, sizeof(args)), sizeof(args)), "thread with id %d", tid);
}

int outside_threads(struct outside *o)
{
	size_t n = o->task->n_threads;

	for (size_t i = 1; i < n;) {
		size_t to = n - i < BORN_AT_ONCE ? n : i + BORN_AT_ONCE;

		batch_room(o, to - i, (to - i) * 160);
		for (size_t k = i; k < to; k++)
			clone_thread(o, k);
		if (batch_flush(o) < 0) {
			if (o->e->num == EEXIST)
				o->e->kind = ERR_CONFLICT;
			return -1;
		}
		if (o->r->born_count != to - i)
			return err_set(o->e, ERR_INTERNAL, 0, "task %u: %u threads came of %zu", o->task->ps->pid, o->r->born_count, to - i);
		for (size_t k = 0; k < to - i; k++)
			if (remote_adopt(o->r, o->r->born[k], o->e) < 0)
				return -1;
		i = to;
	}
	return 0;
}

/* A thread that was inside a restartable sequence goes on at its abort handler, as after any preemption. The kernel forgets what the field says
 * when the area is registered, so this is found out before. */
static int find_abort(struct outside *o, size_t i, uint64_t area)
{
	const struct user_regs_struct *regs = (const void *)o->task->threads_ext[i]->gpregs.data;
	struct rseq_section s;
	struct user_regs_struct copy;
	uint64_t cs = 0;
	struct err ignored = { 0 };

	memcpy(&copy, regs, sizeof(copy));
	if (remote_read(o->r->pid, area + RSEQ_CS_FIELD, &cs, sizeof(cs), o->e) < 0)
		return err_wrap(o->e, "thread %u: rseq area", o->task->ps->threads[i]);
	if (!cs || remote_read(o->r->pid, cs, &s, sizeof(s), &ignored) < 0)
		return 0;
	if (s.version == 0 && copy.rip - s.start_ip < s.post_commit_offset)
		o->abort_ip[i] = s.abort_ip;
	return 0;
}

int outside_rseq(struct outside *o, size_t i)
{
	const RseqEntry *q = o->task->threads[i]->thread_core->rseq_entry;

	if (!q || !q->rseq_abi_pointer)
		return 0;
	if (find_abort(o, i, q->rseq_abi_pointer) < 0)
		return -1;
	o->thread = i;
	batch_call(o, REMOTE_CALL(SYS_rseq, q->rseq_abi_pointer, q->rseq_abi_size, 0, q->signature), "thread %u: rseq area", o->task->ps->threads[i]);
	return batch_flush(o);
}

/* Calls by which the kernel changes a lock itself, and fails with EFAULT where the page would have to be waited for. */
static bool changes_futex(uint64_t op)
{
	switch (op & ~(uint64_t)(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)) {
	case FUTEX_REQUEUE:
	case FUTEX_CMP_REQUEUE:
	case FUTEX_WAKE_OP:
	case FUTEX_LOCK_PI:
	case FUTEX_LOCK_PI2:
	case FUTEX_UNLOCK_PI:
	case FUTEX_TRYLOCK_PI:
	case FUTEX_WAIT_REQUEUE_PI:
	case FUTEX_CMP_REQUEUE_PI:
		return true;
	default:
		return false;
	}
}

/* The call is made anew when the thread goes on: it was stopped inside, or right before its instruction. */
static bool is_about_to(const struct outside *o, const struct user_regs_struct *regs, uint64_t nr)
{
	static const uint8_t instruction[2] = { 0x0f, 0x05 };
	uint8_t code[2];
	struct err ignored = { 0 };

	if ((int64_t)regs->orig_rax >= 0)
		return regs->orig_rax == nr;
	return regs->rax == nr && remote_read(o->r->pid, regs->rip, code, sizeof(code), &ignored) == 0 && memcmp(code, instruction, sizeof(code)) == 0;
}

void outside_futexes(const struct outside *o, size_t i)
{
	struct user_regs_struct regs;
	struct err ignored = { 0 };
	uint32_t word;

	memcpy(&regs, o->task->threads_ext[i]->gpregs.data, sizeof(regs));
	if (!is_about_to(o, &regs, SYS_futex) || !changes_futex(regs.rsi))
		return;
	/* An address where nothing is, and the second one of a call that has one only, are no affair of ours. */
	remote_read(o->r->pid, regs.rdi, &word, sizeof(word), &ignored);
	remote_read(o->r->pid, regs.r8, &word, sizeof(word), &ignored);
}

static void set_altstack(struct outside *o, size_t i)
{
	const ThreadSasEntry *sas = o->task->threads[i]->thread_core->sas;
	stack_t ss = { .ss_flags = SS_DISABLE };

	if (sas && !(sas->ss_flags & SS_DISABLE)) {
		ss.ss_sp = (void *)(uintptr_t)sas->ss_sp;
		ss.ss_size = sas->ss_size;
		ss.ss_flags = (int)(sas->ss_flags & ~(uint32_t)SS_ONSTACK);
	}
	batch_call(o, REMOTE_CALL(SYS_sigaltstack, batch_put(o, &ss, sizeof(ss)), 0), "thread %u: alternate signal stack", o->task->ps->threads[i]);
}

static void set_scheduling(struct outside *o, size_t i)
{
	const ThreadCoreEntry *c = o->task->threads[i]->thread_core;
	const Drayage__ThreadExt *x = o->task->threads_ext[i];
	uint32_t tid = o->task->ps->threads[i];
	struct sched_param prio = { .sched_priority = (int)c->sched_prio };
	uint64_t policy = c->sched_policy;

	if (x->has_sched_reset_on_fork && x->sched_reset_on_fork)
		policy |= SCHED_RESET_ON_FORK;
	/* First, and last the realtime class: it would keep the tracer from this CPU. */
	if (x->has_cpu_affinity && x->cpu_affinity.len)
		/* None of them on this host: the thread keeps what it has. */
		batch_call(o, REMOTE_TRY(SYS_sched_setaffinity, 0, x->cpu_affinity.len, batch_put(o, x->cpu_affinity.data, x->cpu_affinity.len)),
			   "thread %u: affinity", tid);
	batch_call(o, REMOTE_CALL(SYS_setpriority, PRIO_PROCESS, 0, (uint64_t)(int64_t)(c->has_sched_nice ? c->sched_nice : 0)), "thread %u: nice %d", tid,
		   c->sched_nice);
	if (x->has_ioprio)
		batch_call(o, REMOTE_CALL(SYS_ioprio_set, IOPRIO_WHO_PROCESS_, 0, x->ioprio), "thread %u: I/O priority %#x", tid, x->ioprio);
	if (c->has_sched_policy)
		batch_call(o, REMOTE_CALL(SYS_sched_setscheduler, 0, policy, batch_put(o, &prio, sizeof(prio))), "thread %u: scheduling policy %u", tid,
			   c->sched_policy);
	if (x->has_timerslack_ns)
		batch_call(o, REMOTE_CALL(SYS_prctl, PR_SET_TIMERSLACK, x->timerslack_ns), "thread %u: timer slack", tid);
}

int outside_thread(struct outside *o, size_t i)
{
	const CoreEntry *c = o->task->threads[i];
	const Drayage__ThreadExt *x = o->task->threads_ext[i];
	uint32_t tid = o->task->ps->threads[i];
	char comm[16] = "";

	o->thread = i;
	batch_room(o, 16, 1024 + x->cpu_affinity.len);
	if (i == 0)
		batch_call(o, REMOTE_CALL(SYS_set_tid_address, c->thread_info->clear_tid_addr), "thread %u: id address", tid);
	if (c->thread_core->futex_rla)
		batch_call(o, REMOTE_CALL(SYS_set_robust_list, c->thread_core->futex_rla,
					  c->thread_core->futex_rla_len ? c->thread_core->futex_rla_len : ROBUST_LIST_LEN),
			   "thread %u: robust list", tid);
	strncpy(comm, c->thread_core->comm ? c->thread_core->comm : c->tc ? c->tc->comm : "", sizeof(comm) - 1);
	batch_call(o, REMOTE_CALL(SYS_prctl, PR_SET_NAME, batch_put(o, comm, sizeof(comm))), "thread %u: name %s", tid, comm);
	set_altstack(o, i);
	set_scheduling(o, i);
	return batch_flush(o);
}

/* ---- registers ---- */

static int set_xsave(struct outside *o, size_t i)
{
	const ProtobufCBinaryData *x = &o->task->threads_ext[i]->xsave;
	struct iovec iov = { x->data, x->len };

	if (ptrace(PTRACE_SETREGSET, o->r->thread[i].tid, (void *)NT_X86_XSTATE, &iov) == 0)
		return 0;
	return err_set(o->e, errno == EFAULT || errno == EINVAL ? ERR_MISMATCH : ERR_SYSTEM, errno, "thread %u: extended registers (%zu bytes)",
		       o->task->ps->threads[i], x->len);
}

/* r->thread[i].regs is what counts, for release; the kernel checks the values when they are written. */
static int set_general(struct outside *o, size_t i)
{
	struct user_regs_struct *regs = &o->r->thread[i].regs;

	memcpy(regs, o->task->threads_ext[i]->gpregs.data, sizeof(*regs));
	if (regs->cs != USER_CS || regs->ss != USER_SS)
		return err_set(o->e, ERR_UNSUPPORTED, 0, "thread %u: not 64-bit code (cs %#llx)", o->task->ps->threads[i], regs->cs);
	if (o->abort_ip[i])
		regs->rip = o->abort_ip[i];
	/* The kernel's own restart does the rest when the thread goes on, with a handler to run first or without. */
	remote_regs_for_elsewhere(regs);
	return 0;
}

int outside_registers(struct outside *o, size_t i)
{
	const CoreEntry *c = o->task->threads[i];
	uint64_t mask = i == 0 || !c->thread_core->has_blk_sigset ? (c->tc ? c->tc->blk_sigset : c->thread_core->blk_sigset) : c->thread_core->blk_sigset;

	if (set_xsave(o, i) < 0 || set_general(o, i) < 0)
		return -1;
	if (ptrace((enum __ptrace_request)PTRACE_SETSIGMASK, o->r->thread[i].tid, (void *)sizeof(mask), &mask) < 0)
		return err_sys(o->e, "thread %u: signal mask", o->task->ps->threads[i]);
	return 0;
}
