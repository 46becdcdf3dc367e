/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors that tell of events: eventfd, epoll, timerfd, signalfd, inotify. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "migrate/native/rebuild_priv.h"

#ifndef TFD_IOC_SET_TICKS
#define TFD_IOC_SET_TICKS _IOW('T', 0, uint64_t)
#endif
#ifndef INOTIFY_IOC_SETNEXTWD
#define INOTIFY_IOC_SETNEXTWD _IOW('I', 0, int32_t) /* the number itself is the argument */
#endif
enum { NSEC = 1000 * 1000 * 1000 };

int rebuild_eventfd(struct rebuild *r, struct built *b)
{
	const EventfdFileEntry *efd = b->f->efd;
	bool semaphore = b->x && b->x->has_eventfd_semaphore && b->x->eventfd_semaphore;
	uint64_t counter = efd->counter;

	if (rebuild_take(r, b, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | (semaphore ? EFD_SEMAPHORE : 0)), "eventfd") < 0)
		return -1;
	if (counter && write(b->fd, &counter, sizeof(counter)) != sizeof(counter))
		return rebuild_fail(r, b, ERR_SYSTEM, errno, "eventfd at %llu", (unsigned long long)counter);
	return 0;
}

int rebuild_epoll(struct rebuild *r, struct built *b)
{
	return rebuild_take(r, b, epoll_create1(EPOLL_CLOEXEC), "epoll");
}

int rebuild_epoll_fill(struct rebuild *r, const struct built *b, int fd)
{
	const EventpollFileEntry *ep = b->f->epfd;

	for (size_t i = 0; i < ep->n_tfd; i++) {
		const EventpollTfdEntry *t = ep->tfd[i];
		struct epoll_event ev = { .events = t->events, .data.u64 = t->data };

		if (epoll_ctl(fd, EPOLL_CTL_ADD, (int)t->tfd, &ev) < 0)
			return rebuild_fail(r, b, ERR_SYSTEM, errno, "epoll that watches fd %u", t->tfd);
	}
	return 0;
}

/* An absolute timer is told as what is left of it; made absolute again, so that it goes on to follow its clock when that is set. */
static int arm_timerfd(const TimerfdEntry *t, int fd)
{
	struct itimerspec its = { .it_interval = { (time_t)t->isec, (long)t->insec }, .it_value = { (time_t)t->vsec, (long)t->vnsec } };

	if (!its.it_value.tv_sec && !its.it_value.tv_nsec)
		return 0;
	if (t->settime_flags & TFD_TIMER_ABSTIME) {
		struct timespec now;

		if (clock_gettime((clockid_t)t->clockid, &now) < 0)
			return -1;
		its.it_value.tv_sec += now.tv_sec;
		its.it_value.tv_nsec += now.tv_nsec;
		if (its.it_value.tv_nsec >= NSEC) {
			its.it_value.tv_sec++;
			its.it_value.tv_nsec -= NSEC;
		}
	}
	return timerfd_settime(fd, (int)t->settime_flags, &its, NULL);
}

int rebuild_timerfd(struct rebuild *r, struct built *b)
{
	const TimerfdEntry *t = b->f->tfd;
	uint64_t ticks = t->ticks ? t->ticks : b->x && b->x->has_timerfd_ticks ? b->x->timerfd_ticks : 0;

	if (rebuild_take(r, b, timerfd_create((clockid_t)t->clockid, TFD_CLOEXEC | TFD_NONBLOCK), "timerfd") < 0)
		return -1;
	if (arm_timerfd(t, b->fd) < 0)
		return rebuild_fail_sys(r, b, "timerfd");
	if (ticks && ioctl(b->fd, TFD_IOC_SET_TICKS, &ticks) < 0)
		return rebuild_fail_sys(r, b, "timerfd that has expired (CONFIG_CHECKPOINT_RESTORE)");
	return 0;
}

int rebuild_signalfd(struct rebuild *r, struct built *b)
{
	uint64_t mask = b->f->sgfd->sigmask;

	return rebuild_take(r, b, (int)syscall(SYS_signalfd4, -1, &mask, sizeof(mask), SFD_CLOEXEC | SFD_NONBLOCK), "signalfd");
}

/* Numbers only ever grow, so the wanted one is reached by watches that are given up at once, where the kernel can't be told. */
static int watch_as(int fd, const Drayage__InotifyWatch *w)
{
	int32_t next = (int32_t)w->wd;

	ioctl(fd, INOTIFY_IOC_SETNEXTWD, (unsigned long)next);
	for (int tries = 0; tries < 65536; tries++) {
		int wd = inotify_add_watch(fd, w->path, w->mask);

		if (wd < 0 || wd == next)
			return wd;
		if (inotify_rm_watch(fd, wd) < 0)
			return -1;
		if (wd > next)
			break;
	}
	errno = EBUSY;
	return -1;
}

int rebuild_inotify(struct rebuild *r, struct built *b)
{
	if (rebuild_take(r, b, inotify_init1(IN_CLOEXEC | IN_NONBLOCK), "inotify") < 0)
		return -1;
	for (size_t i = 0; i < b->x->n_inotify; i++) {
		const Drayage__InotifyWatch *w = b->x->inotify[i];
		struct inotify_event drain[256];

		if (watch_as(b->fd, w) < 0)
			return rebuild_fail(r, b, ERR_SYSTEM, errno, "inotify watch %u of %s", w->wd, w->path);
		/* A watch that was given up leaves an event of its own. */
		while (read(b->fd, drain, sizeof(drain)) > 0)
			continue;
	}
	return 0;
}
