/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/fault.h"

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The action of `point` in "point[:action],...": what follows its name; NULL: it isn't in there. */
static const char *action_of(const char *list, const char *point)
{
	size_t len = strlen(point);

	for (; list; list = strchr(list, ',')) {
		list += *list == ',';
		if (strncmp(list, point, len) == 0 && strchr(":,", list[len]))
			return list + len;
	}
	return NULL;
}

static bool is(const char *action, const char *name)
{
	size_t len = strlen(name);

	return strncmp(action, name, len) == 0 && strchr(",", action[len]);
}

void fault_point(const char *point, int control_fd)
{
	const char *action = action_of(getenv("DRAY_FAULT"), point);

	if (!action)
		return;
	if (is(action, ":cut")) {
		if (control_fd >= 0)
			shutdown(control_fd, SHUT_RDWR);
	} else if (is(action, ":stop")) {
		kill(getpid(), SIGSTOP);
	} else {
		kill(getpid(), SIGKILL);
	}
}
