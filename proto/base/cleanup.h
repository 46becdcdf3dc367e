/* SPDX-License-Identifier: Apache-2.0 */
/* cleanup.h - scope cleanup for descriptors, heap memory and stdio files, and the way to hand one on.
 * Use inside a function; a constructor that builds a long-lived object part by part uses a goto ladder instead. */
#ifndef DRAY_BASE_CLEANUP_H
#define DRAY_BASE_CLEANUP_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_fd_(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
static inline void cleanup_free_(void *p)
{
	free(*(void **)p);
}
static inline void cleanup_file_(FILE **f)
{
	if (*f)
		fclose(*f);
}
static inline void cleanup_dir_(DIR **d)
{
	if (*d)
		closedir(*d);
}
#define cleanup_fd __attribute__((cleanup(cleanup_fd_)))
#define cleanup_free __attribute__((cleanup(cleanup_free_)))
#define cleanup_file __attribute__((cleanup(cleanup_file_)))
#define cleanup_dir __attribute__((cleanup(cleanup_dir_)))

/* Gives up the descriptor: what was in *fd, which becomes -1. */
static inline int steal_fd(int *fd)
{
	int v = *fd;
	*fd = -1;
	return v;
}
static inline void *steal_pointer_(void *pp)
{
	void *v = *(void **)pp;
	*(void **)pp = NULL;
	return v;
}
#define steal_pointer(pp) ((__typeof__(*(pp)))steal_pointer_(pp))

#endif
