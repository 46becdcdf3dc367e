/* SPDX-License-Identifier: Apache-2.0 */
/* An event is one line, written at once, whatever a stranger's words in it are and however long; what is below the level is not said; errno stays. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/log.h"

/* In place of standard error: what is written at once comes as one. */
static int heard[2];
static int real_stderr;

static size_t hear(char *line, size_t room)
{
	ssize_t n = recv(heard[1], line, room - 1, MSG_DONTWAIT);

	line[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

static void an_event_is_one_line(void **state)
{
	char line[2000], rest[200];
	int year, day, pid;
	double seconds;

	(void)state;
	log_event(LOG_INFO, "session-begin", "peer=%s name=\"%s\" n=%d", "10.0.0.2:7", "a\nb\033[1m\tc\177\303\244", 7);
	hear(line, sizeof(line));
	assert_int_equal(sscanf(line, "%4d-%*2d-%2dT%*2d:%*2d:%lfZ info tester[%d] %199[^\n]", &year, &day, &seconds, &pid, rest), 5);
	assert_int_equal(pid, getpid());
	assert_string_equal(rest, "session-begin peer=10.0.0.2:7 name=\"a?b?[1m?c?\303\244\" n=7");
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
	assert_int_equal(hear(line, sizeof(line)), 0);
}

/* A value's own quotes would end it, and what stands behind them would pass for a field. */
static void a_quoted_value_ends_where_the_format_says(void **state)
{
	char line[2000];

	(void)state;
	log_event(LOG_INFO, "event", "reason=\"%s\" name=\"%s\"", "it said \"no\" tls=\"none\"", "\"");
	hear(line, sizeof(line));
	assert_non_null(strstr(line, " event reason=\"it said 'no' tls='none'\" name=\"'\"\n"));
	log_event(LOG_INFO, "event", "reason=\"%s\" n=%d", "\001 name=\001root", 7); /* whatever stands for a quote meanwhile */
	hear(line, sizeof(line));
	assert_null(strstr(line, "name=\""));
}

/* JOURNAL_STREAM says which descriptor is the journal's, whoever has inherited it. */
static void the_journal_hears_how_bad_it_is(void **state)
{
	char line[2000], stream[64];
	struct stat st;

	(void)state;
	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_event(LOG_ERROR, "event", "n=%d", 1);
	hear(line, sizeof(line));
	assert_int_equal(strncmp(line, "<3>20", 5), 0);
	log_event(LOG_INFO, "event", "n=%d", 1);
	hear(line, sizeof(line));
	assert_int_equal(strncmp(line, "<6>20", 5), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino + 1);
	setenv("JOURNAL_STREAM", stream, 1);
	log_event(LOG_ERROR, "event", "n=%d", 1);
	hear(line, sizeof(line));
	assert_int_equal(strncmp(line, "20", 2), 0);
	unsetenv("JOURNAL_STREAM");
}

static void what_is_too_long_is_cut(void **state)
{
	char words[5000], line[5000];
	size_t len;

	(void)state;
	memset(words, 'w', sizeof(words));
	words[sizeof(words) - 1] = '\0';
	log_event(LOG_ERROR, "session-failed", "reason=\"%s\"", words);
	len = hear(line, sizeof(line));
	assert_true(len > 1000 && len < 2000);
	assert_ptr_equal(strstr(line, "\"\n"), line + len - 2);
	assert_int_equal(hear(line, sizeof(line)), 0);
}

static void what_nobody_wants_is_not_said(void **state)
{
	char line[200];

	(void)state;
	log_event(LOG_DEBUG, "detail", "n=%d", 1);
	assert_int_equal(hear(line, sizeof(line)), 0);
}

static void errno_stays(void **state)
{
	(void)state;
	errno = ENOSPC;
	log_event(LOG_WARN, "event", "n=%d", 1);
	assert_int_equal(errno, ENOSPC);
	shutdown(heard[0], SHUT_WR); /* nobody hears it */
	log_event(LOG_WARN, "event", "n=%d", 1);
	assert_int_equal(errno, ENOSPC);
}

static int listen_in(void **state)
{
	(void)state;
	log_set_level(LOG_INFO);
	log_set_role("tester");
	real_stderr = dup(STDERR_FILENO);
	return real_stderr < 0 || socketpair(AF_UNIX, SOCK_DGRAM, 0, heard) < 0 || dup2(heard[0], STDERR_FILENO) < 0 ? -1 : 0;
}

static int listen_no_more(void **state)
{
	(void)state;
	close(heard[0]);
	close(heard[1]);
	return dup2(real_stderr, STDERR_FILENO) < 0 ? -1 : close(real_stderr);
}

#define HEARD(f) cmocka_unit_test_setup_teardown(f, listen_in, listen_no_more)

int main(void)
{
	const struct CMUnitTest tests[] = {
		HEARD(an_event_is_one_line),
		HEARD(a_quoted_value_ends_where_the_format_says),
		HEARD(the_journal_hears_how_bad_it_is),
		HEARD(what_is_too_long_is_cut),
		HEARD(what_nobody_wants_is_not_said),
		HEARD(errno_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
