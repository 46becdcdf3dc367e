/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/proc_text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"

enum { STATUS_MAX = 1 << 16 };

char *status_text(pid_t pid, pid_t tid, struct err *e)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", (int)pid, (int)tid);
	return file_read(AT_FDCWD, path, STATUS_MAX, NULL, e);
}

int proc_check_pid(pid_t pid, struct err *e)
{
	cleanup_free char *text = pid > 0 ? status_text(pid, pid, e) : NULL;
	pid_t leader;

	if (!text && pid > 0 && e->num != ENOENT && e->num != ESRCH)
		return -1;
	if (!text)
		return err_set(e, ERR_GONE, 0, "no process %d", (int)pid);
	leader = (pid_t)text_number(text, "Tgid", 10, 0);
	return leader == pid ? 0 : err_set(e, ERR_USAGE, 0, "%d is a thread of process %d, which is the one to name", (int)pid, (int)leader);
}

const char *text_field(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		if (strncmp(line, key, len) == 0 && line[len] == ':')
			return line + len + 1 + strspn(line + len + 1, " \t");
	}
	return NULL;
}

uint64_t text_number(const char *text, const char *key, int base, uint64_t missing)
{
	const char *value = text_field(text, key);

	return value ? strtoull(value, NULL, base) : missing;
}

int text_last_number(const char *text, const char *key)
{
	const char *value = text_field(text, key);
	char *end;
	int last = -1;

	while (value && *value && *value != '\n') {
		long v = strtol(value, &end, 10);

		if (end == value)
			break;
		last = (int)v;
		value = end + strspn(end, " \t");
	}
	return last;
}

uint64_t text_stat_number(const char *stat, int field)
{
	const char *at = strrchr(stat, ')'); /* the name before may hold anything */

	for (int i = 2; at && i < field; i++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at + 1, NULL, 10) : 0;
}
