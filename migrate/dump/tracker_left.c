/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/dump/tracker_left.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include "migrate/dump/tracker_holder.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"

static const char *directory(void)
{
	const char *other = getenv("DRAY_TRACKERS_DIR");

	return other && *other ? other : TRACKERS_DIR;
}

static void file_name(char name[TRACKER_PATH_MAX], pid_t pid, uint64_t start_time, const char *suffix)
{
	snprintf(name, TRACKER_PATH_MAX, "%s/%d-%llu.%s", directory(), pid, (unsigned long long)start_time, suffix);
}

/* Made where it is missing. A directory that others may write to is not used: what is in it could be anybody's. */
static bool directory_is_ours(bool make)
{
	char path[TRACKER_PATH_MAX];
	struct stat st;

	if ((size_t)snprintf(path, sizeof(path), "%s", directory()) >= sizeof(path))
		return false;
	for (char *slash = strchr(path + 1, '/'); make; slash = strchr(slash + 1, '/')) {
		if (slash)
			*slash = '\0';
		mkdir(path, slash ? 0755 : 0700);
		if (!slash)
			break;
		*slash = '/';
	}
	return lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & (S_IWGRP | S_IWOTH));
}

/* ---- soft-dirty: a file ---- */

/* What is left of the file is whole windows. */
static bool read_witnesses(int fd, struct witness_list *out)
{
	size_t each = sizeof(*out->v), bytes;
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_size < (off_t)sizeof(struct tracker_left))
		return false;
	bytes = (size_t)st.st_size - sizeof(struct tracker_left);
	out->v = bytes ? malloc(bytes) : NULL;
	if (bytes % each || (bytes && (!out->v || read_full(fd, out->v, bytes) < 0))) {
		witness_list_finish(out);
		return false;
	}
	out->count = bytes / each;
	return true;
}

static bool read_record(const char *path, struct tracker_left *out, struct witness_list *witnesses)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	return fd >= 0 && read_full(fd, out, sizeof(*out)) == 0 && out->kind == TRACKER_SOFT_DIRTY && (!witnesses || read_witnesses(fd, witnesses));
}

/* By a rename, of which only one can succeed. */
static bool take_record(const char *path, struct tracker_left *out, struct witness_list *witnesses)
{
	char mine[TRACKER_PATH_MAX + 16];
	bool got;

	snprintf(mine, sizeof(mine), "%s.%d", path, getpid());
	if (rename(path, mine) < 0)
		return false;
	got = read_record(mine, out, witnesses);
	unlink(mine);
	return got;
}

static void put_record(const char *path, const struct tracker_left *left, const struct witness_list *witnesses)
{
	char mine[TRACKER_PATH_MAX + 16];
	cleanup_fd int fd = -1;
	int rc;

	snprintf(mine, sizeof(mine), "%s.%d", path, getpid());
	fd = open(mine, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	rc = fd < 0 ? -errno : write_full(fd, left, sizeof(*left));
	if (rc == 0 && witnesses->count)
		rc = write_full(fd, witnesses->v, witnesses->count * sizeof(*witnesses->v));
	if (rc == 0 && rename(mine, path) < 0)
		rc = -errno;
	if (rc < 0) {
		unlink(mine);
		log_event(LOG_WARN, "tracker-not-left", "path=\"%s\" errno=%d", path, -rc);
	}
}

/* ---- wp-async: a process ---- */

static bool ask_holder(const char *path, enum tracker_ask what, struct tracker_left *out, int *uffd)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = TRACKER_ANSWER_S };
	cleanup_fd int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	unsigned char question = (unsigned char)what;
	int n = 0;

	*uffd = -1;
	if (sock < 0 || strlen(path) >= sizeof(un.sun_path))
		return false;
	strcpy(un.sun_path, path);
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(sock, (struct sockaddr *)&un, sizeof(un)) < 0 || send(sock, &question, 1, MSG_NOSIGNAL) != 1)
		return false;
	if (recv_fds(sock, out, sizeof(*out), uffd, 1, &n) != (ssize_t)sizeof(*out) || n != (what == TRACKER_TAKE)) {
		if (n == 1)
			close(*uffd);
		*uffd = -1;
		return false;
	}
	/* Closed by us it must be closed for good. */
	return what != TRACKER_TAKE || recv(sock, &question, 1, 0) <= 0;
}

/* ---- both ---- */

bool tracker_left_look(pid_t pid, uint64_t start_time, struct tracker_left *out)
{
	char path[TRACKER_PATH_MAX];
	int none;

	if (!directory_is_ours(false))
		return false;
	file_name(path, pid, start_time, "base");
	if (read_record(path, out, NULL))
		return true;
	file_name(path, pid, start_time, "sock");
	return ask_holder(path, TRACKER_LOOK, out, &none);
}

bool tracker_left_take(pid_t pid, uint64_t start_time, struct tracker_left *out, int *uffd, struct witness_list *witnesses)
{
	char path[TRACKER_PATH_MAX];

	*uffd = -1;
	if (!directory_is_ours(false))
		return false;
	file_name(path, pid, start_time, "base");
	if (take_record(path, out, witnesses))
		return true;
	file_name(path, pid, start_time, "sock");
	return ask_holder(path, TRACKER_TAKE, out, uffd);
}

/* Records of processes that ended: nobody else removes them. */
static void sweep(void)
{
	cleanup_dir DIR *dir = opendir(directory());
	struct dirent *d;

	while (dir && (d = readdir(dir))) {
		char *end;
		long pid = strtol(d->d_name, &end, 10);
		unsigned long long start = *end == '-' ? strtoull(end + 1, &end, 10) : 0;
		uint64_t now;

		if (pid > 0 && start && strncmp(end, ".base", 5) == 0 && (tracker_start_time((pid_t)pid, &now) < 0 || now != start))
			unlinkat(dirfd(dir), d->d_name, 0);
	}
}

void tracker_left_put(pid_t pid, uint64_t start_time, const struct tracker_left *left, int uffd, const struct witness_list *witnesses)
{
	char path[TRACKER_PATH_MAX];
	struct err e = { 0 };

	if (!directory_is_ours(true)) {
		log_event(LOG_WARN, "tracker-not-left", "dir=\"%s\" why=\"it can't be made, or is not ours alone\"", directory());
		cleanup_fd_(&uffd);
		return;
	}
	sweep();
	file_name(path, pid, start_time, left->kind == TRACKER_SOFT_DIRTY ? "base" : "sock");
	if (left->kind == TRACKER_SOFT_DIRTY)
		put_record(path, left, witnesses);
	else if (tracker_holder_start(path, pid, left, uffd, &e) < 0)
		log_event(LOG_WARN, "tracker-not-left", "pid=%d why=\"%s\"", pid, e.text);
	cleanup_fd_(&uffd);
}

bool tracker_left_for(pid_t pid)
{
	struct tracker_left left;
	uint64_t start_time;

	return tracker_start_time(pid, &start_time) == 0 && tracker_left_look(pid, start_time, &left);
}

void tracker_left_drop(pid_t pid)
{
	struct tracker_left left;
	uint64_t start_time;
	int uffd;

	if (tracker_start_time(pid, &start_time) == 0 && tracker_left_take(pid, start_time, &left, &uffd, NULL))
		cleanup_fd_(&uffd);
}
