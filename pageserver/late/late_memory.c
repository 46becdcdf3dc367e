/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/late/late_memory.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "pageserver/late/late_map.h"
#include "pageserver/late/late_order.h"
#include "proto/base/grow.h"
#include "proto/base/log.h"
#include "proto/base/proc_stat.h"

#define FEATURES (UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP)
enum { GAP_MAX_PAGES = 1 << 14 /* 64 MiB: a wider gap in what is missing is not worth bits of its own */,
       READY_MAX = 64, MANY_THREADS = 1000, SETTLE_TRIES = 50, SOON_NS = 1000 * 1000, LOOK_FROM = 64 /* children, before it is looked which of them are over */ };

/* One address space. A child's that needs nobody any more has no uffd (-1), and goes when nobody is going through the list.
 *
 * What it is told to have done to its mappings is held until all that it has done was told (a period: late_order.h); until then its map is as before. */
struct late_process {
	int uffd;
	struct late_map map;
	struct late_order order;     /* told and not in the map yet */
	uint64_t *fault;             /* where somebody waits, not to be answered before that; owned */
	size_t faults, fault_capacity;
	size_t unborn;               /* children whose `parent` we are */
	struct late_process *parent; /* until its period of our birth is over: we have no map before, and are not heard; else NULL */
	size_t born;                 /* what it had told of the period by then */
};
struct late {
	struct late_process **process; /* owned; the first is the one that moved, the others its children */
	size_t count, capacity;
	size_t look_at; /* this many: look which are over */
	int epoll;      /* all their descriptors, and the timer's */
	int timer;      /* runs while one is not settled: nothing wakes us when it can be */
	void *unreadable; /* a page without access: a copy from it changes nothing, and fails in a way that tells */
	pid_t pid;        /* of the first one; 0: not known */
	bool has_threads; /* it was seen to have several */
	late_want *want;
	void *arg;
};

static void see_threads(struct late *l)
{
	if (l->pid && !l->has_threads)
		l->has_threads = proc_thread_count(l->pid) > 1;
}

static void process_destroy(struct late_process *p)
{
	late_map_finish(&p->map);
	late_order_finish(&p->order);
	if (p->uffd >= 0)
		close(p->uffd);
	free(p->fault);
	free(p);
}

/* Takes uffd, also on failure. The new one is the last of the list. */
static int add_process(struct late *l, int uffd)
{
	struct late_process *p = calloc(1, sizeof(*p));
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = p };

	if (!p || !array_room(&l->process, l->count, &l->capacity, sizeof(*l->process), 16) || epoll_ctl(l->epoll, EPOLL_CTL_ADD, uffd, &ev) < 0) {
		int rc = -errno;

		free(p);
		close(uffd);
		return rc;
	}
	p->uffd = uffd;
	l->process[l->count++] = p;
	return 0;
}

/* A descriptor a child that lives and misses something, however many there are. */
static void allow_many_descriptors(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur == r.rlim_max)
		return;
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
}

struct late *late_adopt(int uffd, late_want *want, void *arg, struct err *e)
{
	struct late *l = calloc(1, sizeof(*l));
	struct epoll_event timer = { .events = EPOLLIN };
	int rc;

	if (!l) {
		err_set(e, ERR_SYSTEM, ENOMEM, "post-copy");
		close(uffd);
		return NULL;
	}
	*l = (struct late){ .look_at = LOOK_FROM, .want = want, .arg = arg, .epoll = epoll_create1(EPOLL_CLOEXEC),
		.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
		.unreadable = mmap(NULL, DRAY_PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) };
	rc = add_process(l, uffd);
	if (rc == 0 && (l->unreadable == MAP_FAILED || l->timer < 0 || epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->timer, &timer) < 0))
		rc = l->unreadable == MAP_FAILED ? -ENOMEM : -errno;
	if (rc < 0) {
		err_set(e, ERR_SYSTEM, -rc, "post-copy");
		late_destroy(l);
		return NULL;
	}
	allow_many_descriptors();
	return l;
}

int late_uffd_enable(int uffd, struct err *e)
{
	struct uffdio_api api = { .api = UFFD_API, .features = FEATURES };

	return ioctl(uffd, UFFDIO_API, &api) < 0 ? err_sys(e, "userfaultfd that follows forks and mappings") : 0;
}

