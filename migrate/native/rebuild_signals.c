/* SPDX-License-Identifier: Apache-2.0 */
/* Pending signals, timers, resource limits. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include "migrate/native/rebuild_priv.h"
#include "proto/base/cleanup.h"

#ifndef PR_TIMER_CREATE_RESTORE_IDS
#define PR_TIMER_CREATE_RESTORE_IDS 77
#define PR_TIMER_CREATE_RESTORE_IDS_OFF 0
#define PR_TIMER_CREATE_RESTORE_IDS_ON 1
#endif
enum { SIGINFO = 128, LIMITS = 16, MAX_TIMER_GAP = 1 << 16 };

/* ---- pending ---- */

/* Sent by the thread to itself: only so may a signal claim to come from the kernel. Order is kept; a process-wide one and a thread's own go
 * to queues of their own. */
static int queue_signals(struct outside *o, size_t i, const SignalQueueEntry *q, bool shared)
{
	uint32_t pid = o->task->ps->pid, tid = o->task->ps->threads[i];

	for (size_t k = 0; q && k < q->n_signals; k++) {
		const ProtobufCBinaryData *info = &q->signals[k]->siginfo;
		siginfo_t si;

		if (info->len != SIGINFO)
			return err_set(o->e, ERR_PROTOCOL, 0, "thread %u: pending signal of %zu bytes", tid, info->len);
		memcpy(&si, info->data, sizeof(si));
		if (si.si_signo == SIGKILL || si.si_signo == SIGSTOP)
			continue;
		batch_room(o, 1, SIGINFO);
		if (shared)
			batch_call(o, REMOTE_CALL(SYS_rt_sigqueueinfo, pid, (uint64_t)si.si_signo, batch_put(o, &si, SIGINFO)), "pending signal %d",
				   si.si_signo);
		else
			batch_call(o, REMOTE_CALL(SYS_rt_tgsigqueueinfo, pid, tid, (uint64_t)si.si_signo, batch_put(o, &si, SIGINFO)),
				   "thread %u: pending signal %d", tid, si.si_signo);
	}
	return 0;
}

int outside_signals(struct outside *o)
{
	for (size_t i = 0; i < o->task->n_threads; i++) {
		const CoreEntry *c = o->task->threads[i];

		o->thread = i;
		if (queue_signals(o, i, c->thread_core->signals_p, false) < 0 ||
		    (i == 0 && queue_signals(o, i, c->tc->signals_s, true) < 0) || batch_flush(o) < 0)
			return -1;
	}
	o->thread = 0;
	return 0;
}

/* ---- timers ---- */

static void set_itimer(struct outside *o, int which, const ItimerEntry *t, const char *name)
{
	struct itimerval v = { { (time_t)t->isec, (suseconds_t)t->iusec }, { (time_t)t->vsec, (suseconds_t)t->vusec } };

	if (!t->vsec && !t->vusec && !t->isec && !t->iusec)
		return;
	/* It has expired and goes on when its signal, pending now, is taken: as it does after it expires here, which queues no second one. */
	if (which == ITIMER_REAL && !t->vsec && !t->vusec)
		v.it_value.tv_usec = 1;
	batch_call(o, REMOTE_CALL(SYS_setitimer, (uint64_t)which, batch_put(o, &v, sizeof(v)), 0), "%s", name);
}

static const Drayage__TimerExt *timer_ext(const struct outside *o, uint32_t id)
{
	for (size_t i = 0; i < o->task->ext->n_timers; i++)
		if (o->task->ext->timers[i]->it_id == id)
			return o->task->ext->timers[i];
	return NULL;
}

struct kernel_sigevent { uint64_t value; int32_t signo, notify, tid; int32_t pad[11]; };

/* id_at: in the scratch area; in restore mode the wanted id stands there, else the kernel puts its own. */
static void create_timer(struct outside *o, const PosixTimerEntry *t, uint64_t id_at)
{
	const Drayage__TimerExt *x = timer_ext(o, t->it_id);
	struct kernel_sigevent ev = { .value = t->sival_ptr, .signo = (int32_t)t->si_signo, .notify = (int32_t)t->it_sigev_notify };

	ev.tid = t->has_notify_thread_id && t->notify_thread_id ? t->notify_thread_id : x && x->has_signal_tid ? x->signal_tid : 0;
	batch_call(o, REMOTE_CALL(SYS_timer_create, t->clock_id, batch_put(o, &ev, sizeof(ev)), id_at), "POSIX timer %u", t->it_id);
}

static void arm_timer(struct outside *o, const PosixTimerEntry *t)
{
	struct itimerspec v = { { (time_t)t->isec, (long)t->insec }, { (time_t)t->vsec, (long)t->vnsec } };

	if (t->vsec || t->vnsec)
		batch_call(o, REMOTE_CALL(SYS_timer_settime, t->it_id, 0, batch_put(o, &v, sizeof(v)), 0), "POSIX timer %u", t->it_id);
}

