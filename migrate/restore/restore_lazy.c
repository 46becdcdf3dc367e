/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that comes after the process runs. The kernel tells of the first touch of a page only where nothing is yet: what something touched before it was
 * watched (a huge page around a hole, memory that is locked) is taken out again, for it would keep zeros where there is data. */
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "migrate/lazy/lazy_socket.h"
#include "migrate/restore/restore_priv.h"
#include "migrate/track/pagemap.h"
#include "pageserver/late/late_memory.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/image/vma_status.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
enum { TRIES = 10, CALLS = 64 };

typedef int vma_fn(int uffd, uint64_t start, uint64_t end, struct err *e);

static bool has_late(const struct run_list *late, const VmaEntry *v)
{
	for (size_t i = 0; i < late->count; i++)
		if (late->run[i].addr < v->end && run_end(&late->run[i]) > v->start)
			return true;
	return false;
}

static int each_vma(const struct restore_late *t, vma_fn *fn, struct err *e)
{
	const MmEntry *mm = t->r->task->mm;

	for (size_t i = 0; i < mm->n_vmas; i++)
		if (mm->vmas[i]->status & VMA_STATUS_ANON_PRIVATE && has_late(&t->l->late, mm->vmas[i]) &&
		    fn(t->uffd, mm->vmas[i]->start, mm->vmas[i]->end, e) < 0)
			return -1;
	return 0;
}

/* ---- what is there too early ---- */

struct drop {
	struct remote *held;
	struct remote_call call[CALLS];
	size_t calls;
};

static int flush(struct drop *d, struct err *e)
{
	size_t n = d->calls;

	d->calls = 0;
	return n ? remote_run(d->held, 0, d->call, n, "take out what was touched", e) : 0;
}

/* Locked memory needs the newer advice, which older kernels don't know. */
static int add_drop(struct drop *d, uint64_t at, uint64_t end, struct err *e)
{
	d->call[d->calls++] = REMOTE_TRY(SYS_madvise, at, end - at, MADV_DONTNEED);
	d->call[d->calls++] = REMOTE_TRY(SYS_madvise, at, end - at, MADV_DONTNEED_LOCKED);
	return d->calls == CALLS ? flush(d, e) : 0;
}

/* Pages of what is to come late that are there. */
static uint64_t count_touched(const struct run_list *late, int fd)
{
	uint64_t n = 0;

	for (size_t i = 0; i < late->count; i++)
		n += pagemap_count_by_words(fd, late->run[i].addr, run_end(&late->run[i]));
	return n;
}

static int drop_touched(const struct run_list *late, struct remote *held, int fd, struct err *e)
{
	struct drop d = { .held = held };

	for (size_t i = 0; i < late->count; i++) {
		uint64_t end = run_end(&late->run[i]), at = pagemap_first_by_words(fd, late->run[i].addr, end);

		/* The whole rest of the run: none of it is anything yet. */
		if (at < end && add_drop(&d, at, end, e) < 0)
			return -1;
	}
	return flush(&d, e);
}

/* Watched first, looked at then: what is absent now can't come unseen. The calls run while nothing is watched, or they would wait for who hears of
 * what they take out. */
static int watch_all(struct restore_late *t, struct remote *held, uint64_t *dropped, struct err *e)
{
	cleanup_fd int fd = proc_pagemap_open(held->pid);
	uint64_t touched;

	if (fd < 0)
		return err_set(e, ERR_SYSTEM, -fd, "pages of process %d", (int)held->pid);
	for (unsigned i = 0; i < TRIES; i++) {
		if (each_vma(t, late_uffd_watch, e) < 0)
			return -1;
		touched = count_touched(&t->l->late, fd);
		if (touched == 0)
			return 0;
		*dropped += touched;
		if (each_vma(t, late_uffd_unwatch, e) < 0 || drop_touched(&t->l->late, held, fd, e) < 0)
			return -1;
	}
	return err_set(e, ERR_SYSTEM, EBUSY, "lazy pages of task %u that don't stay out", t->r->task->ps->pid);
}

int restore_late_watch(void *arg, struct remote *held, struct err *e)
{
	struct restore_late *t = arg;
	uint64_t dropped = 0;

	if (late_uffd_enable(t->uffd, e) < 0 || watch_all(t, held, &dropped, e) < 0 || lazy_socket_give(t->sock, t->r->task->ps->pid, t->uffd, e) < 0)
		return -1;
	/* From here on the daemon alone holds it: were it to end, whoever waits would wait for us. */
	close(t->uffd);
	t->uffd = -1;
	log_event(LOG_INFO, "lazy-restore", "pid=%u late=%llu dropped=%llu", t->r->task->ps->pid, (unsigned long long)t->l->late.data_pages,
		  (unsigned long long)dropped);
	return 0;
}
