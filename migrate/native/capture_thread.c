/* SPDX-License-Identifier: Apache-2.0 */
/* One thread: registers, credentials, scheduling, signals of its own. The process-wide part is capture_task.c. */
#include "migrate/native/capture_priv.h"

#include <errno.h>
#include <elf.h>
#include <linux/rseq.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/proc_text.h"

enum { XSAVE_MAX = 64 * 1024, AFFINITY_BYTES = 1024, PEEK_BATCH = 16, KERNEL_SIGINFO = 128 };

#ifndef PTRACE_GET_RSEQ_CONFIGURATION
#define PTRACE_GET_RSEQ_CONFIGURATION 0x420f
#endif
struct rseq_configuration { uint64_t pointer; uint32_t size, signature, flags, pad; };

/* The legacy area at the start of every xsave area. */
struct fxsave {
	uint16_t cwd, swd, twd, fop;
	uint64_t rip, rdp;
	uint32_t mxcsr, mxcsr_mask, st[32], xmm[64], padding[24];
};
_Static_assert(sizeof(struct fxsave) == 512, "the processor's layout");

static int words(struct capture *c, uint32_t **out, size_t *n, const uint32_t *from, size_t count)
{
	*out = malloc(count ? count * sizeof(**out) : 1);
	if (!*out)
		return err_set(c->e, ERR_SYSTEM, ENOMEM, "description");
	memcpy(*out, from, count * sizeof(**out));
	*n = count;
	return 0;
}

static UserX86RegsEntry *general_registers(struct capture *c, const struct user_regs_struct *u)
{
	UserX86RegsEntry *g = CAPTURE_NEW(c, user_x86_regs_entry);

	if (!g)
		return NULL;
	g->r15 = u->r15, g->r14 = u->r14, g->r13 = u->r13, g->r12 = u->r12;
	g->r11 = u->r11, g->r10 = u->r10, g->r9 = u->r9, g->r8 = u->r8;
	g->bp = u->rbp, g->bx = u->rbx, g->ax = u->rax, g->cx = u->rcx, g->dx = u->rdx, g->si = u->rsi, g->di = u->rdi;
	g->orig_ax = u->orig_rax, g->ip = u->rip, g->cs = u->cs, g->flags = u->eflags, g->sp = u->rsp, g->ss = u->ss;
	g->fs_base = u->fs_base, g->gs_base = u->gs_base, g->ds = u->ds, g->es = u->es, g->fs = u->fs, g->gs = u->gs;
	g->has_mode = true;
	g->mode = USER_X86_REGS_MODE__REGS_NATIVE;
	return g;
}

static UserX86FpregsEntry *float_registers(struct capture *c, const struct fxsave *x)
{
	UserX86FpregsEntry *f = CAPTURE_NEW(c, user_x86_fpregs_entry);

	if (!f)
		return NULL;
	f->cwd = x->cwd, f->swd = x->swd, f->twd = x->twd, f->fop = x->fop;
	f->rip = x->rip, f->rdp = x->rdp, f->mxcsr = x->mxcsr, f->mxcsr_mask = x->mxcsr_mask;
	if (words(c, &f->st_space, &f->n_st_space, x->st, 32) < 0 || words(c, &f->xmm_space, &f->n_xmm_space, x->xmm, 64) < 0) {
		user_x86_fpregs_entry__free_unpacked(f, NULL);
		return NULL;
	}
	return f;
}

static int save_registers(struct capture *c, const struct remote_thread *t, CoreEntry *core, Drayage__ThreadExt *ext)
{
	_Alignas(64) static _Thread_local unsigned char area[XSAVE_MAX];
	struct iovec iov = { area, sizeof(area) };

	if (ptrace(PTRACE_GETREGSET, t->tid, NT_X86_XSTATE, &iov) < 0)
		return err_sys(c->e, "vector registers of thread %d", t->tid);
	if (iov.iov_len < sizeof(struct fxsave) || iov.iov_len == sizeof(area))
		return err_set(c->e, ERR_UNSUPPORTED, 0, "thread %d: an extended state of %zu bytes", t->tid, iov.iov_len);
	if (capture_bytes(c, &ext->xsave, area, iov.iov_len) < 0 || capture_bytes(c, &ext->gpregs, &t->regs, sizeof(t->regs)) < 0)
		return -1;
	core->thread_info = CAPTURE_NEW(c, thread_info_x86);
	if (!core->thread_info)
		return -1;
	core->thread_info->gpregs = general_registers(c, &t->regs);
	core->thread_info->fpregs = float_registers(c, (const struct fxsave *)area);
	return core->thread_info->gpregs && core->thread_info->fpregs ? 0 : -1;
}

