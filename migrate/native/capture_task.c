/* SPDX-License-Identifier: Apache-2.0 */
/* What threads share: signal handlers, timers, limits, the fields of the address space that prctl knows. */
#include "migrate/native/capture_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/proc_text.h"

#ifndef PR_GET_MDWE
#define PR_GET_MDWE 66
#endif
#ifndef MEMBARRIER_CMD_GET_REGISTRATIONS
#define MEMBARRIER_CMD_GET_REGISTRATIONS (1 << 9)
#endif
#ifndef PR_GET_THP_DISABLE
#define PR_GET_THP_DISABLE 42
#endif

enum { SIGNALS = 64, LIMITS = 16, PERSONALITY_ASK = 0xffffffff };

struct kernel_sigaction { uint64_t handler, flags, restorer, mask; };

/* Laid out in the scratch area, in the target. */
struct task_answers {
	struct kernel_sigaction action[SIGNALS + 1];
	struct itimerval itimer[3];
	struct rlimit limit[LIMITS];
	int32_t subreaper, tsc;
};
/* Calls whose answer is their return value. */
enum { ASK_PERSONALITY, ASK_BRK, ASK_DUMPABLE, ASK_THP, ASK_MDWE, ASK_MEMBARRIER, ASK_SUBREAPER, ASK_TSC, ASK_COUNT };

static bool settable(int signo)
{
	return signo != SIGKILL && signo != SIGSTOP;
}

static int name_threads(struct capture *c)
{
	c->nstid = calloc(c->r->threads, sizeof(*c->nstid));
	if (!c->nstid)
		return err_set(c->e, ERR_SYSTEM, ENOMEM, "threads");
	for (size_t i = 0; i < c->r->threads; i++) {
		char path[48];
		cleanup_free char *status = NULL;

		snprintf(path, sizeof(path), "task/%d/status", c->r->thread[i].tid);
		status = capture_text(c, path, c->e);
		if (!status)
			return -1;
		c->nstid[i] = text_last_number(status, "NSpid");
		if (c->nstid[i] <= 0)
			c->nstid[i] = c->r->thread[i].tid;
	}
	return 0;
}

static int save_ids(struct capture *c)
{
	static const char *const names[] = { "pid", "net", "ipc", "uts", "mnt", "user", "cgroup", "time" };
	TaskKobjIdsEntry *ids = CAPTURE_NEW(c, task_kobj_ids_entry);
	uint32_t ns[8] = { 0 };

	if (!ids)
		return -1;
	c->task->ids = ids;
	ids->vm_id = ids->files_id = ids->fs_id = ids->sighand_id = 1;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct stat st;
		char path[32];

		snprintf(path, sizeof(path), "ns/%s", names[i]);
		if (fstatat(c->procfd, path, &st, 0) == 0)
			ns[i] = (uint32_t)st.st_ino;
	}
	ids->has_pid_ns_id = ids->has_net_ns_id = ids->has_ipc_ns_id = ids->has_uts_ns_id = true;
	ids->has_mnt_ns_id = ids->has_user_ns_id = ids->has_cgroup_ns_id = ids->has_time_ns_id = true;
	ids->pid_ns_id = ns[0], ids->net_ns_id = ns[1], ids->ipc_ns_id = ns[2], ids->uts_ns_id = ns[3];
	ids->mnt_ns_id = ns[4], ids->user_ns_id = ns[5], ids->cgroup_ns_id = ns[6], ids->time_ns_id = ns[7];
	return 0;
}

static int save_pstree(struct capture *c)
{
	PstreeEntry *ps = CAPTURE_NEW(c, pstree_entry);
	int pgid, sid;

	if (!ps)
		return -1;
	c->task->ps = ps;
	pgid = text_last_number(c->status, "NSpgid");
	sid = text_last_number(c->status, "NSsid");
	ps->pid = (uint32_t)c->nstid[0];
	ps->pgid = pgid > 0 ? (uint32_t)pgid : 0; /* 0: it lives outside of the target's PID namespace */
	ps->sid = sid > 0 ? (uint32_t)sid : 0;
	ps->threads = calloc(c->r->threads, sizeof(*ps->threads));
	if (!ps->threads)
		return err_set(c->e, ERR_SYSTEM, ENOMEM, "threads");
	for (size_t i = 0; i < c->r->threads; i++)
		ps->threads[ps->n_threads++] = (uint32_t)c->nstid[i];
	return 0;
}

