/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/fault.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void fault_point(const char *point, int control_fd)
{
	const char *wanted = getenv("DRAY_FAULT");
	size_t len = strlen(point);

	if (!wanted || strncmp(wanted, point, len) != 0 || (wanted[len] != '\0' && wanted[len] != ':'))
		return;
	if (strcmp(wanted + len, ":cut") == 0) {
		if (control_fd >= 0)
			shutdown(control_fd, SHUT_RDWR);
	} else if (strcmp(wanted + len, ":stop") == 0) {
		kill(getpid(), SIGSTOP);
	} else {
		kill(getpid(), SIGKILL);
	}
}
