/* SPDX-License-Identifier: Apache-2.0 */
/* The half that the tracer does, in this order, since each step needs what the later ones take away:
 *
 *   memory            nothing of the husk's own is left
 *   process           what all threads inherit or share
 *   threads           each with its registrations
 *   signals, timers   pending ones are queued while all are blocked; timers start to run
 *   limits            they would bound the steps above
 *   credentials       thread by thread; capabilities last
 *   rseq, futexes     the kernel writes there whenever the thread runs: who watches for the first touch of a page has begun
 *   registers         the scratch mapping goes, and nothing runs inside any more */
#include <errno.h>
#include <linux/prctl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <fcntl.h>

#include "migrate/native/rebuild_priv.h"
#include "proto/base/io.h"

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#endif

static int proc_write(struct outside *o, const char *file, const char *text)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", o->r->pid, file);
	if (file_write(AT_FDCWD, path, text, o->e) < 0)
		return err_wrap(o->e, "task %u: %s = %s", o->task->ps->pid, file, text);
	return 0;
}

/* /proc/PID/FILE of the husk; a value that it has already needs no right to set it. */
static int proc_set(struct outside *o, const char *file, long value, int base)
{
	char path[64], text[32];
	struct err ignored = { 0 };
	char *now;
	long had;

	snprintf(path, sizeof(path), "/proc/%d/%s", o->r->pid, file);
	now = file_read(AT_FDCWD, path, 256, NULL, &ignored);
	had = now ? strtol(now, NULL, base) : 0;
	if (now && had == value) {
		free(now);
		return 0;
	}
	free(now);
	snprintf(text, sizeof(text), base == 16 ? "0x%lx" : "%ld", value);
	return proc_write(o, file, text);
}

/* Before there are threads: they inherit the personality. */
static int set_process(struct outside *o)
{
	const TaskCoreEntry *tc = o->task->threads[0]->tc;
	const Drayage__TaskExt *x = o->task->ext;

	batch_call(o, REMOTE_CALL(SYS_personality, tc->personality), "personality %#x", tc->personality);
	if (tc->has_child_subreaper && tc->child_subreaper)
		batch_call(o, REMOTE_CALL(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1), "child subreaper");
	for (unsigned bit = 0; tc->has_membarrier_registration_mask && bit < 32; bit++)
		if (tc->membarrier_registration_mask >> bit & 1)
			batch_call(o, REMOTE_CALL(SYS_membarrier, UINT64_C(1) << bit), "membarrier registration %#x", 1u << bit);
	if ((x->has_thp_disable && x->thp_disable) || (o->task->mm->has_thp_disabled && o->task->mm->thp_disabled))
		batch_call(o, REMOTE_CALL(SYS_prctl, PR_SET_THP_DISABLE, 1), "no huge pages");
	if (x->has_tsc_mode && x->tsc_mode == PR_TSC_SIGSEGV)
		batch_call(o, REMOTE_CALL(SYS_prctl, PR_SET_TSC, PR_TSC_SIGSEGV), "no time stamp counter");
	if (o->h->channel_fd >= 0)
		batch_call(o, REMOTE_CALL(SYS_close, (uint64_t)o->h->channel_fd), "line to the session");
	if (batch_flush(o) < 0)
		return -1;
	if (x->has_coredump_filter && proc_set(o, "coredump_filter", (long)x->coredump_filter, 16) < 0)
		return -1;
	return tc->has_oom_score_adj ? proc_set(o, "oom_score_adj", tc->oom_score_adj, 10) : 0;
}

/* A descriptor whose owner is a thread: it exists only now. */
static int set_thread_owners(struct outside *o)
{
	for (size_t i = 0; i < o->tree->n_files; i++) {
		const FileEntry *f = o->tree->files[i];
		const FownEntry *own = rebuild_fown(f);
		struct { int type, pid; } ex;

		if (!own || !own->pid || own->pid_type != F_OWNER_TID || own->pid == o->task->ps->pid)
			continue;
		ex.type = F_OWNER_TID;
		ex.pid = (int)own->pid;
		for (size_t k = 0; k < o->task->n_fds; k++) {
			if (o->task->fds[k]->id != f->id)
				continue;
			batch_room(o, 1, sizeof(ex));
			batch_call(o, REMOTE_CALL(SYS_fcntl, o->task->fds[k]->fd, F_SETOWN_EX, batch_put(o, &ex, sizeof(ex))), "fd %u: owner %d",
				   o->task->fds[k]->fd, ex.pid);
			break;
		}
	}
	return batch_flush(o);
}