/* ---- answers from inside, one batch ---- */

static size_t ask(struct remote_call *calls, uint64_t at)
{
	size_t n = 0;

	calls[n++] = REMOTE_CALL(SYS_personality, PERSONALITY_ASK);
	calls[n++] = REMOTE_CALL(SYS_brk, 0);
	calls[n++] = REMOTE_CALL(SYS_prctl, PR_GET_DUMPABLE);
	calls[n++] = REMOTE_TRY(SYS_prctl, PR_GET_THP_DISABLE);
	calls[n++] = REMOTE_TRY(SYS_prctl, PR_GET_MDWE);
	calls[n++] = REMOTE_TRY(SYS_membarrier, MEMBARRIER_CMD_GET_REGISTRATIONS);
	calls[n++] = REMOTE_CALL(SYS_prctl, PR_GET_CHILD_SUBREAPER, at + offsetof(struct task_answers, subreaper));
	calls[n++] = REMOTE_TRY(SYS_prctl, PR_GET_TSC, at + offsetof(struct task_answers, tsc));
	for (uint64_t i = 0; i < 3; i++)
		calls[n++] = REMOTE_CALL(SYS_getitimer, i, at + offsetof(struct task_answers, itimer) + i * sizeof(struct itimerval));
	for (uint64_t i = 0; i < LIMITS; i++)
		calls[n++] = REMOTE_CALL(SYS_prlimit64, 0, i, 0, at + offsetof(struct task_answers, limit) + i * sizeof(struct rlimit));
	for (int i = 1; i <= SIGNALS; i++) {
		if (settable(i))
			calls[n++] = REMOTE_CALL(SYS_rt_sigaction, (uint64_t)i, 0,
						 at + offsetof(struct task_answers, action) + (uint64_t)i * sizeof(struct kernel_sigaction), 8);
	}
	return n;
}

static int save_actions(struct capture *c, TaskCoreEntry *tc, const struct task_answers *a)
{
	for (int i = 1; i <= SIGNALS; i++) {
		SaEntry *sa;

		if (!settable(i))
			continue;
		sa = CAPTURE_NEW(c, sa_entry);
		if (capture_push(c, &tc->sigactions, &tc->n_sigactions, sa) < 0)
			return -1;
		sa->sigaction = a->action[i].handler;
		sa->flags = a->action[i].flags;
		sa->restorer = a->action[i].restorer;
		sa->mask = a->action[i].mask;
	}
	return 0;
}

static int save_limits(struct capture *c, TaskCoreEntry *tc, const struct task_answers *a)
{
	tc->rlimits = CAPTURE_NEW(c, task_rlimits_entry);
	for (int i = 0; tc->rlimits && i < LIMITS; i++) {
		RlimitEntry *l = CAPTURE_NEW(c, rlimit_entry);

		if (capture_push(c, &tc->rlimits->rlimits, &tc->rlimits->n_rlimits, l) < 0)
			return -1;
		l->cur = a->limit[i].rlim_cur;
		l->max = a->limit[i].rlim_max;
	}
	return tc->rlimits ? 0 : -1;
}

static ItimerEntry *itimer(struct capture *c, const struct itimerval *v)
{
	ItimerEntry *t = CAPTURE_NEW(c, itimer_entry);

	if (t)
		capture_set_itimer(t, v);
	return t;
}

static int save_itimers(struct capture *c, TaskCoreEntry *tc, const struct task_answers *a)
{
	TaskTimersEntry *t = CAPTURE_NEW(c, task_timers_entry);

	if (!t)
		return -1;
	tc->timers = t;
	t->real = itimer(c, &a->itimer[0]);
	t->virt = itimer(c, &a->itimer[1]);
	t->prof = itimer(c, &a->itimer[2]);
	return t->real && t->virt && t->prof ? 0 : -1;
}

/* ---- the rest ---- */

