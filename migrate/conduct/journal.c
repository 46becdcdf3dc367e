/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/conduct/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/io.h"

enum { NAME_MAX_ = 64, LOCK_NAME_MAX = 80 };

struct journal {
	int dir;
	int lock;
	char name[NAME_MAX_];
};

static const char *const side_suffix[] = { [JOURNAL_SOURCE] = ".source", [JOURNAL_DESTINATION] = ".destination" };
static const char *const state_names[JOURNAL_STATES] = {
	[JOURNAL_NONE] = "none",         [JOURNAL_ARMED] = "armed",       [JOURNAL_FROZEN] = "frozen",
	[JOURNAL_COMMITTING] = "committing",
	[JOURNAL_KEPT] = "kept",         [JOURNAL_PREPARED] = "prepared", [JOURNAL_COMMITTED] = "committed", [JOURNAL_ABORTED] = "aborted",
};

const char *journal_state_name(enum journal_state state)
{
	return (unsigned)state < JOURNAL_STATES ? state_names[state] : "unknown";
}

static void record_name(char name[NAME_MAX_], const struct migration_id *id, enum journal_side side)
{
	char hex[33];

	migration_id_format(id, hex);
	snprintf(name, NAME_MAX_, "%s%s", hex, side_suffix[side]);
}

static void lock_name(char out[LOCK_NAME_MAX], const char *name)
{
	snprintf(out, LOCK_NAME_MAX, "%s.lock", name);
}

static void new_name(char out[LOCK_NAME_MAX], const char *name)
{
	snprintf(out, LOCK_NAME_MAX, "%s.new", name);
}

static int open_dir(const char *state_dir, struct err *e)
{
	int dir;

	if (mkdir(state_dir, 0700) < 0 && errno != EEXIST)
		return err_sys(e, "state directory %s", state_dir);
	dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 ? err_sys(e, "state directory %s", state_dir) : dir;
}

/* POSIX record locks belong to the process and are not inherited: what a child of the writer keeps open says nothing. */
static bool try_lock(int fd)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_SETLK, &l) == 0;
}

static bool is_locked(int fd)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

