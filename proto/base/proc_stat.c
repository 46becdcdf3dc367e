/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/proc_stat.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"

enum { STAT_MAX = 8192, FIELD_NAME = 2, FIELD_FLAGS = 9, FIELD_START_TIME = 22 };
enum { FLAG_EXITING = 4 }; /* of the kernel's own, whose numbers have never changed */

int proc_stat_read(pid_t pid, pid_t tid, struct proc_stat *s)
{
	char path[64];
	struct err ignored = { 0 };
	cleanup_free char *text = NULL;
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid, (int)tid);
	text = file_read(AT_FDCWD, path, STAT_MAX, NULL, &ignored);
	at = text ? strrchr(text, ')') : NULL; /* a name may hold anything */
	if (!at || at[1] != ' ')
		return -1;
	s->state = at[2];
	for (int field = FIELD_NAME; field < FIELD_START_TIME && at; field++) {
		if (field == FIELD_FLAGS)
			s->exiting = strtoul(at, NULL, 10) & FLAG_EXITING;
		at = strchr(at + 1, ' ');
	}
	if (!at)
		return -1;
	s->start_time = strtoull(at, NULL, 10);
	return 0;
}
