/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/plain_text.h"

static enum log_level max_level = LOG_WARN;
static char role_name[40] = "dray";
static const char *const level_names[] = { "error", "warn", "info", "debug" };
static const char level_priorities[] = { '3', '4', '6', '7' }; /* syslog(3) */

enum { FORMAT_MAX = 512, MARK = '\001' /* a quote of the format, until the values' own are known from it */ };

void log_set_level(enum log_level level)
{
	max_level = level;
}

enum log_level log_get_level(void)
{
	return max_level;
}

void log_set_role(const char *role)
{
	snprintf(role_name, sizeof(role_name), "%s", role);
}

/* Asked for each event: who serves a request has standard error elsewhere for as long as that takes. The call itself, for a sandbox knows no other. */
static bool is_journal(int fd)
{
	const char *said = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return said && sscanf(said, "%llu:%llu", &dev, &ino) == 2 && syscall(SYS_fstat, fd, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

static const char *marked(const char *fmt, char buf[FORMAT_MAX])
{
	size_t len = strlen(fmt);

	if (len >= FORMAT_MAX) /* none of ours is */
		return strcpy(buf, "");
	for (size_t i = 0; i <= len; i++)
		buf[i] = fmt[i] == '"' ? MARK : fmt[i];
	return buf;
}

static size_t count(const char *text, char c)
{
	size_t n = 0;

	while ((text = strchr(text, c))) {
		n++;
		text++;
	}
	return n;
}

/* Only the format's quotes stay quotes. Marks that are not from there make all of them doubtful. */
static void settle_quotes(char *text, const char *format)
{
	bool doubtful = count(text, MARK) > count(format, MARK);

	for (; *text; text++)
		if (*text == '"' || *text == MARK)
			*text = *text == MARK && !doubtful ? '"' : '\'';
}

/* The words behind the event, in line, with room for what ends it. */
__attribute__((format(printf, 3, 0))) static void put_words(char *line, size_t room, const char *fmt, va_list ap)
{
	char with_marks[FORMAT_MAX];
	size_t len;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the same conversions as fmt's */
	vsnprintf(line, room - 1, marked(fmt, with_marks), ap);
#pragma GCC diagnostic pop
	len = strlen(line);
	if (count(line, MARK) % 2) /* cut within a value */
		memcpy(line + len, (const char[]){ MARK, '\0' }, 2);
	settle_quotes(line, with_marks);
}

void log_event(enum log_level level, const char *event, const char *fmt, ...)
{
	int saved = errno;
	char line[1400];
	struct timespec now;
	struct tm tm;
	size_t len;
	va_list ap;

	if (level > max_level)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	len = is_journal(STDERR_FILENO) ? (size_t)sprintf(line, "<%c>", level_priorities[level]) : 0;
	len += strftime(line + len, sizeof(line) - len, "%FT%T", &tm);
	len += (size_t)snprintf(line + len, sizeof(line) - len, ".%03ldZ %s %s[%d] %s ", now.tv_nsec / 1000000,
				level_names[level], role_name, (int)getpid(), event);
	va_start(ap, fmt);
	put_words(line + len, sizeof(line) - len - 1, fmt, ap);
	va_end(ap);
	len = strlen(line);
	plain_text(line, len); /* an event is a line, whoever's words are in it */
	line[len] = '\n';
	/* One write, so that lines of several processes don't mix. A log that can't be written is no reason to stop. */
	if (write(STDERR_FILENO, line, len + 1) < 0) {
	}
	errno = saved;
}