/* ---- signals ---- */

static int push_siginfo(struct capture *c, SignalQueueEntry *q, const void *info)
{
	SiginfoEntry *s = CAPTURE_NEW(c, siginfo_entry);

	if (s && capture_bytes(c, &s->siginfo, info, KERNEL_SIGINFO) < 0) {
		siginfo_entry__free_unpacked(s, NULL);
		return -1;
	}
	return capture_push(c, &q->signals, &q->n_signals, s);
}

/* A signal can be pending without an entry in the queue (the kernel had no room for one): then it came from nobody known. */
static int push_unqueued(struct capture *c, SignalQueueEntry *q, uint64_t pending)
{
	for (size_t i = 0; i < q->n_signals; i++) {
		int signo;

		memcpy(&signo, q->signals[i]->siginfo.data, sizeof(signo));
		pending &= ~(1ULL << (signo - 1));
	}
	for (int signo = 1; pending; signo++, pending >>= 1) {
		_Alignas(8) unsigned char info[KERNEL_SIGINFO] = { 0 };

		memcpy(info, &signo, sizeof(signo)); /* si_code 0 is SI_USER, pid and uid 0 */
		if ((pending & 1) && push_siginfo(c, q, info) < 0)
			return -1;
	}
	return 0;
}

/* Timers go on while the threads stand still. The set of pending ones is read before the queue: what comes in between has its entry then, and
 * is not taken for one that the kernel had no room for. */
int capture_signals(struct capture *c, pid_t tid, bool shared, SignalQueueEntry **out)
{
	struct __ptrace_peeksiginfo_args args = { .flags = shared ? PTRACE_PEEKSIGINFO_SHARED : 0, .nr = PEEK_BATCH };
	_Alignas(8) unsigned char info[PEEK_BATCH][KERNEL_SIGINFO];
	char path[48];
	cleanup_free char *status = NULL;
	long got;

	*out = CAPTURE_NEW(c, signal_queue_entry);
	snprintf(path, sizeof(path), "task/%d/status", tid);
	status = capture_text(c, path, c->e);
	if (!*out || !status)
		return -1;
	do {
		got = ptrace(PTRACE_PEEKSIGINFO, tid, &args, info);
		if (got < 0)
			return err_sys(c->e, "pending signals of thread %d", tid);
		for (long i = 0; i < got; i++) {
			if (push_siginfo(c, *out, info[i]) < 0)
				return -1;
		}
		args.off += (uint64_t)got;
	} while (got == PEEK_BATCH);
	return push_unqueued(c, *out, text_number(status, shared ? "ShdPnd" : "SigPnd", 16, 0));
}

/* ---- credentials ---- */

static int four_ids(const char *status, const char *key, uint32_t out[4])
{
	const char *v = text_field(status, key);

	return v && sscanf(v, "%u %u %u %u", &out[0], &out[1], &out[2], &out[3]) == 4 ? 0 : -1;
}

static int capability_words(struct capture *c, const char *status, const char *key, uint32_t **out, size_t *n)
{
	uint64_t set = text_number(status, key, 16, 0);

	return words(c, out, n, (uint32_t[]){ (uint32_t)set, (uint32_t)(set >> 32) }, 2);
}

static int groups(struct capture *c, const char *status, CredsEntry *cr)
{
	const char *v = text_field(status, "Groups");
	size_t room = 0;
	char *end;

	for (; v && *v && *v != '\n'; v = end + strspn(end, " \t")) {
		unsigned long gid = strtoul(v, &end, 10);

		if (end == v)
			break;
		if (cr->n_groups == room) {
			uint32_t *grown = realloc(cr->groups, (room = room ? room * 2 : 16) * sizeof(*grown));

			if (!grown)
				return err_set(c->e, ERR_SYSTEM, ENOMEM, "groups");
			cr->groups = grown;
		}
		cr->groups[cr->n_groups++] = (uint32_t)gid;
	}
	return 0;
}

