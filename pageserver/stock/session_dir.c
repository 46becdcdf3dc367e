/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/session_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/cleanup.h"

enum { DIR_MODE = 0700 };

/* The length of what must be there: all components before the first with a letter, without the slash behind them. */
static size_t base_length(const char *template)
{
	const char *letter = strchr(template, '%'), *slash = letter;

	if (!letter)
		return strlen(template);
	while (slash > template && *slash != '/')
		slash--;
	return (size_t)(slash - template);
}

int session_template_check(const char *template, struct err *e)
{
	bool numbered = false;

	if (!template[0] || strlen(template) >= PATH_MAX / 2)
		return err_set(e, ERR_USAGE, 0, "a path of 1 to %d bytes is wanted", PATH_MAX / 2 - 1);
	for (const char *p = strchr(template, '%'); p; p = strchr(p + 2, '%')) {
		if (!p[1] || !strchr("npt%", p[1]))
			return err_set(e, ERR_USAGE, 0, "\"%s\": behind %% may stand n, p, t or %%", template);
		numbered |= p[1] == 'n';
	}
	return numbered ? 0 : err_set(e, ERR_USAGE, 0, "\"%s\" has no %%n to tell sessions apart", template);
}

static int put_letter(char letter, const struct session_name *n, char *out, size_t room)
{
	struct tm tm;

	switch (letter) {
	case 'n':
		return snprintf(out, room, "%" PRIu64, n->number);
	case 'p':
		return snprintf(out, room, "%s", n->peer);
	case 't':
		gmtime_r(&n->start, &tm);
		return (int)strftime(out, room, "%Y%m%dT%H%M%SZ", &tm);
	default:
		return snprintf(out, room, "%%");
	}
}

int session_path(const char *template, const struct session_name *n, char path[PATH_MAX], struct err *e)
{
	size_t len = 0;

	for (const char *p = template; *p && len < PATH_MAX - 1; p++) {
		if (*p == '%' && p[1]) {
			int put = put_letter(*++p, n, path + len, PATH_MAX - len);

			len += put > 0 ? (size_t)put : 0;
		} else {
			path[len++] = *p;
		}
	}
	if (len >= PATH_MAX - 1)
		return err_set(e, ERR_LIMIT, ENAMETOOLONG, "%.64s...", template);
	path[len] = '\0';
	return 0;
}

/* A directory inside another, made if it is not there; anew: it must not be. Takes parent. */
static int enter(int parent, const char *name, bool anew)
{
	cleanup_fd int from = parent;
	int fd;

	if (mkdirat(from, name, DIR_MODE) < 0 && (errno != EEXIST || anew))
		return -errno;
	fd = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* base: of the path, so many bytes of it. */
static void base_of(const char *path, size_t base_len, char base[PATH_MAX])
{
	if (base_len)
		snprintf(base, PATH_MAX, "%.*s", (int)base_len, path);
	else
		strcpy(base, path[0] == '/' ? "/" : ".");
}

int session_base_check(const char *template, struct err *e)
{
	char base[PATH_MAX];
	struct stat st;

	base_of(template, base_length(template), base);
	if (stat(base, &st) < 0)
		return err_sys(e, "the directory %s", base);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ERR_SYSTEM, ENOTDIR, "the directory %s", base);
	return faccessat(AT_FDCWD, base, W_OK | X_OK, AT_EACCESS) < 0 ? err_sys(e, "write into the directory %s", base) : 0;
}

/* A descriptor of the last component, which was not there before; -EEXIST, -errno. */
static int make_path(const char *path, size_t base_len)
{
	char base[PATH_MAX], rest[PATH_MAX], *at = rest, *name;
	size_t len = strlen(path + base_len);
	int fd;

	while (len > 0 && path[base_len + len - 1] == '/')
		len--;
	base_of(path, base_len, base);
	snprintf(rest, sizeof(rest), "%.*s", (int)len, path + base_len);
	fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (fd >= 0 && (name = strsep(&at, "/")))
		if (name[0])
			fd = enter(fd, name, !at);
	return fd;
}

int session_dir_make(const char *template, struct session_name *n, struct session_dir *d, struct err *e)
{
	int fd;

	d->fd = -1;
	do {
		if (session_path(template, n, d->path, e) < 0)
			return -1;
		fd = make_path(d->path, base_length(template));
		n->number += fd == -EEXIST;
	} while (fd == -EEXIST);
	if (fd < 0)
		return err_set(e, ERR_SYSTEM, -fd, "make the directory %s", d->path);
	d->fd = fd;
	return 0;
}

/* Components that the template makes. */
static unsigned depth_of(const char *template)
{
	size_t base = base_length(template);
	unsigned depth = 0;

	for (const char *p = template + base; *p; p++)
		depth += *p != '/' && (p == template || p[-1] == '/');
	return depth;
}

int session_dir_sync(const char *template, const struct session_dir *d, struct err *e)
{
	cleanup_fd int at = fcntl(d->fd, F_DUPFD_CLOEXEC, 0);

	for (unsigned depth = depth_of(template); depth > 0 && at >= 0; depth--) {
		int above = openat(at, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		close(at);
		at = above;
		if (at >= 0 && fsync(at) < 0)
			return err_sys(e, "write the directory that %s is in to disk", d->path);
	}
	return at < 0 ? err_sys(e, "open the directory that %s is in", d->path) : 0;
}

void session_dir_close(struct session_dir *d, bool remove)
{
	if (d->fd < 0)
		return;
	close(steal_fd(&d->fd));
	if (remove)
		rmdir(d->path); /* what is not empty holds something that isn't ours */
}

int session_dir_relative(const char *template, const char *to, char path[PATH_MAX], struct err *e)
{
	size_t base = base_length(template), len = 0;

	for (const char *p = template + base; *p && len < PATH_MAX - 4; p++)
		if (*p != '/' && (p == template + base || p[-1] == '/'))
			len += (size_t)snprintf(path + len, PATH_MAX - len, "../");
	to += base;
	while (*to == '/')
		to++;
	if (len + strlen(to) >= PATH_MAX)
		return err_set(e, ERR_LIMIT, ENAMETOOLONG, "the way to %.64s...", to);
	strcpy(path + len, to);
	return 0;
}