int late_uffd_watch(int uffd, uint64_t start, uint64_t end, struct err *e)
{
	struct uffdio_register r = { .range = { .start = start, .len = end - start }, .mode = UFFDIO_REGISTER_MODE_MISSING };

	return ioctl(uffd, UFFDIO_REGISTER, &r) < 0 ? err_sys(e, "watch %llx-%llx", (unsigned long long)start, (unsigned long long)end) : 0;
}

int late_uffd_unwatch(int uffd, uint64_t start, uint64_t end, struct err *e)
{
	struct uffdio_range r = { .start = start, .len = end - start };

	return ioctl(uffd, UFFDIO_UNREGISTER, &r) < 0 ? err_sys(e, "unwatch %llx-%llx", (unsigned long long)start, (unsigned long long)end) : 0;
}

struct late *late_create(int uffd, late_want *want, void *arg, struct err *e)
{
	struct late *l = late_adopt(uffd, want, arg, e);

	if (!l || late_uffd_enable(uffd, e) == 0)
		return l;
	late_destroy(l);
	return NULL;
}

void late_destroy(struct late *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->count; i++)
		process_destroy(l->process[i]);
	if (l->epoll >= 0)
		close(l->epoll);
	if (l->timer >= 0)
		close(l->timer);
	if (l->unreadable != MAP_FAILED)
		munmap(l->unreadable, DRAY_PAGE_SIZE);
	free(l->process);
	free(l);
}

/* ---- what is missing ---- */

int late_expect(struct late *l, const struct page_run *runs, size_t count, struct err *e)
{
	struct late_map *m = &l->process[0]->map;

	for (size_t i = 0, from; i < count; i++) {
		from = i;
		while (i + 1 < count && runs[i + 1].addr - run_end(&runs[i]) <= pages_to_bytes(GAP_MAX_PAGES))
			i++;
		if (late_map_add(m, runs[from].addr, bytes_to_pages(run_end(&runs[i]) - runs[from].addr)) < 0)
			return err_set(e, ERR_SYSTEM, ENOMEM, "post-copy");
		for (; from <= i; from++)
			late_map_mark(m, runs[from].addr, runs[from].pages);
	}
	return 0;
}

/* What lies between what is missing is watched too: it takes part in what the process does to its mappings. */
static int expect_in(struct late *l, uint64_t start, uint64_t end, const struct page_run *runs, size_t count, struct err *e)
{
	struct late_map *m = &l->process[0]->map;
	size_t first = m->count;

	if (late_expect(l, runs, count, e) < 0)
		return -1;
	for (size_t i = first, last = m->count; i <= last; i++) {
		uint64_t to = i < last ? m->seg[i].at : end;

		if (start < to && late_map_add_whole(m, start, bytes_to_pages(to - start)) < 0)
			return err_set(e, ERR_SYSTEM, ENOMEM, "post-copy");
		if (i < last)
			start = m->seg[i].at + pages_to_bytes(m->seg[i].pages);
	}
	return 0;
}

int late_register(struct late *l, uint64_t start, uint64_t end, const struct page_run *runs, size_t count, struct err *e)
{
	if (late_uffd_watch(l->process[0]->uffd, start, end, e) < 0)
		return -1;
	return expect_in(l, start, end, runs, count, e);
}

void late_of(struct late *l, pid_t pid)
{
	l->pid = pid;
	see_threads(l);
}

void late_forget(struct late *l, uint64_t addr, uint64_t pages)
{
	late_map_clear(&l->process[0]->map, addr, pages);
}

uint64_t late_missing(const struct late *l)
{
	uint64_t n = 0;

	for (size_t i = 0; i < l->count; i++)
		n += l->process[i]->map.missing;
	return n;
}

static int by_source(const void *a, const void *b)
{
	uint64_t x = ((const struct late_stretch *)a)->source, y = ((const struct late_stretch *)b)->source;

	return x < y ? -1 : x > y;
}

static int append_stretches(const struct late_map *m, struct late_stretch **v, size_t *count, size_t *capacity)
{
	struct late_cursor c = { 0 };
	struct late_stretch s;

	while (late_map_next(m, 0, UINT64_MAX >> DRAY_PAGE_SHIFT, &c, &s)) {
		if (!array_room(v, *count, capacity, sizeof(**v), 256))
			return -ENOMEM;
		(*v)[(*count)++] = s;
	}
	return 0;
}

