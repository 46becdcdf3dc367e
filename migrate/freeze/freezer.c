/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/freeze/freezer.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "migrate/freeze/cgroup_find.h"
#include "migrate/freeze/descendants.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/proc_stat.h"

enum { WAIT_MS = 10 * 1000, SMALL_FILE = 1 << 20, LOOK_AGAIN_US = 200 * 1000 };

/* ---- the process ---- */

static bool lives(const struct freezer *f)
{
	struct proc_stat s;

	return proc_stat_read(f->pid, f->pid, &s) == 0 && s.start_time == f->start_time && !proc_stat_ended(&s);
}

static int gone(const struct freezer *f, struct err *e)
{
	return err_set(e, ERR_GONE, 0, "process %d ended", f->pid);
}

/* A pidfd of this process and of no later one of the same number: the look at its start time comes after the open. */
static int open_process(const struct freezer *f, struct err *e)
{
	cleanup_fd int fd = pidfd_open_(f->pid, 0);

	if (fd < 0 && fd != -ESRCH)
		return err_set(e, ERR_SYSTEM, -fd, "open process %d", f->pid);
	if (fd < 0 || !lives(f))
		return gone(f, e);
	return steal_fd(&fd);
}

static int send_signal(const struct freezer *f, int sig, struct err *e)
{
	cleanup_fd int fd = open_process(f, e);

	if (fd < 0)
		return -1;
	if (syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0) < 0)
		return errno == ESRCH ? gone(f, e) : err_sys(e, "send signal %d to process %d", sig, f->pid);
	return 0;
}

/* ---- the cgroup ---- */

static int write_in(const char *dir, const char *file, const char *text, struct err *e)
{
	char path[640];

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	return file_write(AT_FDCWD, path, text, e);
}

/* Waits until cgroup.events says `line`; a removed cgroup says nothing. */
static int await_event(const struct freezer *f, const char *line, struct err *e)
{
	char path[640];
	cleanup_fd int fd = -1;
	uint64_t until = clock_us() + WAIT_MS * 1000u;

	snprintf(path, sizeof(path), "%s/cgroup.events", f->cgroup);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open %s", path);
	for (;;) {
		char text[256] = "";
		uint64_t now = clock_us();
		struct pollfd p = { .fd = fd, .events = POLLPRI };

		/* Somebody else may remove it meanwhile, and can only once nobody is in it. */
		if (pread(fd, text, sizeof(text) - 1, 0) < 0)
			return errno == ENODEV ? 0 : err_sys(e, "read %s", path);
		if (strstr(text, line))
			return 0;
		if (now >= until)
			return err_set(e, ERR_TIMEOUT, 0, "%s does not say \"%s\" within %d s", path, line, WAIT_MS / 1000);
		/* A removal wakes nobody who waits for a change: so not for the whole time at once. */
		poll(&p, 1, until - now > LOOK_AGAIN_US ? (int)(LOOK_AGAIN_US / 1000u) : (int)((until - now) / 1000u) + 1);
	}
}

static void move_pid(const char *dir, pid_t pid, struct err *e)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", pid);
	write_in(dir, "cgroup.procs", text, e);
}

/* Moves what is in ours back home. Children that it forked meanwhile are there too. */
static bool empty_out(const struct freezer *f)
{
	char path[640];
	struct err ignored = { 0 };
	cleanup_free char *procs = NULL;

	snprintf(path, sizeof(path), "%s/cgroup.procs", f->cgroup);
	procs = file_read(AT_FDCWD, path, SMALL_FILE, NULL, &ignored);
	if (!procs || !*procs)
		return true;
	for (char *at = procs, *end; *at; at = end + (*end == '\n')) {
		pid_t pid = (pid_t)strtol(at, &end, 10);

		if (end == at)
			break;
		if (pid > 0)
			move_pid(f->home, pid, &ignored);
	}
	return false;
}

/* Makes ours and moves the process there. False when this system does not let us, for whatever reason. */
static bool enter_cgroup(const struct freezer *f)
{
	struct err refused = { 0 };

	if (mkdir(f->cgroup, 0755) < 0 && errno != EEXIST)
		return false;
	move_pid(f->cgroup, f->pid, &refused);
	if (!err_is_set(&refused))
		return true;
	rmdir(f->cgroup);
	return false;
}

/* ---- the calls ---- */

static bool id_is_plain(const char *id)
{
	size_t len = strlen(id);

	if (len == 0 || len > 40)
		return false;
	for (; *id; id++)
		if (!isalnum((unsigned char)*id) && *id != '-' && *id != '_')
			return false;
	return true;
}

