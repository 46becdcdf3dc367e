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
#include <unistd.h>

#include "pageserver/late/late_map.h"
#include "pageserver/late/late_order.h"
#include "proto/base/log.h"

#define FEATURES (UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP)
enum { GAP_MAX_PAGES = 1 << 14 /* 64 MiB: a wider gap in what is missing is not worth bits of its own */,
       READY_MAX = 64, LOOK_FROM = 64 /* children, before it is looked which of them are over */ };

/* One address space. A child's that needs nobody any more has no uffd (-1), and goes when nobody is going through the list. */
struct late_process {
	int uffd;
	struct late_map map;
	struct late_order order;
	struct late_process *parent; /* while what it did before our birth may not have been heard of: until its period `born` is over; else NULL */
	uint64_t born;
};
struct late {
	struct late_process **process; /* owned; the first is the one that moved, the others its children */
	size_t count, capacity;
	size_t look_at; /* this many: look which are over */
	int epoll;      /* all their descriptors */
	void *unreadable; /* a page: late_order.h */
	late_want *want;
	void *arg;
};

static void process_destroy(struct late_process *p)
{
	late_map_finish(&p->map);
	if (p->uffd >= 0)
		close(p->uffd);
	free(p);
}

/* Takes uffd, also on failure. The new one is the last of the list. */
static int add_process(struct late *l, int uffd)
{
	struct late_process *p = calloc(1, sizeof(*p));
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = p };

	if (l->count == l->capacity) {
		size_t more = l->capacity ? l->capacity * 2 : 16;
		struct late_process **list = realloc(l->process, more * sizeof(*list));

		if (list) {
			l->process = list;
			l->capacity = more;
		}
	}
	if (!p || l->count == l->capacity || epoll_ctl(l->epoll, EPOLL_CTL_ADD, uffd, &ev) < 0) {
		int rc = p && l->count < l->capacity ? -errno : -ENOMEM;

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
	int rc;

	if (!l) {
		err_set(e, ERR_SYSTEM, ENOMEM, "post-copy");
		close(uffd);
		return NULL;
	}
	*l = (struct late){ .look_at = LOOK_FROM, .want = want, .arg = arg, .epoll = epoll_create1(EPOLL_CLOEXEC),
		.unreadable = mmap(NULL, DRAY_PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) };
	rc = add_process(l, uffd);
	if (rc == 0 && l->unreadable == MAP_FAILED)
		rc = -ENOMEM;
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

int late_register(struct late *l, uint64_t start, uint64_t end, const struct page_run *runs, size_t count, struct err *e)
{
	if (late_uffd_watch(l->process[0]->uffd, start, end, e) < 0)
		return -1;
	return late_expect(l, runs, count, e);
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
		if (*count == *capacity) {
			size_t more = *capacity ? *capacity * 2 : 256;
			struct late_stretch *grown = realloc(*v, more * sizeof(*grown));

			if (!grown)
				return -ENOMEM;
			*v = grown;
			*capacity = more;
		}
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

static int on_fault(struct late *l, struct late_process *p, uint64_t address)
{
	uint64_t at = address & ~(DRAY_PAGE_SIZE - 1), source;
	bool first = false;

	source = late_map_want(&p->map, at, &first);
	if (source == UINT64_MAX)
		return give_zero(p, at);
	if (first)
		l->want(l->arg, source);
	return 0;
}

static int on_fork(struct late *l, struct late_process *parent, int uffd)
{
	int rc = add_process(l, uffd);
	struct late_process *child;

	if (rc < 0)
		return rc;
	child = l->process[l->count - 1];
	child->parent = parent;
	child->born = parent->order.period;
	rc = late_map_copy(&parent->map, &child->map);
	return rc < 0 ? rc : late_order_take_back(&parent->order, uffd, l->unreadable, &child->map);
}

/* Who was born meanwhile may have it there already. */
static int on_move(struct late *l, struct late_process *p, const struct late_move *m)
{
	int rc = late_map_move(&p->map, m->from, m->to, m->pages);

	late_order_note(&p->order, m);
	for (size_t i = 0; i < l->count && rc == 0; i++) {
		struct late_process *c = l->process[i];

		if (c->parent == p && c->born == p->order.period && c->uffd >= 0)
			rc = late_order_follow(m, c->uffd, l->unreadable, &c->map);
	}
	return rc;
}

/* Who waits for what is not where it was, or not missing any more, would not be woken by what comes. */
static int on_change(struct late *l, struct late_process *p, const struct uffd_msg *m)
{
	uint64_t start = m->arg.remove.start, len = m->arg.remove.end - m->arg.remove.start;
	int rc;

	if (m->event == UFFD_EVENT_REMAP) {
		start = m->arg.remap.from;
		len = m->arg.remap.len;
		rc = on_move(l, p, &(struct late_move){ .from = start, .to = m->arg.remap.to, .pages = bytes_to_pages(len) });
	} else {
		rc = late_map_drop(&p->map, start, bytes_to_pages(len), m->event == UFFD_EVENT_UNMAP);
	}
	wake(p, start, len);
	return rc;
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
		return on_change(l, p, m);
	}
	return 0;
}

/* A copy from where nothing can be read changes nothing, and fails otherwise where there is no memory to copy to any more. */
static bool has_ended(const struct late_process *p, void *unreadable)
{
	struct late_cursor c = { 0 };
	struct late_stretch s;
	struct uffdio_copy copy = { .src = (uint64_t)(uintptr_t)unreadable, .len = DRAY_PAGE_SIZE };

	if (!late_map_next(&p->map, 0, UINT64_MAX >> DRAY_PAGE_SHIFT, &c, &s))
		return false;
	copy.dst = s.at;
	return ioctl(p->uffd, UFFDIO_COPY, &copy) < 0 && errno == ESRCH;
}

/* What the kernel wakes then finds zeros where it misses nothing, as is right. */
static void let_go(struct late_process *p)
{
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
		bool ended = p->uffd >= 0 && has_ended(p, l->unreadable);

		if (i == 0 && ended)
			late_map_finish(&p->map);
		if (i == 0 || p->uffd < 0 || (p->map.missing > 0 && !ended) || !late_order_quiet(&p->order, p->uffd, l->unreadable))
			continue;
		let_go(p);
		n++;
	}
	return n;
}