/* Where several processes miss a page it is named once. */
static int merge(const struct late_stretch *v, size_t count, struct run_list *out)
{
	uint64_t end = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t from = v[i].source > end ? v[i].source : end, to = v[i].source + pages_to_bytes(v[i].pages);

		if (from >= to)
			continue;
		if (run_list_add(out, from, bytes_to_pages(to - from), RUN_DATA) < 0)
			return -ENOMEM;
		end = to;
	}
	return 0;
}

int late_list(const struct late *l, struct run_list *out)
{
	struct late_stretch *v = NULL;
	size_t count = 0, capacity = 0;
	int rc = 0;

	for (size_t i = 0; i < l->count && rc == 0; i++)
		rc = append_stretches(&l->process[i]->map, &v, &count, &capacity);
	if (rc == 0 && count > 0) {
		qsort(v, count, sizeof(*v), by_source);
		rc = merge(v, count, out);
	}
	free(v);
	return rc;
}

/* ---- what the kernel tells ---- */

int late_fd(const struct late *l)
{
	return l->epoll;
}

/* Who waits there touches it once more. */
static void wake(const struct late_process *p, uint64_t start, uint64_t len)
{
	struct uffdio_range r = { .start = start, .len = len };

	ioctl(p->uffd, UFFDIO_WAKE, &r);
}

/* Absent, and the source has nothing for it: what the kernel would have given it. */
static int give_zero(const struct late_process *p, uint64_t at)
{
	struct uffdio_zeropage z = { .range = { .start = at, .len = DRAY_PAGE_SIZE } };

	if (ioctl(p->uffd, UFFDIO_ZEROPAGE, &z) == 0 || errno == ESRCH)
		return 0;
	if (errno != EEXIST && errno != ENOENT && errno != EAGAIN)
		return -errno;
	/* It is there, it is unmapped, or another thread is changing mappings. Nobody but us wakes the one that waits. */
	wake(p, at, DRAY_PAGE_SIZE);
	return 0;
}

/* The error of a copy that can't be: EAGAIN while the process changes its mappings or was not heard of it, ESRCH when it has ended, ENOENT where nothing
 * is watched, EFAULT where a page is absent, EEXIST where one is. */
static int try_copy(const struct late *l, const struct late_process *p, uint64_t to)
{
	struct uffdio_copy copy = { .dst = to, .src = (uint64_t)(uintptr_t)l->unreadable, .len = DRAY_PAGE_SIZE };

	return ioctl(p->uffd, UFFDIO_COPY, &copy) < 0 ? errno : 0;
}

/* Has it nothing to tell any more? Then all that it has done was read. */
static bool is_quiet(const struct late *l, const struct late_process *p)
{
	return try_copy(l, p, (uint64_t)(uintptr_t)l->unreadable) != EAGAIN;
}

static bool is_settled(const struct late_process *p)
{
	return !p->parent && p->order.count == 0 && p->unborn == 0 && p->faults == 0;
}

static int hold_fault(struct late_process *p, uint64_t at)
{
	if (!array_room(&p->fault, p->faults, &p->fault_capacity, sizeof(*p->fault), 16))
		return -ENOMEM;
	p->fault[p->faults++] = at;
	return 0;
}

/* What is asked for in error comes all the same, sooner than it would have. Zeros are not taken back. */
static int on_fault(struct late *l, struct late_process *p, uint64_t address)
{
	uint64_t at = address & ~(DRAY_PAGE_SIZE - 1), source;
	bool first = false;

	source = late_map_want(&p->map, at, &first);
	if (source != UINT64_MAX && first)
		l->want(l->arg, source);
	if (p->order.count > 0)
		return hold_fault(p, at);
	return source == UINT64_MAX ? give_zero(p, at) : 0;
}

static int on_fork(struct late *l, struct late_process *parent, int uffd)
{
	int rc = add_process(l, uffd);
	struct late_process *child;

	if (rc < 0)
		return rc;
	child = l->process[l->count - 1];
	child->parent = parent;
	child->born = parent->order.count;
	parent->unborn++;
	return 0;
}

static int on_change(struct late_process *p, const struct uffd_msg *m)
{
	struct late_change c = { .kind = m->event == UFFD_EVENT_UNMAP ? LATE_UNMAPPED : LATE_DISCARDED, .from = m->arg.remove.start,
		.pages = bytes_to_pages(m->arg.remove.end - m->arg.remove.start) };

	if (m->event == UFFD_EVENT_REMAP)
		c = (struct late_change){ .kind = LATE_MOVED, .from = m->arg.remap.from, .to = m->arg.remap.to, .pages = bytes_to_pages(m->arg.remap.len) };
	return late_order_note(&p->order, &c);
}

