/* SPDX-License-Identifier: Apache-2.0 */
/* POSIX timers: which there are /proc says, how long they still run their owner. And what goes for the older kind (setitimer) too:
 *
 * They run on while the threads stand still. One that fires before its process's signals are read left its time in what was read here and its
 * signal in the queue: it would fire twice. One that was read behind the signals and fired before them would not fire at all. So timers
 * are read before the signals, and those whose signal is among them once more behind them (capture_timers_settle). */
#include "migrate/native/capture_priv.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include "proto/base/cleanup.h"
#include "proto/base/fault.h"
#include "proto/base/proc_text.h"

enum { TIMERS_AT_ONCE = 64, TIMERS_MAX = 4096 };

struct kernel_itimerspec { int64_t interval_s, interval_ns, value_s, value_ns; };

static int timer_notification(struct capture *c, PosixTimerEntry *p, const char *text)
{
	static const struct { const char *name; uint32_t how; } kinds[] = { { "signal/", SIGEV_SIGNAL }, { "none/", SIGEV_NONE }, { "thread/", SIGEV_THREAD } };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		size_t len = strlen(kinds[i].name);
		int tid;

		if (strncmp(text, kinds[i].name, len) != 0)
			continue;
		p->it_sigev_notify = kinds[i].how;
		if (sscanf(text + len, "tid.%d", &tid) == 1) {
			p->it_sigev_notify |= SIGEV_THREAD_ID;
			p->has_notify_thread_id = true;
			p->notify_thread_id = capture_tid_inside(c, tid);
			if (p->notify_thread_id < 0)
				capture_obstacle(c, NULL, "task %d: timer %u signals a thread that has ended", c->pid, p->it_id);
		}
		return 0;
	}
	return err_set(c->e, ERR_UNSUPPORTED, 0, "task %d: timer %u notifies in an unknown way", c->pid, p->it_id);
}

/* CPU clocks of one's own process or thread name no process; clocks of others do, and devices' clocks are descriptors. */
static void check_clock(struct capture *c, const PosixTimerEntry *p)
{
	int32_t clock = (int32_t)p->clock_id;

	if (clock < 0 && ((clock & 7) == 3 || (~clock >> 3) != 0))
		capture_obstacle(c, NULL, "task %d: timer %u runs by the clock of another process or a device", c->pid, p->it_id);
}

static int parse_timers(struct capture *c, const char *text, TaskTimersEntry *t)
{
	for (const char *at = text_field(text, "ID"); at; at = text_field(at, "ID")) {
		PosixTimerEntry *p = CAPTURE_NEW(c, posix_timer_entry);
		const char *signal_line, *notify, *clock;
		unsigned long long value = 0;

		if (capture_push(c, &t->posix, &t->n_posix, p) < 0)
			return -1;
		p->it_id = (uint32_t)strtoul(at, NULL, 10);
		at = strchr(at, '\n');
		signal_line = text_field(at, "signal");
		notify = text_field(at, "notify");
		clock = text_field(at, "ClockID");
		if (!signal_line || !notify || !clock || sscanf(signal_line, "%u/%llx", &p->si_signo, &value) != 2 || t->n_posix > TIMERS_MAX)
			return err_set(c->e, ERR_SYSTEM, EPROTO, "timers of task %d", c->pid);
		p->sival_ptr = value;
		p->clock_id = (uint32_t)strtol(clock, NULL, 10);
		check_clock(c, p);
		if (timer_notification(c, p, notify) < 0)
			return -1;
	}
	return 0;
}