static CredsEntry *credentials(struct capture *c, const char *status, uint32_t securebits)
{
	CredsEntry *cr = CAPTURE_NEW(c, creds_entry);
	uint32_t u[4], g[4];

	if (!cr)
		return NULL;
	if (four_ids(status, "Uid", u) < 0 || four_ids(status, "Gid", g) < 0) {
		err_set(c->e, ERR_SYSTEM, EPROTO, "status of task %d", c->pid);
		goto fail;
	}
	cr->uid = u[0], cr->euid = u[1], cr->suid = u[2], cr->fsuid = u[3];
	cr->gid = g[0], cr->egid = g[1], cr->sgid = g[2], cr->fsgid = g[3];
	cr->secbits = securebits;
	cr->has_no_new_privs = true;
	cr->no_new_privs = (uint32_t)text_number(status, "NoNewPrivs", 10, 0);
	if (capability_words(c, status, "CapInh", &cr->cap_inh, &cr->n_cap_inh) < 0 ||
	    capability_words(c, status, "CapPrm", &cr->cap_prm, &cr->n_cap_prm) < 0 ||
	    capability_words(c, status, "CapEff", &cr->cap_eff, &cr->n_cap_eff) < 0 ||
	    capability_words(c, status, "CapBnd", &cr->cap_bnd, &cr->n_cap_bnd) < 0 ||
	    capability_words(c, status, "CapAmb", &cr->cap_amb, &cr->n_cap_amb) < 0 || groups(c, status, cr) < 0)
		goto fail;
	return cr;
fail:
	creds_entry__free_unpacked(cr, NULL);
	return NULL;
}

/* ---- what is asked from outside ---- */

static bool all_cpus(const unsigned char *mask, size_t len)
{
	long on = 0;

	for (size_t i = 0; i < len; i++)
		on += __builtin_popcount(mask[i]);
	return on >= sysconf(_SC_NPROCESSORS_ONLN);
}

static int save_scheduling(struct capture *c, pid_t tid, ThreadCoreEntry *tc, Drayage__ThreadExt *ext)
{
	unsigned char mask[AFFINITY_BYTES];
	struct sched_param param = { 0 };
	int policy = sched_getscheduler(tid);
	long len = syscall(SYS_sched_getaffinity, tid, sizeof(mask), mask);
	long ioprio = syscall(SYS_ioprio_get, 1, tid);
	int nice;

	errno = 0;
	nice = getpriority(PRIO_PROCESS, (id_t)tid);
	if (errno || policy < 0 || len < 0 || sched_getparam(tid, &param) < 0)
		return err_sys(c->e, "scheduling of thread %d", tid);
	tc->has_sched_nice = tc->has_sched_policy = tc->has_sched_prio = true;
	tc->sched_nice = nice;
	tc->sched_policy = (uint32_t)(policy & ~SCHED_RESET_ON_FORK);
	tc->sched_prio = (uint32_t)param.sched_priority;
	ext->has_sched_reset_on_fork = true;
	ext->sched_reset_on_fork = policy & SCHED_RESET_ON_FORK;
	ext->has_ioprio = ioprio >= 0;
	ext->ioprio = ioprio >= 0 ? (uint32_t)ioprio : 0;
	/* A thread that nobody bound to anything may use whatever the other host has. */
	if (all_cpus(mask, (size_t)len))
		return 0;
	ext->has_cpu_affinity = true;
	return capture_bytes(c, &ext->cpu_affinity, mask, (size_t)len);
}

static int save_rseq(struct capture *c, pid_t tid, ThreadCoreEntry *tc)
{
	struct rseq_configuration conf = { 0 };

	if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, sizeof(conf), &conf) < 0)
		return errno == EIO || errno == EINVAL ? 0 : err_sys(c->e, "rseq of thread %d", tid);
	tc->rseq_entry = CAPTURE_NEW(c, rseq_entry);
	if (!tc->rseq_entry)
		return -1;
	tc->rseq_entry->rseq_abi_pointer = conf.pointer;
	tc->rseq_entry->rseq_abi_size = conf.size;
	tc->rseq_entry->signature = conf.signature;
	return 0;
}