/* What credentials reset or forbid to change: behind them. 2 (root only) can't be asked for; changing ids has set it where it applies. */
static int set_after_creds(struct outside *o)
{
	const MmEntry *mm = o->task->mm;
	const Drayage__TaskExt *x = o->task->ext;

	o->thread = 0;
	if (!mm->has_dumpable || mm->dumpable == 0 || mm->dumpable == 1)
		batch_call(o, REMOTE_CALL(SYS_prctl, PR_SET_DUMPABLE, mm->has_dumpable ? (uint64_t)mm->dumpable : 1), "dumpable");
	if (x->has_mdwe && x->mdwe)
		batch_call(o, REMOTE_CALL(SYS_prctl, PR_SET_MDWE, x->mdwe), "memory deny write execute");
	return batch_flush(o);
}

static int set_waits(struct outside *o, const struct rebuild_watch *watch)
{
	int rc = watch ? watch->fn(watch->arg, o->r, o->e) : 0;

	for (size_t i = 0; i < o->task->n_threads && rc == 0; i++) {
		rc = outside_rseq(o, i);
		outside_futexes(o, i);
	}
	return rc;
}

static int do_outside(struct outside *o, const struct rebuild_watch *watch)
{
	size_t n = o->task->n_threads;
	int rc = outside_maps(o);

	if (rc == 0)
		rc = outside_advice(o);
	if (rc == 0)
		rc = set_process(o);
	if (rc == 0)
		rc = outside_threads(o);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = outside_thread(o, i);
	o->thread = 0;
	if (rc == 0)
		rc = set_thread_owners(o);
	if (rc == 0)
		rc = outside_signals(o);
	if (rc == 0)
		rc = outside_timers(o);
	if (rc == 0)
		rc = outside_limits(o);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = outside_creds(o, i);
	if (rc == 0)
		rc = set_after_creds(o);
	if (rc == 0)
		rc = set_waits(o, watch);
	if (rc == 0)
		rc = remote_scratch_destroy(o->r, o->e);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = outside_registers(o, i);
	/* It was stopped by job control when it was taken: it is again, as soon as it is let go. */
	if (rc == 0 && o->task->ext->has_main_stop_signal && o->task->ext->main_stop_signal && kill(o->r->pid, SIGSTOP) < 0)
		rc = err_sys(o->e, "task %u: stop it as it was", o->task->ps->pid);
	return rc;
}

int rebuild_outside(struct remote *r, const Drayage__TreeState *tree, const struct rebuild_handover *h, const struct rebuild_watch *watch,
		    struct err *e)
{
	struct outside *o;
	int rc;

	err_clear(e);
	if (rebuild_check_tree(tree, e) < 0)
		return -1;
	if (!h->stage_bit)
		return err_set(e, ERR_INTERNAL, 0, "process %d has nothing staged", r->pid);
	if (r->threads != 1)
		return err_set(e, ERR_INTERNAL, 0, "process %d is to be rebuilt and has %zu threads", r->pid, r->threads);
	o = calloc(1, sizeof(*o));
	if (!o)
		return err_set(e, ERR_SYSTEM, ENOMEM, "rebuild");
	o->r = r;
	o->tree = tree;
	o->task = tree->tasks[0];
	o->h = h;
	o->e = e;
	o->abort_ip = calloc(o->task->n_threads, sizeof(*o->abort_ip));
	rc = o->abort_ip ? do_outside(o, watch) : err_set(e, ERR_SYSTEM, ENOMEM, "rebuild");
	free(o->abort_ip);
	free(o->data);
	free(o);
	return rc;
}