/* Is it known where this one's memory is? Not while its parent may have moved it before its birth and we have not heard of it. */
static bool is_settled(struct late *l, struct late_process *p)
{
	struct late_process *parent = p->parent;

	if (parent && parent->order.period == p->born && parent->uffd >= 0 && !late_order_quiet(&parent->order, parent->uffd, l->unreadable))
		return false;
	p->parent = NULL;
	return true;
}

/* One process's events. A child whose descriptor finds no room stays unborn until it does: the kernel keeps its event. One that is not settled is not heard
 * yet: the kernel keeps those too. */
static int drain(struct late *l, struct late_process *p)
{
	struct uffd_msg m;

	if (!is_settled(l, p)) {
		int rc = drain(l, p->parent);

		if (rc < 0 || !is_settled(l, p)) {
			sched_yield(); /* to whom it waits for */
			return rc;
		}
	}
	while (p->uffd >= 0) {
		ssize_t n = read(p->uffd, &m, sizeof(m));
		int rc = n < 0 ? -errno : 0;

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

static int failed(const struct late *l, int rc, struct err *e)
{
	if (rc == -EMFILE)
		return err_set(e, ERR_LIMIT, EMFILE, "post-copy: %zu processes that were forked live and miss pages", l->count - 1);
	return err_set(e, ERR_SYSTEM, -rc, "post-copy: what the process does to its memory");
}

/* Now and then, for each look costs a call a child. */
static void forget_children(struct late *l)
{
	size_t kept = 1;

	if (l->count < l->look_at)
		return;
	let_go_of_ended(l);
	for (size_t i = 1; i < l->count; i++)
		if (l->process[i]->parent && l->process[i]->parent->uffd < 0)
			l->process[i]->parent = NULL;
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
		rc = drain(l, ready[i].data.ptr);
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

/* Is the process changing its mappings, by what a copy came to? One that begins meanwhile is refused for that; of one that had begun the kernel looks for the
 * mapping first (mm/userfaultfd.c, mfill_atomic; Linux 6.9), and finds none where we have not heard yet that it was moved. */
static bool is_changing(const struct late *l, struct late_process *p, int rc)
{
	return rc == -EAGAIN || (rc == -ENOENT && !late_order_quiet(&p->order, p->uffd, l->unreadable));
}

static int place_stretch(struct late *l, struct late_process *p, const struct late_stretch *s, const unsigned char *data)
{
	uint64_t len = pages_to_bytes(s->pages), off = 0;

	while (off < len) {
		uint64_t done;
		int rc = give(p, s->at + off, len - off, data ? data + off : NULL, &done);

		late_map_clear(&p->map, s->source + off, bytes_to_pages(done));
		off += done;
		if (rc == 0)
			continue;
		if (is_changing(l, p, rc)) {
			/* It waits for us to hear of it. Afterwards the stretch may be elsewhere. */
			int told = drain(l, p);

			return told < 0 ? told : 1;
		}
		if (rc == -ESRCH) { /* ended */
			late_map_finish(&p->map);
			return 0;
		}
		if (rc != -EEXIST && rc != -ENOENT)
			return rc;
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
	int rc = 0;

	while (p->parent && rc == 0) /* until it is settled */
		rc = drain(l, p);
	while (rc == 0 && late_map_next(&p->map, addr, pages, &c, &s)) {
		rc = place_stretch(l, p, &s, data ? data + (s.source - addr) : NULL);
		if (rc > 0) { /* from the start: what is done is not missing any more */
			c = (struct late_cursor){ 0 };
			sched_yield();
			rc = 0;
		}
	}
	return rc;
}

int late_place(struct late *l, uint64_t addr, uint32_t pages, const void *data, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; i < l->count && rc == 0; i++)
		rc = place_in(l, l->process[i], addr, pages, data);
	if (rc == -EMFILE)
		return failed(l, rc, e);
	if (rc < 0)
		return err_set(e, ERR_SYSTEM, -rc, "post-copy: put %u pages to %llx", pages, (unsigned long long)addr);
	return 0;
}
