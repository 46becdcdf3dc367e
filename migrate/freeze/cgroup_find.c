/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/freeze/cgroup_find.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"

enum { SMALL_FILE = 1 << 20 };

/* Undoes the octal escapes of mountinfo in place. */
static void unescape(char *s)
{
	char *to = s;

	while (*s) {
		if (s[0] == '\\' && isdigit((unsigned char)s[1]) && isdigit((unsigned char)s[2]) && isdigit((unsigned char)s[3])) {
			*to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 4;
		} else {
			*to++ = *s++;
		}
	}
	*to = '\0';
}

/* The first cgroup2 mount that shows `path` of the hierarchy: its directory there. */
static bool place_of(const char *mountinfo, const char *path, char *dir, size_t len)
{
	for (const char *line = mountinfo; *line;) {
		const char *end = strchrnul(line, '\n'), *type = strstr(line, " - cgroup2 ");
		char root[512], at[512];

		if (type && type < end && sscanf(line, "%*s %*s %*s %511s %511s", root, at) == 2) {
			size_t skip;

			unescape(root);
			unescape(at);
			skip = strcmp(root, "/") == 0 ? 0 : strlen(root);
			if (strncmp(path, root, skip) == 0 && (path[skip] == '/' || path[skip] == '\0')) {
				const char *rest = strcmp(path + skip, "/") == 0 ? "" : path + skip;

				return (size_t)snprintf(dir, len, "%s%s", at, rest) < len;
			}
		}
		line = *end ? end + 1 : end;
	}
	return false;
}

bool cgroup_find(pid_t pid, char *dir, size_t len)
{
	char file[32], path[560];
	struct err ignored = { 0 };
	cleanup_free char *mounts = file_read(AT_FDCWD, "/proc/self/mountinfo", SMALL_FILE * 16, NULL, &ignored);
	cleanup_free char *groups = NULL;
	char *line;

	snprintf(file, sizeof(file), "/proc/%d/cgroup", pid);
	groups = file_read(AT_FDCWD, file, SMALL_FILE, NULL, &ignored);
	if (!mounts || !groups)
		return false;
	line = strncmp(groups, "0::", 3) == 0 ? groups : strstr(groups, "\n0::");
	if (!line)
		return false;
	line += line == groups ? 3 : 4;
	*strchrnul(line, '\n') = '\0';
	/* Outside of our cgroup namespace: there is no directory for it. */
	if (strlen(line) >= sizeof(path) || strncmp(line, "/..", 3) == 0)
		return false;
	snprintf(path, sizeof(path), "%s", line);
	return place_of(mounts, path, dir, len);
}
