/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/proc_stat.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/proc_text.h"

enum { STAT_MAX = 8192, FIELD_PARENT = 4, FIELD_FLAGS = 9, FIELD_START_TIME = 22 };
enum { FLAG_EXITING = 4 }; /* of the kernel's own, whose numbers have never changed */

int proc_stat_parse(const char *text, struct proc_stat *s)
{
	const char *state = strrchr(text, ')'); /* a name may hold anything */

	if (!state || state[1] != ' ')
		return -1;
	s->state = state[2];
	s->parent = (pid_t)text_stat_number(text, FIELD_PARENT);
	s->exiting = text_stat_number(text, FIELD_FLAGS) & FLAG_EXITING;
	s->start_time = text_stat_number(text, FIELD_START_TIME);
	return 0;
}

int proc_stat_read(pid_t pid, pid_t tid, struct proc_stat *s)
{
	char path[64];
	struct err ignored = { 0 };
	cleanup_free char *text = NULL;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid, (int)tid);
	text = file_read(AT_FDCWD, path, STAT_MAX, NULL, &ignored);
	return text ? proc_stat_parse(text, s) : -1;
}

DIR *proc_threads(pid_t pid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	return opendir(path);
}

pid_t proc_next_thread(DIR *threads)
{
	struct dirent *entry;

	while (threads && (entry = readdir(threads))) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (tid > 0)
			return tid;
	}
	return 0;
}

bool proc_any_thread_but(pid_t pid, const char *states)
{
	cleanup_dir DIR *threads = proc_threads(pid);
	struct proc_stat s;
	pid_t tid;

	while ((tid = proc_next_thread(threads)))
		if (proc_stat_read(pid, tid, &s) == 0 && !strchr(states, s.state))
			return true;
	return false;
}

unsigned proc_thread_count(pid_t pid)
{
	char path[32];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	return stat(path, &st) == 0 && st.st_nlink > 2 ? (unsigned)st.st_nlink - 2 : 0;
}