/* Locked before it has its name: a sweep must not come between. -EEXIST: somebody else was faster. */
static int make_lock(int dir, const char *lock)
{
	char tmp[LOCK_NAME_MAX + 16];
	cleanup_fd int fd = -1;
	int rc = 0;

	snprintf(tmp, sizeof(tmp), "%s.%d", lock, (int)getpid());
	unlinkat(dir, tmp, 0); /* of one that had our number */
	fd = openat(dir, tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (!try_lock(fd) || linkat(dir, tmp, dir, lock, 0) < 0)
		rc = -errno;
	unlinkat(dir, tmp, 0);
	return rc < 0 ? rc : steal_fd(&fd);
}

/* Opens, or makes, and locks. A sweep may have unlinked the file that was opened: then it is nobody's, and the next try makes a new one. */
static int open_lock(int dir, const char *lock, struct err *e)
{
	for (;;) {
		cleanup_fd int fd = openat(dir, lock, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
		struct stat st;

		if (fd < 0 && errno == ENOENT) {
			int made = make_lock(dir, lock);

			if (made >= 0)
				return made;
			if (made == -EEXIST)
				continue;
			errno = -made;
		}
		if (fd < 0)
			return err_sys(e, "state directory: %s", lock);
		if (!try_lock(fd))
			return err_set(e, ERR_CONFLICT, 0, "migration %.32s is in another process's hands", lock);
		if (fstat(fd, &st) == 0 && st.st_nlink > 0)
			return steal_fd(&fd);
	}
}

struct journal *journal_open(const char *state_dir, const struct migration_id *id, enum journal_side side, struct err *e)
{
	struct journal *j = calloc(1, sizeof(*j));
	char lock[LOCK_NAME_MAX], tmp[LOCK_NAME_MAX];

	if (!j) {
		err_set(e, ERR_SYSTEM, ENOMEM, "journal");
		return NULL;
	}
	record_name(j->name, id, side);
	lock_name(lock, j->name);
	j->lock = -1;
	j->dir = open_dir(state_dir, e);
	if (j->dir < 0)
		goto fail;
	j->lock = open_lock(j->dir, lock, e);
	if (j->lock < 0)
		goto fail;
	new_name(tmp, j->name); /* of an owner that was killed while it wrote: never a record */
	unlinkat(j->dir, tmp, 0);
	return j;
fail:
	if (j->dir >= 0)
		close(j->dir);
	free(j);
	return NULL;
}

static void boot_id(char out[40])
{
	struct err ignored;
	cleanup_free char *text = file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, NULL, &ignored);

	snprintf(out, 40, "%.36s", text ? text : "unknown");
}

/* A record is lines: what is free text must not bring line ends of its own. */
static void one_line(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ')
			*text = '?';
}

int journal_write(struct journal *j, const struct journal_record *r, struct err *e)
{
	char text[2600], tmp[LOCK_NAME_MAX], boot[40];
	cleanup_fd int fd = -1;
	struct journal_record safe = *r;
	int len;

	boot_id(boot);
	one_line(safe.comm);
	one_line(safe.peer);
	len = snprintf(text, sizeof(text),
		       "state %s\nboot %s\nat %lld\npid %d\nstart %llu\nfreezer %d\nhome %s\ncgroup %s\npeer %s\ncomm %s\nkeep %d\nlate %d\nidentity %s\nend\n",
		       state_names[r->state], boot, (long long)time(NULL), (int)r->freezer.pid, r->freezer.start_time,
		       (int)r->freezer.kind, r->freezer.home, r->freezer.cgroup, safe.peer, safe.comm, r->keep_source,
		       r->late, r->identity);
	new_name(tmp, j->name);
	fd = openat(j->dir, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(e, "journal %s", tmp);
	if (write(fd, text, (size_t)len) != len || renameat(j->dir, tmp, j->dir, j->name) < 0) {
		err_sys(e, "journal %s", j->name);
		unlinkat(j->dir, tmp, 0);
		return -1;
	}
	return 0;
}

static void parse_line(struct journal_record *r, const char *key, const char *value, bool *ended)
{
	if (strcmp(key, "state") == 0) {
		for (int i = 0; i < JOURNAL_STATES; i++)
			if (strcmp(value, state_names[i]) == 0)
				r->state = (enum journal_state)i;
	} else if (strcmp(key, "boot") == 0) {
		char boot[40];

		boot_id(boot);
		r->this_boot = strcmp(boot, value) == 0;
	} else if (strcmp(key, "at") == 0) {
		r->written_at = atoll(value);
	} else if (strcmp(key, "pid") == 0) {
		r->freezer.pid = atoi(value);
	} else if (strcmp(key, "start") == 0) {
		r->freezer.start_time = strtoull(value, NULL, 10);
	} else if (strcmp(key, "freezer") == 0) {
		r->freezer.kind = (enum freezer_kind)atoi(value);
	} else if (strcmp(key, "home") == 0) {
		snprintf(r->freezer.home, sizeof(r->freezer.home), "%s", value);
	} else if (strcmp(key, "cgroup") == 0) {
		snprintf(r->freezer.cgroup, sizeof(r->freezer.cgroup), "%s", value);
	} else if (strcmp(key, "peer") == 0) {
		snprintf(r->peer, sizeof(r->peer), "%s", value);
	} else if (strcmp(key, "comm") == 0) {
		snprintf(r->comm, sizeof(r->comm), "%s", value);
	} else if (strcmp(key, "identity") == 0) {
		snprintf(r->identity, sizeof(r->identity), "%s", value);
	} else if (strcmp(key, "keep") == 0) {
		r->keep_source = atoi(value) != 0;
	} else if (strcmp(key, "late") == 0) {
		r->late = atoi(value) != 0;
	} else if (strcmp(key, "end") == 0) {
		*ended = true;
	}
}

static int read_record(int dir, const char *name, struct journal_record *r, struct err *e)
{
	cleanup_free char *text = file_read(dir, name, 4096, NULL, e);
	bool ended = false;
	char *save = NULL;

	memset(r, 0, sizeof(*r));
	if (!text) {
		if (e->num == ENOENT)
			err_set(e, ERR_GONE, 0, "no record of migration %s", name);
		return -1;
	}
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *space = strchr(line, ' ');

		if (space)
			*space = '\0';
		parse_line(r, line, space ? space + 1 : "", &ended);
	}
	if (!ended || r->state == JOURNAL_NONE)
		return err_set(e, ERR_MISMATCH, 0, "record of migration %s is damaged", name);
	return 0;
}

int journal_read(struct journal *j, struct journal_record *r, struct err *e)
{
	return read_record(j->dir, j->name, r, e);
}

void journal_remove(struct journal *j)
{
	if (!j)
		return;
	unlinkat(j->dir, j->name, 0);
}

void journal_close(struct journal *j)
{
	char lock[LOCK_NAME_MAX];

	if (!j)
		return;
	lock_name(lock, j->name);
	unlinkat(j->dir, lock, 0);
	close(j->lock);
	close(j->dir);
	free(j);
}

static bool owner_lives(int dir, const char *name)
{
	char lock[LOCK_NAME_MAX];
	cleanup_fd int fd = -1;

	lock_name(lock, name);
	fd = openat(dir, lock, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	return fd >= 0 && is_locked(fd);
}

int journal_peek(const char *state_dir, const struct migration_id *id, enum journal_side side, struct journal_record *r, bool *owned,
		 struct err *e)
{
	cleanup_fd int dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char name[NAME_MAX_];

	record_name(name, id, side);
	*owned = false;
	if (dir < 0)
		return errno == ENOENT ? err_set(e, ERR_GONE, 0, "no record of migration %s", name) :
					 err_sys(e, "state directory %s", state_dir);
	*owned = owner_lives(dir, name);
	return read_record(dir, name, r, e);
}

static int read_identity(int dir, char identity[33])
{
	struct err missing;
	cleanup_free char *text = file_read(dir, "identity", 64, NULL, &missing);

	if (!text || strlen(text) < 32)
		return -1;
	snprintf(identity, 33, "%s", text);
	return 0;
}

int journal_identity(const char *state_dir, char identity[33], struct err *e)
{
	cleanup_fd int dir = open_dir(state_dir, e), fd = -1;
	struct migration_id id;
	char tmp[64];

	if (dir < 0 || read_identity(dir, identity) == 0)
		return dir < 0 ? -1 : 0;
	migration_id_new(&id);
	migration_id_format(&id, identity);
	snprintf(tmp, sizeof(tmp), "identity.%d", (int)getpid());
	fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, identity, 32) != 32)
		return err_sys(e, "%s/%s", state_dir, tmp);
	/* linkat() fails where another was faster: then that one's counts. */
	if (linkat(dir, tmp, dir, "identity", 0) < 0 && errno != EEXIST)
		err_sys(e, "%s/identity", state_dir);
	else if (read_identity(dir, identity) < 0)
		err_set(e, ERR_MISMATCH, 0, "%s/identity is damaged", state_dir);
	unlinkat(dir, tmp, 0);
	return err_is_set(e) ? -1 : 0;
}

