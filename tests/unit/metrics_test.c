/* SPDX-License-Identifier: Apache-2.0 */
/* Processes add to the same metrics and nothing is lost, what one counted before it was killed stays; what strangers are called breaks no line;
 * the status that is printed is the one that is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "migrate/cli/status.h"
#include "proto/base/metrics.h"

enum { PROCESSES = 4, TIMES = 20000 };

static struct metrics *create(enum metric_daemon d)
{
	struct err e;
	struct metrics *m = metrics_create(d, &e);

	assert_non_null(m);
	return m;
}

static void nothing_is_lost_between_processes(void **state)
{
	struct metrics *m = create(DAEMON_PAGE_SERVER);
	pid_t pid[PROCESSES];

	(void)state;
	for (int i = 0; i < PROCESSES; i++) {
		pid[i] = fork();
		if (pid[i] == 0) {
			for (int k = 0; k < TIMES; k++) {
				metrics_add(m, METRIC_PS_PAGES, 0, 3);
				metrics_observe(m, METRIC_PS_QUESTIONS, 70);
			}
			raise(SIGKILL);
		}
	}
	for (int i = 0; i < PROCESSES; i++)
		assert_int_equal(waitpid(pid[i], NULL, 0), pid[i]);
	assert_int_equal(metrics_get(m, METRIC_PS_PAGES, 0), 3 * PROCESSES * TIMES);
	assert_int_equal(metrics_get(m, METRIC_PS_QUESTIONS, 2), PROCESSES * TIMES); /* 50 to 100 us */
	metrics_destroy(m);
}

static char *text_of(struct metrics *m, void (*print)(struct metrics *m, FILE *out))
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	print(m, out);
	fclose(out);
	return text;
}

static void what_is_printed_is_read(void **state)
{
	struct metrics *m = create(DAEMON_AGENT);
	struct session_row *row = metrics_row_begin(m, 4, "a\tb\nc", "dir\x7f");
	struct status s;
	struct err e;
	char *text;

	(void)state;
	row->pages = 5;
	row->bytes = 1000;
	row->deadline_us = row->start_us + 3600 * 1000000ull;
	session_row_phase(row, PHASE_LATE_PAGES);
	metrics_set(m, METRIC_MIG_RUNNING, 1);
	metrics_add(m, METRIC_MIG_ENDED, METRIC_SUCCESS, 2);
	metrics_add(m, METRIC_MIG_ENDED, METRIC_KILLED, 1);
	metrics_add(m, METRIC_MIG_ENDED, ERR_PEER, 1);
	text = text_of(m, metrics_print_status);
	assert_int_equal(status_parse(text, &s, &e), 0);
	assert_string_equal(s.daemon, "agent");
	assert_int_equal(s.pid, getpid());
	assert_int_equal(s.running, 1);
	assert_int_equal(s.succeeded, 2);
	assert_int_equal(s.failed, 2);
	assert_int_equal(s.sessions, 1);
	assert_int_equal(s.session[0].number, 4);
	assert_string_equal(s.session[0].peer, "a?b?c");
	assert_string_equal(s.session[0].dir, "dir?");
	assert_string_equal(s.session[0].state, "late-pages");
	assert_int_equal(s.session[0].pages, 5);
	assert_int_equal(s.session[0].bytes, 1000);
	assert_true(s.session[0].has_deadline && s.session[0].left_us > 0);
	status_finish(&s);
	free(text);
	metrics_row_end(row);
	text = text_of(m, metrics_print_status);
	assert_int_equal(status_parse(text, &s, &e), 0);
	assert_int_equal(s.sessions, 0);
	status_finish(&s);
	free(text);
	metrics_destroy(m);
}

static char *shown(const struct status *s, void (*print)(const struct status *s, FILE *out))
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	print(s, out);
	fclose(out);
	return text;
}

/* Neither a session that writes its row itself nor a daemon that is none of ours gets at the reader's terminal. */
static void a_hostile_name_stays_a_field(void **state)
{
	struct metrics *m = create(DAEMON_PAGE_SERVER);
	struct session_row *row = metrics_row_begin(m, 1, "peer", "dir");
	char *text, *page, daemon[] = "server\t\033[2J\t1\t2\t3\t4\t5\nsession\t1\t\"a\"\t\033]0;x\a\t1\t2\t3\t-\t\302\2331m\\\n";
	struct status s;
	struct err e;

	(void)state;
	strcpy(row->peer, "a\tb\nsession\t2\033[1m");
	memset(row->dir, '"', sizeof(row->dir)); /* no end in it */
	text = text_of(m, metrics_print_status);
	assert_int_equal(status_parse(text, &s, &e), 0);
	assert_int_equal(s.sessions, 1);
	assert_string_equal(s.session[0].peer, "a?b?session?2?[1m");
	assert_int_equal(strlen(s.session[0].dir), ROW_DIR_MAX - 1);
	status_finish(&s);
	free(text);
	assert_int_equal(status_parse(daemon, &s, &e), 0);
	page = shown(&s, status_print);
	assert_null(strpbrk(page, "\033\a"));
	assert_null(strstr(page, "\302\233"));
	free(page);
	page = shown(&s, status_print_json);
	assert_non_null(strstr(page, "\"peer\":\"\\\"a\\\"\",\"state\":\"?]0;x?\""));
	assert_non_null(strstr(page, "\"directory\":\"??1m\\\\\""));
	free(page);
	status_finish(&s);
	metrics_destroy(m);
}