static int read_timers(struct capture *c, PosixTimerEntry **timer, size_t n)
{
	uint64_t at = remote_scratch_data(c->r);
	struct remote_call calls[TIMERS_AT_ONCE * 2];
	struct kernel_itimerspec left[TIMERS_AT_ONCE];

	for (size_t i = 0; i < n; i++) {
		calls[2 * i] = REMOTE_CALL(SYS_timer_gettime, timer[i]->it_id, at + i * sizeof(left[0]));
		calls[2 * i + 1] = REMOTE_CALL(SYS_timer_getoverrun, timer[i]->it_id);
	}
	if (remote_run(c->r, 0, calls, 2 * n, "POSIX timers", c->e) < 0 || remote_read(c->pid, at, left, n * sizeof(left[0]), c->e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		timer[i]->overrun = (uint32_t)calls[2 * i + 1].ret;
		timer[i]->isec = (uint64_t)left[i].interval_s, timer[i]->insec = (uint64_t)left[i].interval_ns;
		timer[i]->vsec = (uint64_t)left[i].value_s, timer[i]->vnsec = (uint64_t)left[i].value_ns;
	}
	return 0;
}

int capture_timers_save(struct capture *c, TaskTimersEntry *t)
{
	cleanup_free char *text = capture_text(c, "timers", c->e);

	if (!text || parse_timers(c, text, t) < 0)
		return -1;
	for (size_t i = 0; i < t->n_posix; i += TIMERS_AT_ONCE) {
		size_t n = t->n_posix - i < TIMERS_AT_ONCE ? t->n_posix - i : TIMERS_AT_ONCE;

		if (read_timers(c, t->posix + i, n) < 0)
			return -1;
	}
	fault_point("capture.timers", -1);
	return 0;
}

void capture_set_itimer(ItimerEntry *t, const struct itimerval *v)
{
	t->isec = (uint64_t)v->it_interval.tv_sec, t->iusec = (uint64_t)v->it_interval.tv_usec;
	t->vsec = (uint64_t)v->it_value.tv_sec, t->vusec = (uint64_t)v->it_value.tv_usec;
}

static int read_itimer(struct capture *c, uint64_t which, ItimerEntry *t)
{
	uint64_t at = remote_scratch_data(c->r);
	struct remote_call call = REMOTE_CALL(SYS_getitimer, which, at);
	struct itimerval left;

	if (remote_run(c->r, 0, &call, 1, "interval timer", c->e) < 0 || remote_read(c->pid, at, &left, sizeof(left), c->e) < 0)
		return -1;
	capture_set_itimer(t, &left);
	return 0;
}

static bool is_pending(const SignalQueueEntry *q, int signo)
{
	for (size_t i = 0; i < q->n_signals; i++) {
		int found;

		memcpy(&found, q->signals[i]->siginfo.data, sizeof(found));
		if (found == signo)
			return true;
	}
	return false;
}

static bool queue_has(const SignalQueueEntry *q, uint32_t timer)
{
	for (size_t i = 0; q && i < q->n_signals; i++) {
		siginfo_t info = { 0 };
		size_t len = q->signals[i]->siginfo.len;

		memcpy(&info, q->signals[i]->siginfo.data, len < sizeof(info) ? len : sizeof(info));
		if (info.si_code == SI_TIMER && (uint32_t)info.si_timerid == timer)
			return true;
	}
	return false;
}

static bool has_fired(const struct capture *c, uint32_t timer)
{
	const Drayage__TaskState *t = c->task;

	if (queue_has(t->threads[0]->tc->signals_s, timer))
		return true;
	for (size_t i = 0; i < t->n_threads; i++)
		if (queue_has(t->threads[i]->thread_core->signals_p, timer))
			return true;
	return false;
}

int capture_timers_settle(struct capture *c)
{
	const TaskCoreEntry *tc = c->task->threads[0]->tc;
	const TaskTimersEntry *t = tc->timers;
	const struct { int signo; uint64_t which; ItimerEntry *t; } itimers[] = {
		{ SIGALRM, ITIMER_REAL, t->real }, { SIGVTALRM, ITIMER_VIRTUAL, t->virt }, { SIGPROF, ITIMER_PROF, t->prof },
	};

	for (size_t i = 0; i < sizeof(itimers) / sizeof(itimers[0]); i++)
		if (is_pending(tc->signals_s, itimers[i].signo) && read_itimer(c, itimers[i].which, itimers[i].t) < 0)
			return -1;
	for (size_t i = 0; i < t->n_posix; i++)
		if (has_fired(c, t->posix[i]->it_id) && read_timers(c, t->posix + i, 1) < 0)
			return -1;
	return 0;
}
