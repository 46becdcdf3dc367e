/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/cli/report.h"

#include <inttypes.h>
#include <string.h>

#include "migrate/cli/human.h"
#include "migrate/cli/progress.h"
#include "proto/base/json.h"

void report_print_round(const struct round_report *r, FILE *out)
{
	fprintf(out, "%s %u: %" PRIu64 " pages, %s on the wire in %s", r->last ? "last round" : "round", r->round, r->pages,
		human_bytes(r->wire_bytes).text, human_time(r->duration_us).text);
	if (r->bandwidth_bytes_per_s)
		fprintf(out, ", %s", human_rate(r->bandwidth_bytes_per_s).text);
	if (r->stop_us)
		fprintf(out, ", stopped %s", human_time(r->stop_us).text);
	if (r->predicted_blackout_us)
		fprintf(out, ", predicted blackout %s", human_time(r->predicted_blackout_us).text);
	putc('\n', out);
	fflush(out);
}

static double ratio(uint64_t raw, uint64_t wire)
{
	return wire ? (double)raw / (double)wire : 1;
}

static double mib(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

static void print_rounds(const struct migration_report *r, FILE *out)
{
	fprintf(out, "%6s %10s %10s %6s %10s %10s %12s %9s\n", "round", "pages", "MiB sent", "ratio", "seconds", "MiB/s", "dirty MiB/s",
		"stop ms");
	for (size_t i = 0; i < r->rounds; i++) {
		const struct round_report *a = &r->round[i];
		char name[16];

		snprintf(name, sizeof(name), "%u", a->round);
		fprintf(out, "%6s %10" PRIu64 " %10.1f %6.2f %10.3f %10.1f %12.1f %9.1f\n", a->last ? "last" : name, a->pages,
			mib(a->wire_bytes), ratio(a->raw_bytes, a->wire_bytes), (double)a->duration_us / 1e6,
			mib(a->bandwidth_bytes_per_s), mib(a->dirty_bytes_per_s), (double)a->stop_us / 1e3);
	}
}

static void print_outcome(const struct migration_report *r, FILE *out)
{
	struct human total = human_time(r->total_us);
	const char *name = r->comm[0] ? r->comm : "process";

	switch (r->outcome) {
	case MIGRATION_MOVED:
		fprintf(out, "moved: %s (%d) lives at %s", name, (int)r->pid, r->destination);
		if (r->destination_pid)
			fprintf(out, " as %d", (int)r->destination_pid);
		fprintf(out, ", after %s%s\n", total.text, r->kept_source ? "; the original is kept here, stopped" : "");
		return;
	case MIGRATION_UNDECIDED:
		fprintf(out, "undecided: %s (%d) stays frozen until %s says whether it runs there: dray recover %s\n", name, (int)r->pid,
			r->destination, r->id);
		return;
	case MIGRATION_GONE:
		if (r->found)
			fprintf(out, "gone: %s (%d) ended before it could move, after %s\n", name, (int)r->pid, total.text);
		else
			fprintf(out, "gone: there is no process %d\n", (int)r->pid);
		return;
	case MIGRATION_UNFINISHED:
	case MIGRATION_ABORTED:
	case MIGRATION_CANCELLED:
	case MIGRATION_OUTCOMES:
		fprintf(out, "%s: %s (%d) runs on here, after %s\n", migration_outcome_name(r->outcome), name, (int)r->pid, total.text);
		return;
	}
}

static void print_blackout(const struct migration_report *r, FILE *out)
{
	const struct blackout_parts *p = &r->part;

	fprintf(out, "blackout %s", human_time(r->blackout_us).text);
	if (r->predicted_blackout_us)
		fprintf(out, " (predicted %s)", human_time(r->predicted_blackout_us).text);
	fprintf(out, ": freeze %s, collect %s, last pages %s, capture %s, rebuild %s, commit %s\n", human_time(p->freeze_us).text,
		human_time(p->collect_us).text, human_time(p->last_pages_us).text, human_time(p->capture_us).text,
		human_time(p->rebuild_us).text, human_time(p->commit_us).text);
	if (r->late_us)
		fprintf(out, "post-copy: %" PRIu64 " pages in %s, %" PRIu64 " of them waited for\n", r->late_pages, human_time(r->late_us).text,
			r->late_faults);
	if (r->verified)
		fprintf(out, "verified: every byte equal, %s of the blackout\n", human_time(r->verify_us).text);
}

static void print_means(const struct migration_report *r, FILE *out)
{
	fprintf(out, "tracker %s, engine %s, extract %s, compress %s, %u stream%s", r->tracker, r->engine ? r->engine : "none", r->extract,
		r->compress ? r->compress : "none", r->streams, r->streams == 1 ? "" : "s");
	if (r->tls && strcmp(r->tls, "none") != 0)
		fprintf(out, ", TLS by the %s", r->tls);
	if (r->reconnections)
		fprintf(out, ", reconnected %" PRIu64 " time%s", r->reconnections, r->reconnections == 1 ? "" : "s");
	if (r->stop_reason)
		fprintf(out, "; rounds ended: %s", r->stop_reason);
	if (r->arm_stopped_us)
		fprintf(out, "; stopped %s at the start", human_time(r->arm_stopped_us).text);
	putc('\n', out);
}

static void print_volume(const struct migration_report *r, FILE *out)
{
	fprintf(out, "sent %s for %s of pages (ratio %.2f)", human_bytes(r->wire_bytes).text, human_bytes(r->raw_bytes).text,
		ratio(r->raw_bytes, r->wire_bytes));
	if (r->zero_pages)
		fprintf(out, ", %" PRIu64 " zero pages left out", r->zero_pages);
	if (r->raw_bytes)
		fprintf(out, ", sender CPU %.3f s/GB", (double)r->cpu_us * 1e3 / (double)r->raw_bytes);
	putc('\n', out);
}

void report_print_table(const struct migration_report *r, FILE *out)
{
	if (r->rounds) {
		print_rounds(r, out);
		print_volume(r, out);
	}
	if (r->tracker && r->extract)
		print_means(r, out);
	if (r->blackout_us)
		print_blackout(r, out);
	print_outcome(r, out);
	fflush(out);
}

static void json_round(struct json *j, const struct round_report *a)
{
	json_u64(j, "round", a->round);
	json_bool(j, "last", a->last);
	json_u64(j, "pages", a->pages);
	json_u64(j, "zero_pages", a->zero_pages);
	json_u64(j, "drop_pages", a->drop_pages);
	json_u64(j, "bytes", a->raw_bytes);
	json_u64(j, "bytes_on_wire", a->wire_bytes);
	json_real(j, "compression_ratio", ratio(a->raw_bytes, a->wire_bytes), 3);
	json_ms(j, "duration_ms", a->duration_us);
	json_ms(j, "stop_ms", a->stop_us);
	json_ms(j, "cpu_ms", a->cpu_us);
	json_u64(j, "dirty_bytes_per_s", a->dirty_bytes_per_s);
	json_u64(j, "bandwidth_bytes_per_s", a->bandwidth_bytes_per_s);
	json_ms(j, "predicted_blackout_ms", a->predicted_blackout_us);
}

static void json_identity(struct json *j, const struct migration_report *r)
{
	json_string(j, "id", r->id);
	json_i64(j, "pid", r->pid);
	json_string(j, "comm", r->comm);
	json_string(j, "destination", r->destination);
	json_string(j, "tracker", r->tracker);
	json_string(j, "engine", r->engine);
	json_string(j, "extract", r->extract);
	json_string(j, "compress", r->compress);
	json_string(j, "tls", r->tls);
	json_u64(j, "streams", r->streams);
}

static void json_progress(struct json *j, const struct progress *p)
{
	json_u64(j, "round", p->round);
	json_bool(j, "last", p->frozen);
	json_bool(j, "late", p->late);
	json_u64(j, "pages_total", p->pages_total);
	json_u64(j, "pages_left", p->pages_left);
	json_real(j, "fraction", progress_fraction(p), 4);
	json_u64(j, "bytes_on_wire", p->wire_bytes);
	json_u64(j, "dirty_bytes_per_s", p->dirty_bytes_per_s);
	json_u64(j, "bandwidth_bytes_per_s", p->bandwidth_bytes_per_s);
	json_ms(j, "predicted_blackout_ms", p->predicted_blackout_us);
	json_ms(j, "elapsed_ms", p->elapsed_us);
}

static void json_blackout(struct json *j, const struct migration_report *r)
{
	json_ms(j, "blackout_ms", r->blackout_us);
	json_ms(j, "predicted_blackout_ms", r->predicted_blackout_us);
	json_object_open(j, "blackout");
	json_ms(j, "freeze_ms", r->part.freeze_us);
	json_ms(j, "collect_ms", r->part.collect_us);
	json_ms(j, "last_pages_ms", r->part.last_pages_us);
	json_ms(j, "capture_ms", r->part.capture_us);
	json_ms(j, "rebuild_ms", r->part.rebuild_us);
	json_ms(j, "commit_ms", r->part.commit_us);
	json_object_close(j);
}

static void json_late(struct json *j, const struct migration_report *r)
{
	json_u64(j, "late_pages", r->late_pages);
	json_u64(j, "late_faults", r->late_faults);
	json_ms(j, "late_ms", r->late_us);
}

static void json_result(struct json *j, const struct migration_report *r)
{
	json_string(j, "outcome", migration_outcome_name(r->outcome));
	json_identity(j, r);
	json_i64(j, "destination_pid", r->destination_pid);
	json_array_open(j, "rounds");
	for (size_t i = 0; i < r->rounds; i++) {
		json_object_open(j, NULL);
		json_round(j, &r->round[i]);
		json_object_close(j);
	}
	json_array_close(j);
	json_string(j, "stop_reason", r->stop_reason);
	json_u64(j, "pages", r->pages);
	json_u64(j, "zero_pages", r->zero_pages);
	json_u64(j, "drop_pages", r->drop_pages);
	json_u64(j, "bytes", r->raw_bytes);
	json_u64(j, "bytes_on_wire", r->wire_bytes);
	json_real(j, "compression_ratio", ratio(r->raw_bytes, r->wire_bytes), 3);
	json_ms(j, "cpu_ms", r->cpu_us);
	json_u64(j, "reconnections", r->reconnections);
	json_ms(j, "arm_stopped_ms", r->arm_stopped_us);
	json_blackout(j, r);
	json_late(j, r);
	json_bool(j, "kept_source", r->kept_source);
	json_bool(j, "verified", r->verified);
	json_ms(j, "verify_ms", r->verify_us);
	json_ms(j, "total_ms", r->total_us);
	if (err_is_set(&r->error)) {
		json_object_open(j, "error");
		json_string(j, "kind", err_kind_name(r->error.kind));
		json_string(j, "text", r->error.text);
		json_object_close(j);
	}
}

static void json_details(struct json *j, enum migration_event event, const struct migration_report *r, const struct progress *p)
{
	switch (event) {
	case EVENT_START:
		json_identity(j, r);
		break;
	case EVENT_ARMED:
		json_ms(j, "stopped_ms", r->arm_stopped_us);
		break;
	case EVENT_ROUND_BEGIN:
	case EVENT_PROGRESS:
		if (p)
			json_progress(j, p);
		break;
	case EVENT_ROUND_END:
		if (r->rounds)
			json_round(j, &r->round[r->rounds - 1]);
		break;
	case EVENT_FREEZE:
		json_ms(j, "predicted_blackout_ms", r->predicted_blackout_us);
		json_string(j, "stop_reason", r->stop_reason);
		break;
	case EVENT_END:
		json_result(j, r);
		break;
	case EVENT_LATE:
		json_late(j, r);
		break;
	case EVENT_PREPARED:
	case EVENT_COMMIT:
	case EVENT_RUNNING:
	case EVENT_THAW:
	case MIGRATION_EVENTS:
		break;
	}
}

int report_json_event(enum migration_event event, const struct migration_report *r, const struct progress *p, FILE *out)
{
	struct json j;

	json_begin(&j, out);
	json_object_open(&j, NULL);
	json_string(&j, "event", migration_event_name(event));
	json_details(&j, event, r, p);
	json_object_close(&j);
	return json_end(&j);
}