/* Takes the lock file away, unless somebody has it. */
static void sweep_lock(const char *state_dir, const struct migration_id *id, enum journal_side side)
{
	struct err busy;

	journal_close(journal_open(state_dir, id, side, &busy));
}

/* A lock that has no name yet, of somebody who was killed before it had. */
static void sweep_made(int dir, const char *name, const char *maker)
{
	char *end;
	long pid = strtol(maker, &end, 10);

	if (*maker && !*end && pid > 0 && kill((pid_t)pid, 0) < 0 && errno == ESRCH)
		unlinkat(dir, name, 0);
}

void journal_sweep(const char *state_dir, enum journal_side side)
{
	cleanup_dir DIR *d = opendir(state_dir);
	char hex[33], wanted[LOCK_NAME_MAX];
	struct dirent *entry;
	size_t len;

	lock_name(wanted, side_suffix[side]);
	len = strlen(wanted);
	while (d && (entry = readdir(d))) {
		const char *dot = strchr(entry->d_name, '.');
		struct migration_id id;

		if (!dot || dot - entry->d_name != 32 || strncmp(dot, wanted, len) != 0)
			continue;
		snprintf(hex, sizeof(hex), "%.32s", entry->d_name);
		if (!migration_id_parse(hex, &id))
			continue;
		if (!dot[len])
			sweep_lock(state_dir, &id, side);
		else if (dot[len] == '.')
			sweep_made(dirfd(d), entry->d_name, dot + len + 1);
	}
}

int journal_each(const char *state_dir, enum journal_side side, journal_each_fn *fn, void *arg, struct err *e)
{
	cleanup_dir DIR *d = opendir(state_dir);
	struct dirent *entry;
	int unread = 0;

	if (!d)
		return errno == ENOENT ? 0 : err_sys(e, "state directory %s", state_dir);
	while ((entry = readdir(d))) {
		const char *dot = strchr(entry->d_name, '.');
		struct journal_record r;
		struct migration_id id;
		struct err why = { 0 };
		char hex[33];

		if (!dot || dot - entry->d_name != 32 || strcmp(dot, side_suffix[side]) != 0)
			continue;
		snprintf(hex, sizeof(hex), "%.32s", entry->d_name);
		if (!migration_id_parse(hex, &id))
			continue;
		if (read_record(dirfd(d), entry->d_name, &r, &why) < 0) {
			if (why.kind == ERR_GONE) /* removed meanwhile */
				continue;
			*e = why;
			unread++;
			continue;
		}
		if (!fn(&id, &r, owner_lives(dirfd(d), entry->d_name), arg))
			break;
	}
	return unread;
}
