/* SPDX-License-Identifier: Apache-2.0 */
/* log.h - one line per event on stderr: time, level, process name and pid, event, key=value pairs. Where stderr is the journal's (JOURNAL_STREAM,
 * systemd.exec(5)) the line has its priority in front.
 * Threads: any. errno is preserved. Never called on the page path. Memory contents and secrets are never logged. */
#ifndef DRAY_BASE_LOG_H
#define DRAY_BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_ERROR = 0, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/* Names this process in its lines ("agent", "session 4f2a"); copied. */
void log_set_role(const char *role);
/* fmt: key=value pairs, each string behind a '=', in double quotes where it may have blanks: log_event(LOG_INFO, "round-end", "round=%u name=\"%s\"", ...).
 * Whoever's words a string is, it stays one value on one line: log_format.h says which conversions there are, and how it is escaped. */
void log_event(enum log_level level, const char *event, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
