/* SPDX-License-Identifier: Apache-2.0 */
/* die_with.h - a forked child that does not outlive who forked it.
 *
 *   pid_t parent = getpid(), pid = fork();
 *   if (pid == 0 && !die_with(parent, SIGKILL))
 *           _exit(1);
 *
 * A parent that ended before the signal was asked for sends none, so the child looks once more who its parent is. "Parent" is the thread that forked.
 * Only where both are in one PID namespace. Threads: any; safe behind fork. */
#ifndef DRAY_BASE_DIE_WITH_H
#define DRAY_BASE_DIE_WITH_H

#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <unistd.h>

/* false: the parent is gone, or the kernel refuses: the child should end. */
static inline bool die_with(pid_t parent, int signal)
{
	return prctl(PR_SET_PDEATHSIG, signal) == 0 && getppid() == parent;
}

#endif