/* Where there is no cgroup to be had a stop signal does. */
static void take_signal(struct freezer *f)
{
	f->home[0] = f->cgroup[0] = '\0';
	f->kind = FREEZER_SIGSTOP;
}

int freezer_plan(struct freezer *f, pid_t pid, const char *id, struct err *e)
{
	struct proc_stat now;

	*f = (struct freezer){ .kind = FREEZER_CGROUP, .pid = pid };
	if (!id_is_plain(id))
		return err_set(e, ERR_INTERNAL, 0, "\"%s\" can't name a cgroup", id);
	if (pid <= 0 || proc_stat_read(pid, pid, &now) < 0)
		return gone(f, e);
	f->start_time = now.start_time;
	if (!cgroup_find(f->pid, f->home, sizeof(f->home)) || (size_t)snprintf(f->cgroup, sizeof(f->cgroup), "%s/dray-%s", f->home, id) >= sizeof(f->cgroup))
		take_signal(f);
	return 0;
}

int freezer_create(struct freezer *f, pid_t pid, const char *id, struct err *e)
{
	if (freezer_plan(f, pid, id, e) < 0)
		return -1;
	if (f->kind == FREEZER_CGROUP && !enter_cgroup(f))
		take_signal(f);
	if (lives(f))
		return 0;
	freezer_remove(f);
	return gone(f, e);
}

/* Traced ones are stopped now, and will be by the signal when their tracer lets go. */
static bool all_stopped(pid_t pid)
{
	return !proc_any_thread_but(pid, "TtZXx");
}

/* A process that its user had stopped must be so after a thaw: the signal is not ours to take back. home is free to say so. */
#define WAS_STOPPED "stopped"

void freezer_was_stopped(struct freezer *f)
{
	if (f->kind == FREEZER_SIGSTOP)
		snprintf(f->home, sizeof(f->home), WAS_STOPPED);
}

static int stop_by_signal(struct freezer *f, struct err *e)
{
	uint64_t until = clock_us() + WAIT_MS * 1000u;
	struct proc_stat s;

	if (proc_stat_read(f->pid, f->pid, &s) == 0 && s.state == 'T')
		freezer_was_stopped(f);
	if (send_signal(f, SIGSTOP, e) < 0)
		return -1;
	while (!all_stopped(f->pid)) {
		if (!lives(f))
			return gone(f, e);
		if (clock_us() >= until) {
			send_signal(f, SIGCONT, &(struct err){ 0 });
			return err_set(e, ERR_TIMEOUT, 0, "process %d did not stop within %d s", f->pid, WAIT_MS / 1000);
		}
		nanosleep(&(struct timespec){ .tv_nsec = 200 * 1000 }, NULL);
	}
	return 0;
}

/* Others move processes between cgroups too, and one that is empty counts as frozen. Below ours will do. */
static int check_inside(const struct freezer *f, struct err *e)
{
	char dir[640];
	size_t len = strlen(f->cgroup);

	if (cgroup_find(f->pid, dir, sizeof(dir)) && strncmp(dir, f->cgroup, len) == 0 && (dir[len] == '\0' || dir[len] == '/'))
		return 0;
	return lives(f) ? err_set(e, ERR_CONFLICT, 0, "somebody moved it out of %s", f->cgroup) : gone(f, e);
}

int freezer_freeze(struct freezer *f, struct err *e)
{
	if (f->kind == FREEZER_SIGSTOP)
		return stop_by_signal(f, e);
	if (f->kind != FREEZER_CGROUP)
		return err_set(e, ERR_INTERNAL, 0, "freeze without a freezer");
	if (!lives(f))
		return gone(f, e);
	if (write_in(f->cgroup, "cgroup.freeze", "1", e) == 0 && await_event(f, "frozen 1", e) == 0 && check_inside(f, e) == 0)
		return 0;
	write_in(f->cgroup, "cgroup.freeze", "0", &(struct err){ 0 });
	return err_wrap(e, "freeze process %d", f->pid);
}

int freezer_thaw(struct freezer *f, struct err *e)
{
	if (f->kind == FREEZER_SIGSTOP)
		return strcmp(f->home, WAS_STOPPED) == 0 ? 0 : send_signal(f, SIGCONT, e);
	if (f->kind != FREEZER_CGROUP)
		return err_set(e, ERR_INTERNAL, 0, "thaw without a freezer");
	if (!lives(f))
		return gone(f, e);
	if (access(f->cgroup, F_OK) < 0 && errno == ENOENT) /* somebody did, and removed it */
		return 0;
	if (write_in(f->cgroup, "cgroup.freeze", "0", e) < 0 || await_event(f, "frozen 0", e) < 0)
		return err_wrap(e, "thaw process %d", f->pid);
	return 0;
}