static void no_label_needs_an_escape(void **state)
{
	for (int d = DAEMON_PAGE_SERVER; d <= DAEMON_AGENT; d++) {
		struct metrics *m = create((enum metric_daemon)d);
		char *text, *line, *at;

		(void)state;
		metrics_row_begin(m, 1, "\"\n", "\\");
		at = text = text_of(m, metrics_print);
		while ((line = strsep(&at, "\n"))) {
			char *label = strchr(line, '{');

			assert_null(strchr(line, '\\'));
			if (line[0] == '#' || !label)
				continue;
			label = strchr(label, '"') + 1;
			label += strspn(label, "abcdefghijklmnopqrstuvwxyz0123456789-_+.If");
			assert_memory_equal(label, "\"} ", 3);
		}
		free(text);
		metrics_destroy(m);
	}
}

static void another_text_is_no_status(void **state)
{
	static const char *const texts[] = { "", "x", "server\n", "server\tagent\t1\t2\t3\t4\n", "server\tagent\t1\t2\t3\t4\tx\n",
					     "server\tagent\t1\t2\t3\t4\t5\nsession\t1\n", "server\tagent\t1\t2\t3\t4\t5\t6\t7\t8\t9\t10\n" };

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char *text = strdup(texts[i]);
		struct status s;
		struct err e;

		assert_int_equal(status_parse(text, &s, &e), -1);
		assert_int_equal(e.kind, ERR_PROTOCOL);
		status_finish(&s);
		free(text);
	}
}

static void rows_run_out_and_come_back(void **state)
{
	struct metrics *m = create(DAEMON_PAGE_SERVER);
	struct session_row *first = metrics_row_begin(m, 0, "", "");

	(void)state;
	for (unsigned i = 1; i < ROWS_MAX; i++)
		assert_non_null(metrics_row_begin(m, i, "", ""));
	assert_null(metrics_row_begin(m, ROWS_MAX, "", ""));
	metrics_row_end(first);
	assert_ptr_equal(metrics_row_begin(m, ROWS_MAX, "", ""), first);
	metrics_row_end(NULL);
	session_row_phase(NULL, PHASE_WRITING);
	metrics_add(NULL, METRIC_PS_PAGES, 0, 1);
	metrics_destroy(m);
}

static void a_session_goes_on_in_another_daemons_memory(void **state)
{
	struct metrics *old = create(DAEMON_AGENT), *new = create(DAEMON_AGENT), *joined;
	struct session_row *was = metrics_row_begin(old, 1, "peer", "id"), *is;
	int nothing[2];

	(void)state;
	was->pages = 5;
	was->start_us = 7;
	metrics_row_begin(new, 1, "another", "id");
	is = metrics_row_begin(new, 2, "peer", "id");
	assert_int_equal(metrics_row_index(new, is), 1);
	joined = metrics_attach(dup(metrics_fd(new)));
	assert_non_null(joined);
	assert_ptr_not_equal(joined, new);
	session_row_continue(metrics_row(joined, 1), was);
	metrics_add(joined, METRIC_MIG_PAGES, 0, 3);
	metrics_destroy(old);
	metrics_destroy(joined);
	assert_int_equal(is->pages, 5);
	assert_int_equal(is->start_us, 7);
	assert_int_equal(metrics_get(new, METRIC_MIG_PAGES, 0), 3);
	assert_null(metrics_row(new, metrics_row_index(new, NULL)));
	assert_int_equal(pipe(nothing), 0);
	assert_null(metrics_attach(nothing[0]));
	assert_null(metrics_attach(-1));
	close(nothing[1]);
	metrics_destroy(new);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_lost_between_processes),
		cmocka_unit_test(what_is_printed_is_read),
		cmocka_unit_test(a_hostile_name_stays_a_field),
		cmocka_unit_test(no_label_needs_an_escape),
		cmocka_unit_test(another_text_is_no_status),
		cmocka_unit_test(rows_run_out_and_come_back),
		cmocka_unit_test(a_session_goes_on_in_another_daemons_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
