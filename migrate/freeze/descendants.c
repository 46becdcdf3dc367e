/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/freeze/descendants.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "proto/base/cleanup.h"
#include "proto/base/grow.h"
#include "proto/base/io.h"
#include "proto/base/proc_stat.h"

enum { WAIT_MS = 10 * 1000 };

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 1000 * 1000 }, NULL);
}

static bool lives(const struct descendant *d)
{
	struct proc_stat s;

	return proc_stat_read(d->pid, d->pid, &s) == 0 && s.start_time == d->start_time && !proc_stat_ended(&s);
}

static bool knows(const struct descendants *d, pid_t pid)
{
	for (size_t i = 0; i < d->count; i++)
		if (d->v[i].pid == pid)
			return true;
	return false;
}

static int add(struct descendants *d, pid_t pid, unsigned long long start_time)
{
	if (!array_room(&d->v, d->count, &d->capacity, sizeof(*d->v), 16))
		return -ENOMEM;
	d->v[d->count++] = (struct descendant){ .pid = pid, .start_time = start_time };
	return 0;
}

/* A thread that runs may be about to have a child; one that is stopped, or waits for something that a signal to end it cuts short, has none. */
static bool runs(pid_t pid)
{
	return proc_any_thread_but(pid, "TtDZXx");
}

/* One look at all processes. 1: nobody new, and nobody who could have more. */
static int look(struct descendants *d, pid_t root)
{
	cleanup_dir DIR *dir = opendir("/proc");
	size_t before = d->count;
	struct dirent *entry;
	bool running = runs(root);

	while (dir && (entry = readdir(dir))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
		struct proc_stat s;

		if (pid <= 0 || proc_stat_read(pid, pid, &s) < 0 || proc_stat_ended(&s) || (s.parent != root && !knows(d, s.parent)) || knows(d, pid))
			continue;
		if (add(d, pid, s.start_time) < 0)
			return -ENOMEM;
		kill(pid, SIGSTOP);
	}
	for (size_t i = 0; i < d->count && !running; i++)
		running = lives(&d->v[i]) && runs(d->v[i].pid);
	return d->count == before && !running;
}

int descendants_stop(struct descendants *d, pid_t pid, struct err *e)
{
	uint64_t until = clock_us() + WAIT_MS * 1000u;
	int rc;

	kill(pid, SIGSTOP);
	while ((rc = look(d, pid)) == 0) {
		if (clock_us() >= until)
			return err_set(e, ERR_TIMEOUT, 0, "process %d and its children do not stop within %d s", (int)pid, WAIT_MS / 1000);
		nap();
	}
	return rc < 0 ? err_set(e, ERR_SYSTEM, -rc, "children of process %d", (int)pid) : 0;
}

int descendants_kill(const struct descendants *d, struct err *e)
{
	uint64_t until = clock_us() + WAIT_MS * 1000u;

	for (size_t i = 0; i < d->count; i++)
		if (lives(&d->v[i]))
			kill(d->v[i].pid, SIGKILL);
	for (size_t i = 0; i < d->count; i++) {
		while (lives(&d->v[i])) {
			if (clock_us() >= until)
				return err_set(e, ERR_TIMEOUT, 0, "process %d has not ended within %d s", (int)d->v[i].pid, WAIT_MS / 1000);
			nap();
		}
	}
	return 0;
}

void descendants_finish(struct descendants *d)
{
	free(d->v);
	*d = (struct descendants){ 0 };
}