/* Kernels before 5.14 have no cgroup.kill. The pids are read again until none is left, so that a reused one is not hit by an old list for long. */
static int kill_each(const struct freezer *f, struct err *e)
{
	char path[640];
	uint64_t until = clock_us() + WAIT_MS * 1000u;

	snprintf(path, sizeof(path), "%s/cgroup.procs", f->cgroup);
	for (;;) {
		cleanup_free char *procs = file_read(AT_FDCWD, path, SMALL_FILE, NULL, e);

		if (!procs)
			return -1;
		if (!*procs)
			return 0;
		for (char *at = procs, *end; *at; at = end + (*end == '\n')) {
			pid_t pid = (pid_t)strtol(at, &end, 10);

			if (end == at)
				break;
			if (pid > 0)
				kill(pid, SIGKILL);
		}
		if (clock_us() >= until)
			return err_set(e, ERR_TIMEOUT, 0, "processes of %s can't be ended", f->cgroup);
		nanosleep(&(struct timespec){ .tv_nsec = 1000 * 1000 }, NULL);
	}
}

static int kill_cgroup(const struct freezer *f, struct err *e)
{
	char path[640];

	if (access(f->cgroup, F_OK) < 0 && errno == ENOENT)
		return 0;
	snprintf(path, sizeof(path), "%s/cgroup.kill", f->cgroup);
	if (access(path, W_OK) < 0)
		return kill_each(f, e);
	if (write_in(f->cgroup, "cgroup.kill", "1", e) < 0)
		return -1;
	return await_event(f, "populated 0", e);
}

static int kill_process(const struct freezer *f, int fd, struct err *e)
{
	int rc;

	if (syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return err_sys(e, "end process %d", f->pid);
	rc = wait_readable(fd, WAIT_MS);
	if (rc == 0)
		return err_set(e, ERR_TIMEOUT, 0, "process %d has not ended within %d s", f->pid, WAIT_MS / 1000);
	return rc < 0 ? err_set(e, ERR_SYSTEM, -rc, "wait for process %d", f->pid) : 0;
}

/* Somebody may have moved it out of ours, where it runs again, and taken ours away: it ends wherever it is. Not waited for: whoever traces it has to let go of
 * it first. */
static int kill_elsewhere(const struct freezer *f, struct err *e)
{
	struct err where = { 0 };

	if (check_inside(f, &where) == 0 || where.kind == ERR_GONE)
		return 0;
	if (send_signal(f, SIGKILL, e) == 0)
		return 0;
	if (e->kind != ERR_GONE)
		return -1;
	err_clear(e);
	return 0;
}

static int kill_family(const struct freezer *f, struct err *e)
{
	cleanup_fd int fd = open_process(f, e);
	struct descendants d = { 0 };
	struct err further = { 0 }; /* behind the first */
	int rc;

	if (fd < 0) {
		if (e->kind != ERR_GONE)
			return -1;
		err_clear(e);
		return 0;
	}
	rc = descendants_stop(&d, f->pid, e);
	if (kill_process(f, fd, rc < 0 ? &further : e) < 0 || descendants_kill(&d, rc < 0 ? &further : e) < 0)
		rc = -1;
	descendants_finish(&d);
	return rc;
}

int freezer_kill(struct freezer *f, struct err *e)
{
	if (f->kind == FREEZER_NONE)
		return err_set(e, ERR_INTERNAL, 0, "kill without a freezer");
	if ((f->kind == FREEZER_CGROUP ? kill_cgroup(f, e) < 0 || kill_elsewhere(f, e) < 0 : kill_family(f, e) < 0))
		return err_wrap(e, "end process %d", f->pid);
	return 0;
}

void freezer_remove(struct freezer *f)
{
	/* Ending processes leave their cgroup a moment later than they can be seen to end. */
	for (int tries = 0; f->kind == FREEZER_CGROUP && tries < 1000; tries++) {
		empty_out(f);
		if (rmdir(f->cgroup) == 0 || errno == ENOENT)
			break;
		nanosleep(&(struct timespec){ .tv_nsec = 1000 * 1000 }, NULL);
	}
	*f = (struct freezer){ 0 };
}
