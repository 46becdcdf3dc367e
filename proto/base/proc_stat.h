/* SPDX-License-Identifier: Apache-2.0 */
/* proc_stat.h - what /proc/PID/stat says that everybody asks for: does a task live, and is it still the one that was meant.
 * Threads: any. No state. */
#ifndef DRAY_BASE_PROC_STAT_H
#define DRAY_BASE_PROC_STAT_H

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct proc_stat {
	char state;          /* the kernel's letter: R S D T t Z X ... */
	bool exiting;        /* on its way to Z */
	pid_t parent;        /* as who mounted /proc sees it */
	uint64_t start_time; /* in clock ticks since boot: number and start time together name one process for ever */
};

/* Of a thread of a process; of the process itself where tid is pid. 0, or -1 when there is none. */
int proc_stat_read(pid_t pid, pid_t tid, struct proc_stat *s);
int proc_stat_parse(const char *text, struct proc_stat *s); /* of its text; -1: it is none */

/* The threads of a process, one after the other: those that there are when they are looked for. NULL, errno: there is no such process; closed by closedir. */
DIR *proc_threads(pid_t pid);
pid_t proc_next_thread(DIR *threads); /* 0: that was the last. Accepts NULL, which has none */

/* Has the process a thread that is in none of these states? False where there is no process. */
bool proc_any_thread_but(pid_t pid, const char *states);
unsigned proc_thread_count(pid_t pid); /* how many; 0: there is no process */

static inline bool proc_stat_ended(const struct proc_stat *s)
{
	return s->state == 'Z' || s->state == 'X' || s->state == 'x';
}

#endif
