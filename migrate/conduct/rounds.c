/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "migrate/conduct/policy.h"
#include "migrate/conduct/source_priv.h"
#include "migrate/native/capture.h"
#include "proto/base/cleanup.h"
#include "proto/base/fault.h"
#include "proto/base/io.h"
#include "proto/base/proc_text.h"
#include "proto/wire/control.h"
#include "proto/wire/manifest_message.h"

enum {
	READY_MS = 60 * 1000,
	PLACED_MS = 120 * 1000,
	SCATTERED_NS = 1500, /* measured: 1.2 to 1.9 us a page in a last round of 3000 pages of 1 GiB, where long runs take 0.9 */
};

/* The destination has to know of MAP_NORESERVE when it makes a mapping, and the kernel tells it with a walk over all pages alone. False: there is a mapping of which
 * nothing is known. */
static bool tell_noreserve(struct source *s)
{
	bool all = true;
	size_t at = 0;

	for (size_t i = 0; i < s->vmas.count; i++) {
		struct vma *v = &s->vmas.vma[i];
		const struct vma *was = vma_list_seen_as(&s->flags_seen, v, &at);

		v->vm_flags = was ? was->vm_flags & VMF_NORESERVE : 0;
		all &= was != NULL;
	}
	return all;
}

/* Of a large process what was mapped since counts as plain; so it does in the freeze. */
static int look_at_flags(struct source *s, bool last)
{
	cleanup_free char *status = NULL;

	if (tell_noreserve(s) || last)
		return 0;
	status = status_text(s->pid, s->pid, s->err);
	if (!status)
		return -1;
	if (text_number(status, "VmRSS", 10, 0) * 1024 >= CAPTURE_WALK_SHORT)
		return 0;
	if (vma_list_read(&s->flags_seen, s->pid, VMA_READ_SMAPS, s->err) < 0)
		return -1;
	tell_noreserve(s);
	return 0;
}

/* Reads the tracker; a tracker that needs the target to stand still has it stopped for that long. */
static int collect(struct source *s, bool last, struct round_report *r)
{
	bool stop = !last && tracker_needs_stop(s->tracker);
	uint64_t freezing = 0, stopped = 0;
	int rc;

	if (stop && keeper_freeze(s->keeper, &freezing, s->err) < 0)
		return -1;
	rc = vma_list_read(&s->vmas, s->pid, VMA_READ_MAPS, s->err);
	if (rc == 0)
		rc = look_at_flags(s, stop || last);
	if (rc == 0 && vma_list_mark_scratch(&s->vmas, s->armed.scratch_start, s->armed.scratch_end) < 0)
		rc = err_set(s->err, ERR_SYSTEM, 0, "out of memory");
	collected_finish(&s->collected);
	if (rc == 0)
		rc = tracker_collect(s->tracker, &s->vmas, !last, last, &s->collected, s->err);
	if (stop) {
		struct err e;

		if (keeper_thaw(s->keeper, &stopped, &e) < 0 && rc == 0) {
			*s->err = e;
			rc = -1;
		}
		r->stop_us = stopped;
	}
	return rc;
}

static uint64_t drop_pages(const struct run_list *l)
{
	uint64_t n = 0;

	for (size_t i = 0; i < l->count; i++)
		n += l->run[i].kind == RUN_DROP ? l->run[i].pages : 0;
	return n;
}

static int expect_ready(struct source *s)
{
	ProtobufCMessage *m;

	if (control_send(s->control, CONTROL_ROUND_BEGIN, &s->layout.message.base, s->err) < 0)
		return -1;
	m = control_expect(s->control, READY_MS, CONTROL_ROUND_READY, s->err);
	if (!m)
		return -1;
	protobuf_c_message_free_unpacked(m, NULL);
	return 0;
}

/* A stream that broke says little; the destination's Abort on the control connection says why. */
static int prefer_abort(struct source *s)
{
	enum control_type type;
	ProtobufCMessage *m;
	struct err why;

	if (monitor_interrupted(s) || wait_readable(s->control, 1000) <= 0)
		return -1;
	if (control_receive(s->control, 1000, &type, &m, &why) == 0)
		protobuf_c_message_free_unpacked(m, NULL);
	else if (why.kind != ERR_TIMEOUT)
		*s->err = why;
	return -1;
}

