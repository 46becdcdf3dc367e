/* SPDX-License-Identifier: Apache-2.0 */
/* What a migration did is shown as it was: the live line fits its terminal, the table has a row a round, the JSON is valid and whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/cli/human.h"
#include "migrate/cli/report.h"
#include "migrate/cli/ui.h"

static const struct progress half = { .round = 3, .pages_total = 60416, .pages_left = 30208, .dirty_bytes_per_s = 50u << 20,
				      .bandwidth_bytes_per_s = 2ull << 30, .predicted_blackout_us = 31000, .elapsed_us = 1 };

static void sample(struct migration_report *r)
{
	memset(r, 0, sizeof(*r));
	snprintf(r->id, sizeof(r->id), "00112233445566778899aabbccddeeff");
	snprintf(r->comm, sizeof(r->comm), "re\"dis\xff");
	snprintf(r->destination, sizeof(r->destination), "10.0.0.2:7077");
	r->pid = r->destination_pid = 41;
	r->outcome = MIGRATION_MOVED;
	r->tracker = "wp-async";
	r->engine = "native";
	r->extract = "splice";
	r->compress = "none";
	r->stop_reason = "within the limit";
	r->streams = 2;
	migration_report_add(r, &(struct round_report){ .round = 1, .pages = 1000, .raw_bytes = 4096000, .wire_bytes = 2048000,
							.zero_pages = 7, .duration_us = 1500000, .predicted_blackout_us = 9000 });
	migration_report_add(r, &(struct round_report){ .round = 2, .last = true, .pages = 10, .raw_bytes = 40960, .wire_bytes = 41000,
							.stop_us = 12345, .duration_us = 900 });
	r->blackout_us = 23100;
	r->predicted_blackout_us = 9000;
	r->part.rebuild_us = 8000;
	r->total_us = 1600000;
}

static void numbers_read_well(void **state)
{
	(void)state;
	assert_string_equal(human_bytes(0).text, "0 B");
	assert_string_equal(human_bytes(1023).text, "1023 B");
	assert_string_equal(human_bytes(1024).text, "1.00 KiB");
	assert_string_equal(human_bytes((1u << 20) - 1).text, "1.00 MiB");
	assert_string_equal(human_bytes(1300000000).text, "1.21 GiB");
	assert_string_equal(human_bytes(UINT64_MAX).text, "16.0 EiB");
	assert_string_equal(human_rate(52428800).text, "50.0 MiB/s");
	assert_string_equal(human_time(999).text, "999 us");
	assert_string_equal(human_time(23100).text, "23.1 ms");
	assert_string_equal(human_time(999499).text, "999 ms");
	assert_string_equal(human_time(999500).text, "1.00 s");
	assert_string_equal(human_time(200000000).text, "3 m 20 s");
}

static void the_line_says_all_where_there_is_room(void **state)
{
	char line[200];

	(void)state;
	progress_format(&half, 120, line, sizeof(line));
	assert_string_equal(line, "round 3  [###############---------------]   50 %  118 MiB left  dirty 50.0 MiB/s  link 2.00 GiB/s"
				  "  blackout 31.0 ms");
}

static void the_line_never_exceeds_the_terminal(void **state)
{
	const struct progress worst = { .round = 255, .frozen = false, .pages_total = UINT64_MAX, .pages_left = UINT64_MAX,
					.dirty_bytes_per_s = UINT64_MAX, .bandwidth_bytes_per_s = UINT64_MAX,
					.predicted_blackout_us = UINT64_MAX };
	const struct progress *const each[] = { &half, &worst };
	char line[400];

	(void)state;
	for (unsigned width = 0; width < 300; width++) {
		for (size_t i = 0; i < 2; i++) {
			size_t len = progress_format(each[i], width, line, sizeof(line));

			assert_int_equal(len, strlen(line));
			assert_true(len <= width && len <= PROGRESS_MAX_WIDTH);
		}
		progress_format(&half, width, line, 10); /* a small buffer is kept to */
		assert_true(strlen(line) < 10);
	}
}

static void a_round_without_pages_is_full(void **state)
{
	const struct progress none = { .round = 2 }, odd = { .pages_total = 3, .pages_left = 9 };

	(void)state;
	assert_true(progress_fraction(&none) == 1.0);
	assert_true(progress_fraction(&odd) == 0.0);
}

/* What a terminal shows comes in pieces: reads until it ends with `end`, or nothing comes any more. */
static void read_until(int master, const char *end, char *seen, size_t size)
{
	struct pollfd p = { .fd = master, .events = POLLIN };
	size_t have = 0;

	while ((have < strlen(end) || strcmp(seen + have - strlen(end), end) != 0) && poll(&p, 1, 5000) > 0) {
		ssize_t n = read(master, seen + have, size - 1 - have);

		if (n <= 0)
			return;
		have += (size_t)n;
		seen[have] = '\0';
	}
}

static void the_live_line_is_redrawn_on_a_terminal_and_cleared(void **state)
{
	struct winsize size = { .ws_col = 60, .ws_row = 10 };
	char seen[1024] = "";
	struct migration_report r;
	struct observer o;
	struct ui u;
	int master, slave;
	FILE *err;

	(void)state;
	assert_int_equal(openpty(&master, &slave, NULL, NULL, &size), 0);
	setenv("TERM", "xterm", 1);
	err = fdopen(slave, "w");
	sample(&r);
	ui_init(&u, false, fopen("/dev/null", "w"), err);
	o = ui_observer(&u);
	observe(&o, EVENT_PROGRESS, &r, &half);
	observe(&o, EVENT_END, &r, NULL);
	read_until(master, "\r\033[K", seen, sizeof(seen));
	assert_true(strlen(seen) > 4);
	assert_non_null(strstr(seen, "\rround 3  "));
	assert_non_null(strstr(seen, "50 %"));
	assert_string_equal(seen + strlen(seen) - 4, "\r\033[K");
	assert_null(strchr(seen, '\n'));
	fclose(u.out);
	fclose(err);
	close(master);
}