/* Kernels before 6.15 number timers of a process upwards; the ones in between are made and deleted. */
static int create_numbered(struct outside *o, const PosixTimerEntry *t)
{
	for (int tries = 0; tries < MAX_TIMER_GAP; tries++) {
		struct remote_call made;
		int32_t id = -1;
		uint64_t at;

		batch_room(o, 1, 256);
		at = batch_put(o, &id, sizeof(id));
		create_timer(o, t, at);
		if (batch_flush(o) < 0 || remote_read(o->r->pid, at, &id, sizeof(id), o->e) < 0)
			return -1;
		if (id == (int32_t)t->it_id)
			return 0;
		batch_ask(o, REMOTE_CALL(SYS_timer_delete, (uint64_t)id), &made, "POSIX timer %d", id);
		if (batch_flush(o) < 0)
			return -1;
		if (id > (int32_t)t->it_id)
			break;
	}
	return err_set(o->e, ERR_UNSUPPORTED, 0, "task %u: POSIX timer with id %u: this kernel gives it no such id", o->task->ps->pid, t->it_id);
}

static int by_timer_id(const void *a, const void *b)
{
	uint32_t x = (*(PosixTimerEntry *const *)a)->it_id, y = (*(PosixTimerEntry *const *)b)->it_id;

	return x < y ? -1 : x > y;
}

static int create_timers(struct outside *o, PosixTimerEntry **t, size_t n)
{
	struct remote_call mode = { 0 };

	batch_ask(o, REMOTE_TRY(SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS, PR_TIMER_CREATE_RESTORE_IDS_ON), &mode, "timer ids");
	if (batch_flush(o) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		int32_t id = (int32_t)t[i]->it_id;

		if (mode.ret < 0) {
			if (create_numbered(o, t[i]) < 0)
				return -1;
			continue;
		}
		batch_room(o, 1, 256);
		create_timer(o, t[i], batch_put(o, &id, sizeof(id)));
	}
	if (mode.ret == 0)
		batch_call(o, REMOTE_CALL(SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS, PR_TIMER_CREATE_RESTORE_IDS_OFF), "timer ids");
	return batch_flush(o);
}

int outside_timers(struct outside *o)
{
	const TaskTimersEntry *t = o->task->threads[0]->tc->timers;
	cleanup_free PosixTimerEntry **posix = NULL;

	if (!t)
		return 0;
	if (t->n_posix) {
		posix = malloc(t->n_posix * sizeof(*posix));
		if (!posix)
			return err_set(o->e, ERR_SYSTEM, ENOMEM, "timers");
		memcpy(posix, t->posix, t->n_posix * sizeof(*posix));
		qsort(posix, t->n_posix, sizeof(*posix), by_timer_id);
		if (create_timers(o, posix, t->n_posix) < 0)
			return -1;
	}
	batch_room(o, 3, 256);
	set_itimer(o, ITIMER_REAL, t->real, "ITIMER_REAL");
	set_itimer(o, ITIMER_VIRTUAL, t->virt, "ITIMER_VIRTUAL");
	set_itimer(o, ITIMER_PROF, t->prof, "ITIMER_PROF");
	for (size_t i = 0; i < t->n_posix; i++) {
		batch_room(o, 1, 64);
		arm_timer(o, posix[i]);
	}
	return batch_flush(o);
}

/* ---- limits ---- */

/* A hard limit above ours can be raised only with CAP_SYS_RESOURCE. Without it the process gets the highest hard limit there is, as long as its
 * soft limit, the one that it lives by, fits below; else it would find less than it had, which is an error. */
int outside_limits(struct outside *o)
{
	const TaskRlimitsEntry *l = o->task->threads[0]->tc->rlimits;

	for (int i = 0; l && i < (int)l->n_rlimits && i < LIMITS; i++) {
		struct rlimit want = { l->rlimits[i]->cur, l->rlimits[i]->max }, have;

		if (prlimit(o->r->pid, (__rlimit_resource_t)i, NULL, &have) < 0)
			return err_sys(o->e, "task %u: resource limit %d", o->task->ps->pid, i);
		if (have.rlim_cur == want.rlim_cur && have.rlim_max == want.rlim_max)
			continue;
		if (prlimit(o->r->pid, (__rlimit_resource_t)i, &want, NULL) == 0)
			continue;
		if (errno == EPERM && want.rlim_cur <= have.rlim_max) {
			want.rlim_max = have.rlim_max;
			if (prlimit(o->r->pid, (__rlimit_resource_t)i, &want, NULL) == 0)
				continue;
		}
		return err_sys(o->e, "task %u: resource limit %d of %llu (hard limit here: %llu)", o->task->ps->pid, i,
			       (unsigned long long)want.rlim_cur, (unsigned long long)have.rlim_max);
	}
	return 0;
}
