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

#include "proto/base/log_format.h"

static enum log_level max_level = LOG_WARN;
static char role_name[40] = "dray";
static const char *const level_names[] = { "error", "warn", "info", "debug" };
static const char level_priorities[] = { '3', '4', '6', '7' }; /* syslog(3) */

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
	len += log_format(line + len, sizeof(line) - len - 1, fmt, ap);
	va_end(ap);
	line[len] = '\n';
	/* One write, so that lines of several processes don't mix. A log that can't be written is no reason to stop. */
	if (write(STDERR_FILENO, line, len + 1) < 0) {
	}
	errno = saved;
}