static void elsewhere_each_round_is_a_line_and_the_table_follows(void **state)
{
	char err_text[4096] = "", out_text[8192] = "";
	FILE *err = tmpfile(), *out = tmpfile();
	struct migration_report r;
	struct observer o;
	struct ui u;

	(void)state;
	sample(&r);
	ui_init(&u, false, out, err);
	o = ui_observer(&u);
	observe(&o, EVENT_PROGRESS, &r, &half);
	observe(&o, EVENT_ROUND_END, &r, NULL);
	observe(&o, EVENT_END, &r, NULL);
	rewind(err);
	rewind(out);
	assert_true(fread(err_text, 1, sizeof(err_text) - 1, err) > 0);
	assert_true(fread(out_text, 1, sizeof(out_text) - 1, out) > 0);
	assert_string_equal(err_text, "last round 2: 10 pages, 40.0 KiB on the wire in 900 us, stopped 12.3 ms\n");
	assert_non_null(strstr(out_text, "     1       1000        2.0   2.00      1.500"));
	assert_non_null(strstr(out_text, "  last         10"));
	assert_non_null(strstr(out_text, "lives at 10.0.0.2:7077 as 41, after 1.60 s"));
	assert_non_null(strstr(out_text, "blackout 23.1 ms (predicted 9.00 ms)"));
	fclose(err);
	fclose(out);
}

static void a_failure_says_where_the_process_is(void **state)
{
	static const struct { enum migration_outcome outcome; bool found; const char *words; } cases[] = {
		{ MIGRATION_ABORTED, true, "runs on here" }, { MIGRATION_CANCELLED, true, "runs on here" },
		{ MIGRATION_UNDECIDED, true, "dray recover 00112233445566778899aabbccddeeff" }, { MIGRATION_GONE, true, "ended before" },
		{ MIGRATION_GONE, false, "there is no process" },
	};
	static struct migration_report r;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[2048] = "";
		FILE *out = fmemopen(text, sizeof(text), "w");

		memset(&r, 0, sizeof(r));
		snprintf(r.id, sizeof(r.id), "00112233445566778899aabbccddeeff");
		r.outcome = cases[i].outcome;
		r.found = cases[i].found;
		report_print_table(&r, out);
		fclose(out);
		assert_non_null(strstr(text, cases[i].words));
	}
}

static int run_python(const char *script, const char *path)
{
	char command[1400];
	int status;

	snprintf(command, sizeof(command), "python3 -c '%s' < %s", script, path);
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static void every_event_is_one_valid_json_line(void **state)
{
	static const char script[] =
		"import json,sys\n"
		"lines=[json.loads(l) for l in sys.stdin]\n"
		"assert len(lines)==12, lines\n"
		"last=lines[-1]\n"
		"for key in \"outcome tracker engine rounds pages bytes_on_wire compression_ratio blackout_ms "
		"predicted_blackout_ms total_ms error\".split(): assert key in last, key\n"
		"assert last[\"pages\"]==1010 and len(last[\"rounds\"])==2 and last[\"blackout_ms\"]==23.1\n"
		"assert last[\"error\"]=={\"kind\":\"peer\",\"text\":\"cut \\\"short\\\"\"}\n"
		"assert lines[4][\"round\"]==2 and lines[4][\"stop_ms\"]==12.345\n"
		"assert lines[3][\"fraction\"]==0.5\n";
	char path[] = "/tmp/dray-report-XXXXXX";
	FILE *out = fdopen(mkstemp(path), "w");
	struct migration_report r;
	struct observer o;
	struct ui u;
	int rc;

	(void)state;
	sample(&r);
	r.error.kind = ERR_PEER;
	snprintf(r.error.text, sizeof(r.error.text), "cut \"short\"");
	ui_init(&u, true, out, stderr);
	o = ui_observer(&u);
	for (int event = 0; event < MIGRATION_EVENTS; event++)
		observe(&o, (enum migration_event)event, &r, event == EVENT_PROGRESS || event == EVENT_ROUND_BEGIN ? &half : NULL);
	fclose(out);
	rc = run_python(script, path);
	unlink(path);
	if (rc == 127)
		skip();
	assert_int_equal(rc, 0);
}

static void rounds_beyond_the_table_still_count(void **state)
{
	static struct migration_report r;

	(void)state;
	for (unsigned i = 0; i < REPORT_MAX_ROUNDS + 5; i++)
		migration_report_add(&r, &(struct round_report){ .round = i + 1, .pages = 1 });
	assert_int_equal(r.rounds, REPORT_MAX_ROUNDS);
	assert_int_equal(r.pages, REPORT_MAX_ROUNDS + 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_read_well),
		cmocka_unit_test(the_line_says_all_where_there_is_room),
		cmocka_unit_test(the_line_never_exceeds_the_terminal),
		cmocka_unit_test(a_round_without_pages_is_full),
		cmocka_unit_test(the_live_line_is_redrawn_on_a_terminal_and_cleared),
		cmocka_unit_test(elsewhere_each_round_is_a_line_and_the_table_follows),
		cmocka_unit_test(a_failure_says_where_the_process_is),
		cmocka_unit_test(every_event_is_one_valid_json_line),
		cmocka_unit_test(rounds_beyond_the_table_still_count),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