static int save_small_files(struct capture *c, TaskCoreEntry *tc, Drayage__TaskExt *ext)
{
	struct err missing;
	cleanup_free char *comm = capture_text(c, "comm", c->e);
	cleanup_free char *oom = capture_text(c, "oom_score_adj", &missing);
	cleanup_free char *loginuid = capture_text(c, "loginuid", &missing);
	cleanup_free char *filter = capture_text(c, "coredump_filter", &missing);
	FILE *last;

	if (!comm)
		return -1;
	comm[strcspn(comm, "\n")] = '\0';
	tc->comm = steal_pointer(&comm);
	tc->has_oom_score_adj = oom != NULL;
	tc->oom_score_adj = oom ? atoi(oom) : 0;
	tc->has_loginuid = loginuid != NULL;
	tc->loginuid = loginuid ? (uint32_t)strtoul(loginuid, NULL, 10) : 0;
	ext->has_coredump_filter = filter && filter[0];
	ext->coredump_filter = filter ? (uint32_t)strtoul(filter, NULL, 16) : 0;
	last = fopen("/proc/sys/kernel/cap_last_cap", "re");
	if (last) {
		ext->has_cap_last = fscanf(last, "%u", &ext->cap_last) == 1;
		fclose(last);
	}
	return 0;
}

static int save_mm_fields(struct capture *c, MmEntry *mm, TaskCoreEntry *tc)
{
	cleanup_free char *stat = capture_text(c, "stat", c->e);
	cleanup_fd int fd = openat(c->procfd, "auxv", O_RDONLY | O_CLOEXEC);
	uint64_t auxv[64 * 2];
	ssize_t len;

	if (!stat)
		return -1;
	tc->flags = (uint32_t)text_stat_number(stat, 9);
	mm->mm_start_code = text_stat_number(stat, 26), mm->mm_end_code = text_stat_number(stat, 27);
	mm->mm_start_stack = text_stat_number(stat, 28);
	mm->mm_start_data = text_stat_number(stat, 45), mm->mm_end_data = text_stat_number(stat, 46), mm->mm_start_brk = text_stat_number(stat, 47);
	mm->mm_arg_start = text_stat_number(stat, 48), mm->mm_arg_end = text_stat_number(stat, 49);
	mm->mm_env_start = text_stat_number(stat, 50), mm->mm_env_end = text_stat_number(stat, 51);
	len = fd < 0 ? -1 : read(fd, auxv, sizeof(auxv));
	if (len < 0)
		return err_sys(c->e, "auxv of task %d", c->pid);
	mm->mm_saved_auxv = malloc(len ? (size_t)len : 1);
	if (!mm->mm_saved_auxv)
		return err_set(c->e, ERR_SYSTEM, ENOMEM, "auxv");
	for (size_t i = 0; i + 1 < (size_t)len / sizeof(auxv[0]) && auxv[i]; i += 2) {
		mm->mm_saved_auxv[mm->n_mm_saved_auxv++] = auxv[i];
		mm->mm_saved_auxv[mm->n_mm_saved_auxv++] = auxv[i + 1];
	}
	return 0;
}

static void keep_answers(struct capture *c, TaskCoreEntry *tc, const struct task_answers *a, const struct remote_call *calls)
{
	Drayage__TaskExt *ext = c->task->ext;
	MmEntry *mm = c->task->mm;

	tc->personality = (uint32_t)calls[ASK_PERSONALITY].ret;
	mm->mm_brk = (uint64_t)calls[ASK_BRK].ret;
	mm->has_dumpable = mm->has_thp_disabled = true;
	mm->dumpable = (int32_t)calls[ASK_DUMPABLE].ret;
	mm->thp_disabled = calls[ASK_THP].ret > 0;
	ext->has_thp_disable = calls[ASK_THP].ret >= 0;
	ext->thp_disable = ext->has_thp_disable ? (uint32_t)calls[ASK_THP].ret : 0;
	ext->has_mdwe = calls[ASK_MDWE].ret >= 0;
	ext->mdwe = ext->has_mdwe ? (uint32_t)calls[ASK_MDWE].ret : 0;
	ext->has_tsc_mode = calls[ASK_TSC].ret == 0;
	ext->tsc_mode = (uint32_t)a->tsc;
	tc->has_membarrier_registration_mask = calls[ASK_MEMBARRIER].ret >= 0;
	tc->membarrier_registration_mask = calls[ASK_MEMBARRIER].ret > 0 ? (uint32_t)calls[ASK_MEMBARRIER].ret : 0;
	tc->has_child_subreaper = true;
	tc->child_subreaper = a->subreaper != 0;
}

