/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/images/aside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "proto/base/cleanup.h"

#define PREFIX ".drayage-set-"

/* The directory stream's own descriptor: the caller's offset stays where it is. */
static DIR *list(int fd)
{
	int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = own < 0 ? NULL : fdopendir(own);

	if (!d && own >= 0)
		close(own);
	return d;
}

/* There are files in it, and a link. */
static void empty(int fd)
{
	cleanup_dir DIR *d = list(fd);
	struct dirent *entry;

	while (d && (entry = readdir(d)))
		unlinkat(fd, entry->d_name, 0);
}

static void remove_aside(int home, int fd, const char *name)
{
	empty(fd);
	unlinkat(home, name, AT_REMOVEDIR);
}

/* Its maker lives as long as the lock is held. */
static void remove_stale(int home, const char *name)
{
	cleanup_fd int fd = openat(home, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return;
	remove_aside(home, fd, name);
}

static void remove_all_stale(int home)
{
	cleanup_dir DIR *d = list(home);
	struct dirent *entry;

	while (d && (entry = readdir(d)))
		if (!strncmp(entry->d_name, PREFIX, strlen(PREFIX)))
			remove_stale(home, entry->d_name);
}

/* 0; 1: somebody took it for stale between our mkdir and our lock; -1. Where locks are not to be had, nobody else gets one either. */
static int make(struct aside *a, struct err *e)
{
	struct stat st;
	uint32_t number;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return err_sys(e, "random bytes");
	snprintf(a->name, sizeof(a->name), PREFIX "%08x", number);
	if (mkdirat(a->home, a->name, 0700) < 0)
		return errno == EEXIST ? 1 : err_sys(e, "make a directory in the image directory");
	a->dir = openat(a->home, a->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (a->dir < 0 && errno == ENOENT)
		return 1;
	if (a->dir < 0) {
		err_sys(e, "open %s", a->name);
		unlinkat(a->home, a->name, AT_REMOVEDIR);
		return -1;
	}
	flock(a->dir, LOCK_EX);
	if (fstat(a->dir, &st) == 0 && st.st_nlink > 0)
		return 0;
	close(steal_fd(&a->dir));
	return 1;
}

int aside_open(struct aside *a, int home, struct err *e)
{
	int rc;

	*a = (struct aside){ .home = home, .dir = -1 };
	remove_all_stale(home);
	do
		rc = make(a, e);
	while (rc == 1);
	return rc;
}

/* What has the name already takes the place of what gets it, unless it is a directory, which is no page map of anybody's. */
static bool swap(int from, int to, const char *name)
{
	struct stat st;

	return fstatat(to, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode) && renameat2(from, name, to, name, RENAME_EXCHANGE) == 0;
}

/* Filesystems that can't keep from replacing say EINVAL; there the name was free when it was chosen. */
static int move(const struct aside *a, const char *name, bool replace)
{
	int rc = renameat2(a->dir, name, a->home, name, replace ? 0 : RENAME_NOREPLACE);

	if (rc < 0 && errno == EINVAL && !replace)
		rc = renameat(a->dir, name, a->home, name);
	return rc;
}

int aside_publish(const struct aside *a, const char *name, bool replace, struct err *e)
{
	if ((replace && swap(a->dir, a->home, name)) || move(a, name, replace) == 0)
		return 0;
	if (errno == EEXIST)
		return err_set(e, ERR_CONFLICT, 0, "publish %s: somebody else published a file of that name meanwhile", name);
	return err_sys(e, "publish %s", name);
}

void aside_take_back(const struct aside *a, const char *name)
{
	if (!swap(a->home, a->dir, name))
		renameat(a->home, name, a->dir, name);
}

void aside_close(struct aside *a)
{
	if (a->dir < 0)
		return;
	remove_aside(a->home, a->dir, a->name);
	close(steal_fd(&a->dir));
}