static int on_event(struct late *l, struct late_process *p, const struct uffd_msg *m)
{
	switch (m->event) {
	case UFFD_EVENT_PAGEFAULT:
		return on_fault(l, p, m->arg.pagefault.address);
	case UFFD_EVENT_FORK:
		return on_fork(l, p, (int)m->arg.fork.ufd);
	case UFFD_EVENT_REMAP:
	case UFFD_EVENT_REMOVE:
	case UFFD_EVENT_UNMAP:
		return on_change(p, m);
	}
	return 0;
}

static bool has_ended(const struct late *l, const struct late_process *p)
{
	return try_copy(l, p, (uint64_t)(uintptr_t)l->unreadable) == ESRCH;
}

/* What the kernel wakes then finds zeros where it misses nothing, as is right. */
static void let_go(struct late_process *p)
{
	if (p->parent)
		p->parent->unborn--;
	p->parent = NULL;
	p->faults = 0;
	late_order_clear(&p->order);
	late_map_finish(&p->map);
	close(p->uffd);
	p->uffd = -1;
}

/* Of children that miss nothing (any more), and of those that ended: no descriptor tells of an end, what is tried on it does. The first one's stays,
 * missing nothing. Returns how many descriptors that freed. */
static size_t let_go_of_ended(struct late *l)
{
	size_t n = 0;

	for (size_t i = 0; i < l->count; i++) {
		struct late_process *p = l->process[i];
		bool ended = p->uffd >= 0 && has_ended(l, p);

		if (i == 0 && ended)
			late_map_finish(&p->map);
		if (i == 0 || p->uffd < 0 || p->unborn > 0 || (!ended && (p->map.missing > 0 || !is_settled(p) || !is_quiet(l, p))))
			continue;
		let_go(p);
		n++;
	}
	return n;
}