static int save_answers(struct capture *c, TaskCoreEntry *tc)
{
	uint64_t at = remote_scratch_data(c->r);
	struct remote_call calls[ASK_COUNT + 3 + LIMITS + SIGNALS];
	struct task_answers a = { 0 };
	size_t n = ask(calls, at);

	if (remote_scratch_size(c->r) < sizeof(a))
		return err_set(c->e, ERR_INTERNAL, 0, "scratch of %zu bytes is too small to ask task %d", (size_t)remote_scratch_size(c->r), c->pid);
	if (remote_run(c->r, 0, calls, n, "state of the process", c->e) < 0 || remote_read(c->pid, at, &a, sizeof(a), c->e) < 0)
		return -1;
	keep_answers(c, tc, &a, calls);
	return save_actions(c, tc, &a) < 0 || save_limits(c, tc, &a) < 0 || save_itimers(c, tc, &a) < 0 ? -1 : 0;
}

static int save_directories(struct capture *c)
{
	static const char *const links[] = { "cwd", "root", "exe" };
	uint32_t id[3];

	for (int i = 0; i < 3; i++) {
		char path[4096];
		ssize_t len = readlinkat(c->procfd, links[i], path, sizeof(path) - 1);

		if (len < 0)
			return err_sys(c->e, "%s of task %d", links[i], c->pid);
		path[len] = '\0';
		if (reg_entry(c, path, i < 2 ? O_RDONLY | O_DIRECTORY : O_RDONLY, i == 2, &id[i]) < 0)
			return -1;
	}
	c->task->fs->cwd_id = id[0];
	c->task->fs->root_id = id[1];
	c->task->fs->has_umask = true;
	c->task->fs->umask = (uint32_t)text_number(c->status, "Umask", 8, 022);
	c->task->mm->exe_file_id = id[2];
	return 0;
}

static int make_parts(struct capture *c)
{
	Drayage__TaskState *t = c->task;

	for (size_t i = 0; i < c->r->threads; i++) {
		CoreEntry *core = CAPTURE_NEW(c, core_entry);

		if (capture_push(c, &t->threads, &t->n_threads, core) < 0)
			return -1;
		core->mtype = MARCH__MARCH_X86_64;
	}
	t->threads[0]->tc = CAPTURE_NEW(c, task_core_entry);
	t->mm = CAPTURE_NEW(c, mm_entry);
	t->fs = CAPTURE_NEW(c, fs_entry);
	t->ext = CAPTURE_NEW(c, drayage__task_ext);
	return t->threads[0]->tc && t->mm && t->fs && t->ext ? 0 : -1;
}

static void save_stop(struct capture *c, TaskCoreEntry *tc)
{
	const struct remote_thread *leader = &c->r->thread[0];

	tc->task_state = leader->group_stop ? 3 : 1;
	if (leader->group_stop) {
		tc->has_stop_signo = c->task->ext->has_main_stop_signal = true;
		tc->stop_signo = (uint32_t)leader->stop_signal;
		c->task->ext->main_stop_signal = leader->stop_signal;
	}
}

int capture_task_save(struct capture *c)
{
	TaskCoreEntry *tc;
	uint64_t blocked;

	if (name_threads(c) < 0 || make_parts(c) < 0 || save_ids(c) < 0 || save_pstree(c) < 0)
		return -1;
	tc = c->task->threads[0]->tc;
	save_stop(c, tc);
	/* Its own field for the leader is blk_sigset here; capture_thread_save fills thread_core.blk_sigset for all. */
	blocked = text_number(c->status, "SigBlk", 16, 0);
	tc->blk_sigset = blocked;
	if (save_small_files(c, tc, c->task->ext) < 0 || save_answers(c, tc) < 0 || capture_timers_save(c, tc->timers) < 0 ||
	    save_mm_fields(c, c->task->mm, tc) < 0 || save_directories(c) < 0)
		return -1;
	return capture_signals(c, c->pid, true, &tc->signals_s);
}
