/* SPDX-License-Identifier: Apache-2.0 */
/* proc_text.h - fields of the kernel's texts about processes: "Key:	value" a line (status, fdinfo, timers), and the one line of stat.
 * What takes text is pure; pointers go into the text. What most ask of stat: proc_stat.h. Threads: any. */
#ifndef DRAY_BASE_PROC_TEXT_H
#define DRAY_BASE_PROC_TEXT_H

#include <stdint.h>
#include <sys/types.h>

#include "proto/base/err.h"

/* /proc/PID/status of a thread of a process; of the process itself where tid is pid. Owned by the caller (free). NULL: err. */
char *status_text(pid_t pid, pid_t tid, struct err *e);
/* 0 when pid is a process. Else -1: ERR_GONE, there is none of that number; ERR_USAGE, it is a thread of one, which is named. */
int proc_check_pid(pid_t pid, struct err *e);

const char *text_field(const char *text, const char *key); /* the value behind "key:" at the start of a line, or NULL */
uint64_t text_number(const char *text, const char *key, int base, uint64_t missing);
int text_last_number(const char *text, const char *key); /* the last of a list ("NSpid:"), -1 missing */
uint64_t text_stat_number(const char *stat, int field); /* of /proc/PID/stat, counted from 1 as proc(5) does; from 3 */

#endif