/* A stream that fails now, for all that it may be connected again, does so on its own: the destination has nothing to say before all are back. */
static int await_placed(struct source *s)
{
	struct pollfd p[2] = { { .fd = s->control, .events = POLLIN }, { .fd = sender_event_fd(s->sender), .events = POLLIN } };
	int n;

	do
		n = poll(p, 2, PLACED_MS + (int)s->config->reconnect_timeout_ms);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return err_set(s->err, ERR_TIMEOUT, 0, "the destination has not said within %d s that all is placed",
			       (PLACED_MS + (int)s->config->reconnect_timeout_ms) / 1000);
	return p[1].revents && !p[0].revents && sender_settle(s->sender, s->err) < 0 ? prefer_abort(s) : 0;
}

static int finish_round(struct source *s, uint64_t pages)
{
	const struct manifest *ours = sender_manifest(s->sender);
	Drayage__RoundEnd end = DRAYAGE__ROUND_END__INIT;
	Drayage__Manifest m = manifest_to_message(ours);
	Drayage__RoundDone *done;
	struct manifest theirs;

	end.round = s->round;
	end.pages = pages;
	end.manifest = &m;
	if (control_send(s->control, CONTROL_ROUND_END, &end.base, s->err) < 0)
		return -1;
	if (await_placed(s) < 0)
		return -1;
	done = (Drayage__RoundDone *)control_expect(s->control, PLACED_MS, CONTROL_ROUND_DONE, s->err);
	if (!done)
		return -1;
	theirs = manifest_from_message(done->manifest);
	protobuf_c_message_free_unpacked(&done->base, NULL);
	if (sender_settle(s->sender, s->err) < 0)
		return -1;
	if (!manifest_equal(ours, &theirs))
		return err_set(s->err, ERR_MISMATCH, 0, "round %u: the destination placed other pages than were sent", s->round);
	return 0;
}

static uint64_t per_second(uint64_t amount, uint64_t us)
{
	return us ? (uint64_t)((double)amount * 1e6 / (double)us) : 0;
}

/* One round from the collected pages to the destination's word that all are placed. */
static int send_round(struct source *s, bool last, struct round_report *r)
{
	struct progress p = { .round = s->round, .frozen = last, .pages_total = s->collected.runs.data_pages,
			      .pages_left = s->collected.runs.data_pages, .elapsed_us = clock_us() - s->start_us };
	struct sender_stats stats = { 0 };
	uint64_t begin;

	if (layout_build(&s->layout, s->pid, &s->vmas, &s->collected, s->round, last, s->err) < 0 ||
	    (last && layout_add_late(&s->layout, &s->late_runs, s->err) < 0))
		return -1;
	s->monitor.round = s->round;
	s->monitor.frozen = last;
	s->monitor.pages_total = s->collected.runs.data_pages;
	monitor_tell(s, EVENT_ROUND_BEGIN, &p);
	if (expect_ready(s) < 0)
		return -1;
	begin = clock_us();
	if (sender_round(s->sender, s->round, last, &s->collected.runs, &s->layout.zero_ok, &stats, s->err) < 0)
		return prefer_abort(s);
	if (finish_round(s, stats.pages) < 0)
		return -1;
	r->pages = stats.pages;
	r->zero_pages = stats.zero_pages;
	r->drop_pages = drop_pages(&s->collected.runs);
	r->raw_bytes = stats.raw_bytes;
	r->wire_bytes = stats.wire_bytes;
	r->cpu_us = stats.cpu_us;
	r->bandwidth_bytes_per_s = per_second(stats.wire_bytes, clock_us() - begin);
	return 0;
}

/* How fast memory moves. Small rounds measure the round trip, not the link: they don't count. The first round goes in long runs; what is written
 * afterwards is scattered, and until a round of that was seen it is taken to cost SCATTERED_NS a page, if the link is not slower. */
static void learn_bandwidth(struct source *s, const struct round_report *r, uint64_t us)
{
	uint64_t moved = pages_to_bytes(r->pages + r->zero_pages), scattered = DRAY_PAGE_SIZE * UINT64_C(1000000000) / SCATTERED_NS;

	if (moved >= 4u << 20 || s->memory_per_s == 0)
		s->memory_per_s = per_second(moved > 0 ? moved : DRAY_PAGE_SIZE, us);
	if (s->round == 1 && s->memory_per_s > scattered)
		s->memory_per_s = scattered;
	s->monitor.bandwidth = r->bandwidth_bytes_per_s;
}

