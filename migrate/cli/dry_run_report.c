/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/cli/dry_run_report.h"

#include <inttypes.h>

#include "migrate/cli/human.h"
#include "proto/base/json.h"

void dry_run_print(const struct migrate_config *c, const struct dry_run *d, FILE *out)
{
	fprintf(out, "%s: %s (%" PRIu64 "), %zu thread%s, %zu mappings, %s of memory, tracker %s\n", d->obstacles.count ? "would not move" : "would move",
		d->comm, c->pid, d->threads, d->threads == 1 ? "" : "s", d->mappings, human_bytes(d->present_bytes).text, d->tracker);
	if (d->shared_bytes)
		fprintf(out, "shared memory: %s, part of which may travel again inside the freeze\n", human_bytes(d->shared_bytes).text);
	fprintf(out, "dirty rate: %s (%" PRIu64 " of %" PRIu64 " sampled pages changed within a second)\n",
		human_rate(d->dirty_bytes_per_s).text, d->changed_pages, d->sampled_pages);
	fprintf(out, "at %s (%s): ", human_rate(d->assumed_bytes_per_s).text, c->max_bandwidth ? "--max-bandwidth" : "assumed");
	if (d->converges)
		fprintf(out, "%u rounds, blackout about %s\n", d->predicted_rounds, human_time(d->predicted_blackout_us).text);
	else
		fprintf(out, "memory changes too fast for --downtime-limit %" PRIu64 " ms: blackout about %s after %u rounds\n",
			c->downtime_limit_ms, human_time(d->predicted_blackout_us).text, d->predicted_rounds);
	for (size_t i = 0; i < d->obstacles.count; i++) {
		const struct obstacle *o = &d->obstacles.v[i];

		fprintf(out, "in the way: %s%s%s%s\n", o->what, o->way_out[0] ? " (would go with " : "", o->way_out,
			o->way_out[0] ? ")" : "");
	}
	if (d->obstacles.count == 0)
		fprintf(out, "nothing stands in the way\n");
}

int dry_run_json(const struct migrate_config *c, const struct dry_run *d, FILE *out)
{
	struct json j;

	json_begin(&j, out);
	json_object_open(&j, NULL);
	json_string(&j, "event", "dry-run");
	json_u64(&j, "pid", c->pid);
	json_string(&j, "comm", d->comm);
	json_string(&j, "destination", c->destination);
	json_string(&j, "tracker", d->tracker);
	json_u64(&j, "threads", d->threads);
	json_u64(&j, "mappings", d->mappings);
	json_u64(&j, "present_bytes", d->present_bytes);
	json_u64(&j, "shared_bytes", d->shared_bytes);
	json_u64(&j, "sampled_pages", d->sampled_pages);
	json_u64(&j, "changed_pages", d->changed_pages);
	json_u64(&j, "dirty_bytes_per_s", d->dirty_bytes_per_s);
	json_u64(&j, "assumed_bytes_per_s", d->assumed_bytes_per_s);
	json_bool(&j, "converges", d->converges);
	json_u64(&j, "predicted_rounds", d->predicted_rounds);
	json_ms(&j, "predicted_blackout_ms", d->predicted_blackout_us);
	json_array_open(&j, "obstacles");
	for (size_t i = 0; i < d->obstacles.count; i++) {
		json_object_open(&j, NULL);
		json_string(&j, "what", d->obstacles.v[i].what);
		json_string(&j, "way_out", d->obstacles.v[i].way_out[0] ? d->obstacles.v[i].way_out : NULL);
		json_object_close(&j);
	}
	json_array_close(&j);
	json_object_close(&j);
	return json_end(&j);
}