static int save_outside(struct capture *c, pid_t tid, ThreadCoreEntry *tc, Drayage__ThreadExt *ext)
{
	uint64_t mask;
	unsigned long head;
	size_t len;

	if (ptrace(PTRACE_GETSIGMASK, tid, sizeof(mask), &mask) < 0)
		return err_sys(c->e, "signal mask of thread %d", tid);
	tc->has_blk_sigset = true;
	tc->blk_sigset = mask;
	if (syscall(SYS_get_robust_list, tid, &head, &len) < 0)
		return err_sys(c->e, "robust list of thread %d", tid);
	tc->futex_rla = head;
	tc->futex_rla_len = ext->robust_len = (uint32_t)len;
	ext->has_robust_len = true;
	if (save_rseq(c, tid, tc) < 0 || save_scheduling(c, tid, tc, ext) < 0)
		return -1;
	return capture_signals(c, tid, false, &tc->signals_p);
}

/* ---- what only the thread itself may ask ---- */

struct own_answers { stack_t stack; uint64_t tid_address; int32_t pdeath, pad; };

static int save_inside(struct capture *c, size_t index, CoreEntry *core, Drayage__ThreadExt *ext, uint32_t *securebits)
{
	uint64_t at = remote_scratch_data(c->r);
	struct own_answers own = { 0 };
	struct remote_call calls[] = {
		REMOTE_CALL(SYS_sigaltstack, 0, at + offsetof(struct own_answers, stack)),
		REMOTE_CALL(SYS_prctl, PR_GET_TID_ADDRESS, at + offsetof(struct own_answers, tid_address)),
		REMOTE_CALL(SYS_prctl, PR_GET_PDEATHSIG, at + offsetof(struct own_answers, pdeath)),
		REMOTE_CALL(SYS_prctl, PR_GET_SECUREBITS),
		REMOTE_CALL(SYS_prctl, PR_GET_TIMERSLACK),
	};
	ThreadCoreEntry *tc = core->thread_core;

	if (remote_run(c->r, index, calls, sizeof(calls) / sizeof(calls[0]), "state of a thread", c->e) < 0 ||
	    remote_read(c->pid, at, &own, sizeof(own), c->e) < 0)
		return -1;
	tc->sas = CAPTURE_NEW(c, thread_sas_entry);
	if (!tc->sas)
		return -1;
	tc->sas->ss_sp = (uint64_t)(uintptr_t)own.stack.ss_sp;
	tc->sas->ss_size = own.stack.ss_size;
	tc->sas->ss_flags = (uint32_t)own.stack.ss_flags & ~(uint32_t)SS_ONSTACK; /* where the stack pointer is says that */
	tc->has_pdeath_sig = true;
	tc->pdeath_sig = (uint32_t)own.pdeath;
	core->thread_info->clear_tid_addr = own.tid_address;
	*securebits = (uint32_t)calls[3].ret;
	ext->has_securebits = ext->has_timerslack_ns = true;
	ext->securebits = *securebits;
	ext->timerslack_ns = (uint64_t)calls[4].ret;
	return 0;
}

static int save_comm(struct capture *c, pid_t tid, ThreadCoreEntry *tc)
{
	char path[48];

	snprintf(path, sizeof(path), "task/%d/comm", tid);
	tc->comm = capture_text(c, path, c->e);
	if (!tc->comm)
		return -1;
	tc->comm[strcspn(tc->comm, "\n")] = '\0';
	return 0;
}

int capture_thread_save(struct capture *c, size_t index)
{
	const struct remote_thread *t = &c->r->thread[index];
	CoreEntry *core = c->task->threads[index]; /* made by capture_task_save, with the process-wide part in the first */
	Drayage__ThreadExt *ext = CAPTURE_NEW(c, drayage__thread_ext);
	cleanup_free char *status = NULL;
	uint32_t securebits = 0;
	char path[48];

	if (capture_push(c, &c->task->threads_ext, &c->task->n_threads_ext, ext) < 0)
		return -1;
	ext->tid = (uint32_t)c->nstid[index];
	core->thread_core = CAPTURE_NEW(c, thread_core_entry);
	if (!core->thread_core || save_registers(c, t, core, ext) < 0 || save_outside(c, t->tid, core->thread_core, ext) < 0 ||
	    save_inside(c, index, core, ext, &securebits) < 0 || save_comm(c, t->tid, core->thread_core) < 0)
		return -1;
	snprintf(path, sizeof(path), "task/%d/status", t->tid);
	status = capture_text(c, path, c->e);
	if (!status)
		return -1;
	core->thread_core->creds = credentials(c, status, securebits);
	return core->thread_core->creds ? 0 : -1;
}