/* Reads what it tells. A child whose descriptor finds no room stays unborn until it does: the kernel keeps its event. */
static int hear(struct late *l, struct late_process *p)
{
	struct uffd_msg m;

	while (p->uffd >= 0) {
		ssize_t n;
		int rc;

		if (p == l->process[0])
			see_threads(l); /* before: who has something to tell can't end */
		n = read(p->uffd, &m, sizeof(m));
		rc = n < 0 ? -errno : 0;
		if (rc == -EMFILE && let_go_of_ended(l) > 0)
			continue;
		if (n < 0)
			return rc == -EAGAIN || rc == -EINTR ? 0 : rc;
		if (n != (ssize_t)sizeof(m))
			return 0; /* its memory is gone */
		rc = on_event(l, p, &m);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* ---- the end of a period ---- */

struct looking { struct late *l; struct late_process *p; };

static int look_there(void *arg, uint64_t at)
{
	const struct looking *k = arg;
	int error = try_copy(k->l, k->p, at);

	/* Of a process that has begun to change its mappings the kernel may look for the mapping first (mm/userfaultfd.c, mfill_atomic; Linux 6.9). */
	if (error == EAGAIN || (error == ENOENT && !is_quiet(k->l, k->p)))
		return -EAGAIN;
	if (error == ESRCH)
		return -ESRCH;
	return error == EFAULT ? LATE_ABSENT : error == EEXIST ? LATE_PRESENT : LATE_UNWATCHED;
}

/* Of children nobody knows the number. */
static unsigned count_threads(void *arg)
{
	const struct looking *k = arg;
	struct late *l = k->l;

	if (k->p != l->process[0] || l->pid == 0)
		return 0;
	return l->has_threads ? MANY_THREADS : 1;
}

/* Of the period's children: a map that is their parent's from before it. */
static int copy_to_children(struct late *l, const struct late_process *parent)
{
	int rc = 0;

	for (size_t i = 0; i < l->count && rc == 0; i++)
		if (l->process[i]->parent == parent)
			rc = late_map_copy(&parent->map, &l->process[i]->map);
	return rc;
}

/* It had what its parent had when it was forked. */
static int give_birth(struct late *l, struct late_process *child)
{
	struct looking k = { .l = l, .p = child };
	const struct late_look look = { .there = look_there, .threads = count_threads, .arg = &k };
	struct late_process *parent = child->parent;

	child->parent = NULL;
	parent->unborn--;
	return late_order_apply_born(&parent->order, child->born, &child->map, &look);
}

static int give_births(struct late *l, const struct late_process *parent)
{
	int rc = 0;

	for (size_t i = 0; i < l->count && rc == 0 && parent->unborn > 0; i++)
		if (l->process[i]->parent == parent)
			rc = give_birth(l, l->process[i]);
	return rc;
}

/* Who waits for what is not where it was, or not missing any more, would not be woken by what comes. */
static void wake_moved(const struct late_process *p)
{
	for (size_t i = 0; i < p->order.count; i++)
		wake(p, p->order.v[i].c.from, pages_to_bytes(p->order.v[i].c.pages));
	for (size_t i = 0; i < p->faults; i++)
		wake(p, p->fault[i], DRAY_PAGE_SIZE);
}

/* All of the period was heard. -EAGAIN: no, another change has begun before memory was looked at. */
static int end_period(struct late *l, struct late_process *p)
{
	struct looking k = { .l = l, .p = p };
	const struct late_look look = { .there = look_there, .threads = count_threads, .arg = &k };
	int rc = p->order.count > 1 ? late_order_sort(&p->order, &p->map, &look) : 0;

	if (rc < 0 && rc != -ESRCH)
		return rc;
	rc = copy_to_children(l, p);
	if (rc == 0)
		rc = late_order_apply(&p->order, &p->map);
	if (rc == 0) /* as far as it lets us look */
		late_order_find_grown(&p->order, &p->map, &look);
	if (rc == 0)
		rc = give_births(l, p);
	wake_moved(p);
	late_order_clear(&p->order);
	p->faults = 0;
	return rc;
}

/* Hears it, and its parent before, and ends the period if it has nothing more to tell. 1: it is settled; 0: not yet; or an error. */
static int try_settle(struct late *l, struct late_process *p)
{
	int rc = p->parent ? try_settle(l, p->parent) : 1;

	if (rc <= 0 || is_settled(p))
		return rc;
	rc = hear(l, p);
	if (rc == 0)
		rc = is_quiet(l, p) ? end_period(l, p) : -EAGAIN;
	return rc == -EAGAIN ? 0 : rc < 0 ? rc : is_settled(p);
}

/* That takes as long as its threads need to come and tell: they are let have the processor. */
static int settle(struct late *l, struct late_process *p)
{
	int rc;

	while ((rc = try_settle(l, p)) == 0)
		sched_yield();
	return rc < 0 ? rc : 0;
}

/* The timer goes off when it may be worth another try. */
static int settle_soon(struct late *l, struct late_process *p)
{
	const struct itimerspec soon = { .it_value.tv_nsec = SOON_NS };
	int rc = 0;

	for (unsigned i = 0; i < SETTLE_TRIES && (rc = try_settle(l, p)) == 0; i++)
		sched_yield();
	if (rc == 0)
		timerfd_settime(l->timer, 0, &soon, NULL);
	return rc < 0 ? rc : 0;
}

/* A child is not heard before it is known where its memory is: the kernel keeps its events. */
static int drain(struct late *l, struct late_process *p)
{
	int rc = p->parent ? try_settle(l, p->parent) : 1;

	if (rc > 0)
		rc = hear(l, p);
	return rc < 0 ? rc : settle_soon(l, p);
}

static int settle_all(struct late *l)
{
	uint64_t ticks;
	int rc = 0;

	if (read(l->timer, &ticks, sizeof(ticks)) < 0 && errno != EAGAIN)
		return -errno;
	for (size_t i = 0; i < l->count && rc == 0; i++)
		if (l->process[i]->uffd >= 0 && !is_settled(l->process[i]))
			rc = settle_soon(l, l->process[i]);
	return rc;
}

static int failed(const struct late *l, int rc, struct err *e)
{
	if (rc == -EMFILE)
		return err_set(e, ERR_LIMIT, EMFILE, "post-copy: %zu processes that were forked live and miss pages", l->count - 1);
	if (rc == -EUCLEAN)
		return err_set(e, ERR_UNSUPPORTED, 0,
			       "post-copy: threads change the same places of memory at once, and what is where now can't be told");
	return err_set(e, ERR_SYSTEM, -rc, "post-copy: what the process does to its memory");
}

/* Now and then, for each look costs a call a child. */
static void forget_children(struct late *l)
{
	size_t kept = 1;

	if (l->count < l->look_at)
		return;
	let_go_of_ended(l);
	for (size_t i = 1; i < l->count; i++) {
		if (l->process[i]->uffd < 0)
			process_destroy(l->process[i]);
		else
			l->process[kept++] = l->process[i];
	}
	l->count = kept;
	l->look_at = 2 * kept > LOOK_FROM ? 2 * kept : LOOK_FROM;
}

int late_events(struct late *l, struct err *e)
{
	struct epoll_event ready[READY_MAX];
	int n = epoll_wait(l->epoll, ready, READY_MAX, 0), rc = 0;

	for (int i = 0; i < n && rc == 0; i++)
		rc = ready[i].data.ptr ? drain(l, ready[i].data.ptr) : settle_all(l);
	forget_children(l);
	return rc < 0 ? failed(l, rc, e) : 0;
}

void late_ask_again(const struct late *l)
{
	for (size_t i = 0; i < l->count; i++)
		late_map_asked(&l->process[i]->map, l->want, l->arg);
}

void late_notice_ended(struct late *l)
{
	let_go_of_ended(l);
}

/* ---- pages that came ---- */

/* Copies into place. Progress is in *done. */
static int give(struct late_process *p, uint64_t at, uint64_t len, const void *data, uint64_t *done)
{
	struct uffdio_copy copy = { .dst = at, .src = (uint64_t)(uintptr_t)data, .len = len };
	struct uffdio_zeropage zero = { .range = { .start = at, .len = len } };
	int rc = data ? ioctl(p->uffd, UFFDIO_COPY, &copy) : ioctl(p->uffd, UFFDIO_ZEROPAGE, &zero);
	int64_t got = data ? copy.copy : zero.zeropage;

	*done = got > 0 ? (uint64_t)got : 0;
	return rc == 0 ? 0 : -errno;
}

/* Is the process changing its mappings, by what a copy came to? Where it had begun before, the kernel may find no mapping (as in look_there): we have not
 * heard yet that it was moved. */
static bool is_changing(const struct late *l, const struct late_process *p, int rc)
{
	return rc == -EAGAIN || (rc == -ENOENT && !is_quiet(l, p));
}

static int place_stretch(struct late *l, struct late_process *p, const struct late_stretch *s, const unsigned char *data)
{
	uint64_t len = pages_to_bytes(s->pages), off = 0, most = len;

	while (off < len) {
		uint64_t part = len - off < most ? len - off : most, done;
		int rc = give(p, s->at + off, part, data ? data + off : NULL, &done);

		late_map_clear(&p->map, s->source + off, bytes_to_pages(done));
		off += done;
		if (rc == 0) {
			most = len;
			continue;
		}
		if (is_changing(l, p, rc)) {
			/* It waits for us to hear of it. Afterwards the stretch may be elsewhere. */
			int told = hear(l, p);

			return told < 0 ? told : 1;
		}
		if (rc == -ESRCH) { /* ended */
			late_map_finish(&p->map);
			return 0;
		}
		if (rc != -EEXIST && rc != -ENOENT)
			return rc;
		if (rc == -ENOENT && part > DRAY_PAGE_SIZE) { /* nothing, or two mappings: one that was split, of which no event tells */
			most = pages_to_bytes(bytes_to_pages(part) / 2);
			continue;
		}
		/* What is there although it counted as missing came twice, or is zeros that the kernel gave to something that looked in before it was
		 * watched; but late_register and late_forget see to it that there are none. */
		wake(p, s->at + off, DRAY_PAGE_SIZE);
		late_map_clear(&p->map, s->source + off, 1);
		off += DRAY_PAGE_SIZE;
	}
	return 0;
}

static int place_in(struct late *l, struct late_process *p, uint64_t addr, uint32_t pages, const unsigned char *data)
{
	struct late_cursor c = { 0 };
	struct late_stretch s;
	int rc = settle(l, p);

	while (rc == 0 && late_map_next(&p->map, addr, pages, &c, &s)) {
		rc = place_stretch(l, p, &s, data ? data + (s.source - addr) : NULL);
		if (rc > 0) { /* from the start: what is done is not missing any more */
			c = (struct late_cursor){ 0 };
			sched_yield();
			rc = settle(l, p);
		}
	}
	return rc;
}

int late_place(struct late *l, uint64_t addr, uint32_t pages, const void *data, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; i < l->count && rc == 0; i++)
		rc = place_in(l, l->process[i], addr, pages, data);
	if (rc == -EMFILE || rc == -EUCLEAN)
		return failed(l, rc, e);
	if (rc < 0)
		return err_set(e, ERR_SYSTEM, -rc, "post-copy: put %u pages to %llx", pages, (unsigned long long)addr);
	return 0;
}