static int run_round(struct source *s, bool last, struct round_report *r)
{
	uint64_t begin = clock_us(), sending, since = s->last_collect_us;

	*r = (struct round_report){ .round = ++s->round, .last = last };
	if (collect(s, last, r) < 0)
		return -1;
	s->last_collect_us = clock_us();
	if (last && postcopy_hold_back(s) < 0)
		return -1;
	if (last)
		s->report->part.collect_us = s->last_collect_us - begin;
	if (since) {
		r->dirty_bytes_per_s = per_second(pages_to_bytes(s->collected.runs.data_pages), s->last_collect_us - since);
		s->monitor.dirty_rate = r->dirty_bytes_per_s;
	}
	sending = clock_us();
	if (send_round(s, last, r) < 0)
		return err_wrap(s->err, "round %u", s->round);
	learn_bandwidth(s, r, clock_us() - sending);
	r->duration_us = clock_us() - begin;
	return 0;
}

int rounds_look(struct source *s, struct run_list *runs, struct policy_round *now)
{
	uint64_t begin = clock_us();

	if (vma_list_read(&s->vmas, s->pid, VMA_READ_MAPS, s->err) < 0 || look_at_flags(s, false) < 0 ||
	    vma_list_mark_scratch(&s->vmas, s->armed.scratch_start, s->armed.scratch_end) < 0 ||
	    tracker_estimate(s->tracker, &s->vmas, runs, s->err) < 0)
		return -1;
	*now = (struct policy_round){ .round = s->round, .bandwidth = s->memory_per_s, .elapsed_us = begin - s->rounds_start_us,
				      .remaining_bytes = pages_to_bytes(runs->data_pages), .fixed_us = s->fixed_us + (clock_us() - begin) };
	return 0;
}

static int decide(struct source *s, struct policy *policy, struct round_report *r, struct policy_decision *d)
{
	struct run_list runs = { 0 };
	struct policy_round now;

	if (rounds_look(s, &runs, &now) < 0)
		return -1;
	run_list_finish(&runs);
	*d = policy_decide(policy, &now);
	r->predicted_blackout_us = s->report->predicted_blackout_us = d->predicted_us;
	s->monitor.predicted_us = d->predicted_us;
	s->report->stop_reason = d->reason;
	return 0;
}

int rounds_until_freeze(struct source *s)
{
	struct policy policy;
	struct policy_decision d = { .verdict = POLICY_ROUND };
	const struct policy_limits limits = { .downtime_us = s->config->downtime_limit_ms * 1000,
					      .max_rounds = s->config->max_rounds > 1 ? (unsigned)s->config->max_rounds - 1 : 1,
					      .timeout_us = s->config->timeout_ms * 1000, .on_stall = s->config->on_stall };

	policy_init(&policy, &limits);
	s->rounds_start_us = clock_us();
	while (d.verdict == POLICY_ROUND) {
		struct round_report r;

		if (d.pause_us && monitor_pause(s, d.pause_us) < 0)
			return -1;
		if (run_round(s, false, &r) < 0 || decide(s, &policy, &r, &d) < 0)
			return -1;
		migration_report_add(s->report, &r);
		monitor_tell(s, EVENT_ROUND_END, NULL);
		fault_point("source.round", s->control);
		if (s->config->postcopy && d.verdict == POLICY_ROUND) {
			d.verdict = POLICY_FREEZE;
			s->report->stop_reason = "post-copy";
		}
	}
	s->late_wanted = s->config->postcopy || (s->config->on_stall == STALL_POSTCOPY && d.predicted_us > limits.downtime_us);
	if (d.verdict == POLICY_GIVE_UP)
		return err_set(s->err, ERR_LIMIT, 0, "%s (predicted blackout %llu ms, --downtime-limit %llu ms)", d.reason,
			       (unsigned long long)(d.predicted_us / 1000),
			       (unsigned long long)s->config->downtime_limit_ms);
	return 0;
}

int round_frozen(struct source *s)
{
	struct round_report r;
	uint64_t begin = clock_us();

	if (run_round(s, true, &r) < 0)
		return -1;
	s->report->part.last_pages_us = clock_us() - begin - s->report->part.collect_us;
	migration_report_add(s->report, &r);
	monitor_tell(s, EVENT_ROUND_END, NULL);
	return 0;
}
