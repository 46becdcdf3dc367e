/* SPDX-License-Identifier: Apache-2.0 */
/* An event is one line, written at once, and a stranger's words in it are one value, whatever they are and however long; what is below the level is not said; errno stays. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
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
	assert_string_equal(rest, "session-begin peer=10.0.0.2:7 name=\"a\\nb\\x1b[1m\\tc\\x7f\303\244\" n=7");
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
	assert_int_equal(hear(line, sizeof(line)), 0);
}

/* Session names, peers and reasons that want to be more than a value. */
static void a_strangers_words_are_one_value(void **state)
{
	static const struct { const char *word, *bare, *quoted; } words[] = {
		{ "10.0.0.2:7", "10.0.0.2:7", "\"10.0.0.2:7\"" },
		{ "", "", "\"\"" },
		{ "a=b", "a=b", "\"a=b\"" },
		{ "x ok=1", "\"x ok=1\"", "\"x ok=1\"" },
		{ "x\" ok=\"1", "\"x\\\" ok=\\\"1\"", "\"x\\\" ok=\\\"1\"" },
		{ "\"", "\"\\\"\"", "\"\\\"\"" },
		{ "c:\\", "\"c:\\\\\"", "\"c:\\\\\"" },
		{ "a\n2026-01-01T00:00:00.000Z error", "\"a\\n2026-01-01T00:00:00.000Z error\"", "\"a\\n2026-01-01T00:00:00.000Z error\"" },
		{ "a\r\tb", "\"a\\r\\tb\"", "\"a\\r\\tb\"" },
		{ "%s%n", "%s%n", "\"%s%n\"" },
		{ "\033]0;x\a", "\"\\x1b]0;x\\x07\"", "\"\\x1b]0;x\\x07\"" },
		{ "\302\2331m", "\"\\xc2\\x9b1m\"", "\"\\xc2\\x9b1m\"" }, /* U+009B begins what terminals obey */
		{ "\302\240\303\244\360\237\230\200", "\302\240\303\244\360\237\230\200", "\"\302\240\303\244\360\237\230\200\"" },
		{ "\377\303", "\"\\xff\\xc3\"", "\"\\xff\\xc3\"" }, /* no UTF-8 */
	};
	char line[2000], expected[500];

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		log_event(LOG_INFO, "session-begin", "peer=%s name=\"%s\" n=%zu", words[i].word, words[i].word, i);
		hear(line, sizeof(line));
		snprintf(expected, sizeof(expected), "session-begin peer=%s name=%s n=%zu\n", words[i].bare, words[i].quoted, i);
		assert_string_equal(strstr(line, "session-begin"), expected);
	}
}

static void numbers_are_as_printf_has_them(void **state)
{
	char line[2000], expected[500];

	(void)state;
#define NUMBERS "a=%d b=%u c=%x d=%ld e=%lu f=%lld g=%llu h=%zu i=%zd j=%" PRIx64 " k=%" PRId64, -1, 3000000000u, 0xbeefu, LONG_MIN, ULONG_MAX, LLONG_MIN, \
		ULLONG_MAX, (size_t)-1, (ssize_t)-1, (uint64_t)1 << 63, INT64_MIN
	log_event(LOG_INFO, "numbers", NUMBERS);
	snprintf(expected, sizeof(expected), NUMBERS);
	hear(line, sizeof(line));
	line[strlen(line) - 1] = '\0';
	assert_string_equal(strstr(line, "numbers ") + 8, expected);
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
	for (size_t i = 0; i < 4; i++) { /* an escape is there whole, or not at all */
		memset(words, '\033', sizeof(words) - 1);
		memset(words, 'w', i);
		log_event(LOG_ERROR, "session-failed", "reason=\"%s\"", words);
		len = hear(line, sizeof(line));
		assert_memory_equal(line + len - 6, "\\x1b\"\n", 6);
	}
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
		HEARD(a_strangers_words_are_one_value),
		HEARD(numbers_are_as_printf_has_them),
		HEARD(the_journal_hears_how_bad_it_is),
		HEARD(what_is_too_long_is_cut),
		HEARD(what_nobody_wants_is_not_said),
		HEARD(errno_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
