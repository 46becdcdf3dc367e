/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/agent/late_session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migrate/remote/remote.h"
#include "migrate/track/pagemap.h"
#include "pageserver/late/late_waits.h"
#include "proto/base/cleanup.h"
#include "proto/base/grow.h"
#include "proto/base/io.h"
#include "proto/base/log.h"
#include "proto/image/vma_status.h"
#include "proto/wire/range_list.h"

enum {
	FETCH_MS = 20 * 1000, /* without an answer, before the process runs */
	FETCH_AHEAD = 32,     /* questions on their way then: the answers fill the link, the questions no socket */
	BURST = 16,           /* messages of one connection before the others have their turn */
	LOOK_PAGES = 512,     /* of a page map at a time */
};

/* A connection, as far as its next message has come. */
struct late_conn {
	int fd; /* -1: lost, or not made yet */
	size_t have, got; /* of the header, of the contents */
	unsigned char header[LATE_HEADER_SIZE];
	struct late_message m;
	unsigned char *data; /* LATE_MAX_PAGES */
};

struct touched { uint64_t addr; bool written; };

struct late_session {
	int uffd; /* until late_session_arm hands it on */
	struct run_list runs;
	struct late *late;
	struct late_conn conn[LATE_CONNECTIONS];
	struct late_guard guard;
	struct late_waits waits; /* of the running process */
	/* While the process is held: pages that something has touched already, written from outside as they come. */
	pid_t held;
	struct touched *touched; /* ascending */
	size_t touched_count, touched_capacity;
	size_t touched_left, asked; /* not written yet; questions without an answer */
};

static void lose(struct late_conn *c, const char *why)
{
	log_event(LOG_WARN, "late-connection", "lost=\"%s\"", why);
	close(c->fd);
	c->fd = -1;
	c->have = c->got = 0;
}

static void want(void *arg, uint64_t addr)
{
	struct late_session *s = arg;
	struct late_conn *c = &s->conn[LATE_FAULTS];
	const struct late_message m = { .addr = addr, .pages = 1, .kind = LATE_WANT };
	unsigned char buf[LATE_HEADER_SIZE];

	if (!s->held)
		late_waits_begin(&s->waits, addr, clock_us());
	if (c->fd < 0)
		return;
	late_encode(&m, buf);
	if (write_full(c->fd, buf, sizeof(buf)) < 0)
		lose(c, "a question can't be sent");
}

struct late_session *late_session_create(Drayage__Range *const *range, size_t count, int uffd, struct err *e)
{
	struct late_session *s = calloc(1, sizeof(*s));

	if (!s) {
		close(uffd);
		err_set(e, ERR_SYSTEM, ENOMEM, "post-copy");
		return NULL;
	}
	s->uffd = uffd;
	for (size_t i = 0; i < LATE_CONNECTIONS; i++)
		s->conn[i].fd = -1;
	for (size_t i = 0; i < LATE_CONNECTIONS; i++) {
		s->conn[i].data = malloc(pages_to_bytes(LATE_MAX_PAGES));
		if (!s->conn[i].data) {
			err_set(e, ERR_SYSTEM, ENOMEM, "post-copy");
			goto fail;
		}
	}
	if (range_list_read(range, count, &s->runs, e) == 0)
		return s;
fail:
	late_session_destroy(s);
	return NULL;
}

void late_session_destroy(struct late_session *s)
{
	if (!s)
		return;
	late_guard_release(&s->guard);
	late_destroy(s->late);
	if (s->uffd >= 0)
		close(s->uffd);
	for (size_t i = 0; i < LATE_CONNECTIONS; i++) {
		if (s->conn[i].fd >= 0)
			close(s->conn[i].fd);
		free(s->conn[i].data);
	}
	run_list_finish(&s->runs);
	free(s->touched);
	free(s);
}

void late_session_connect(struct late_session *s, enum late_connection which, int fd)
{
	struct late_conn *c = &s->conn[which];

	if (c->fd >= 0)
		lose(c, "replaced by a new one");
	c->fd = fd;
	if (which == LATE_FAULTS && s->late)
		late_ask_again(s->late);
}

/* ---- pages that come ---- */

/* The first that is not below addr. */
static size_t find_touched(const struct late_session *s, uint64_t addr)
{
	size_t low = 0, high = s->touched_count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (s->touched[mid].addr < addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int write_stretch(struct late_session *s, size_t from, size_t end, const unsigned char *data, struct err *e)
{
	uint64_t at = s->touched[from].addr;

	if (remote_write(s->held, at, data, pages_to_bytes(end - from), e) < 0)
		return -1;
	late_forget(s->late, at, end - from);
	for (size_t i = from; i < end; i++)
		s->touched[i].written = true;
	s->touched_left -= end - from;
	return 0;
}

/* Of a held process: what something touched is there already and is written over. */
static int write_touched(struct late_session *s, const struct late_message *m, const unsigned char *data, struct err *e)
{
	static const unsigned char zeros[DRAY_PAGE_SIZE];
	uint64_t end = m->addr + pages_to_bytes(m->pages);
	size_t i = find_touched(s, m->addr);

	while (i < s->touched_count && s->touched[i].addr < end) {
		size_t from = i++;

		if (s->touched[from].written)
			continue;
		while (data && i < s->touched_count && s->touched[i].addr < end && !s->touched[i].written &&
		       s->touched[i].addr == s->touched[i - 1].addr + DRAY_PAGE_SIZE)
			i++;
		if (write_stretch(s, from, i, data ? data + (s->touched[from].addr - m->addr) : zeros, e) < 0)
			return -1;
	}
	return 0;
}

static int take(struct late_session *s, struct late_conn *c, struct err *e)
{
	const unsigned char *data = c->m.kind == LATE_DATA ? c->data : NULL;

	if (data && late_checksum(c->m.addr, data, c->m.pages) != c->m.checksum) {
		lose(c, "contents whose checksum is another");
		return 0;
	}
	if (s->held) {
		s->asked -= s->asked > 0;
		if (write_touched(s, &c->m, data, e) < 0)
			return -1;
	}
	if (late_place(s->late, c->m.addr, c->m.pages, data, e) < 0)
		return -1;
	late_waits_placed(&s->waits, c->m.addr, c->m.addr + pages_to_bytes(c->m.pages), clock_us());
	return 0;
}

/* More of a message, as far as it is there. 1: whole, 0: not yet, or the connection is lost. */
static int more(struct late_conn *c, void *buf, size_t size, size_t *have)
{
	while (*have < size) {
		ssize_t n = recv(c->fd, (unsigned char *)buf + *have, size - *have, MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n <= 0) {
			lose(c, n < 0 ? strerror(errno) : "closed by the source");
			return 0;
		}
		*have += (size_t)n;
	}
	return 1;
}

/* 1: a message was taken, 0: nothing whole is there, -1. */
static int receive(struct late_session *s, struct late_conn *c, struct err *e)
{
	size_t before = c->have;

	if (!more(c, c->header, sizeof(c->header), &c->have))
		return 0;
	if (before < sizeof(c->header) && late_decode(c->header, true, &c->m) < 0) {
		lose(c, "not what a source says");
		return 0;
	}
	if (c->m.kind == LATE_DATA && !more(c, c->data, pages_to_bytes(c->m.pages), &c->got))
		return 0;
	c->have = c->got = 0;
	return take(s, c, e) < 0 ? -1 : 1;
}

static int receive_all(struct late_session *s, struct late_conn *c, struct err *e)
{
	int rc = 1;

	for (unsigned i = 0; i < BURST && rc > 0 && c->fd >= 0; i++)
		rc = receive(s, c, e);
	return rc < 0 ? -1 : 0;
}

void late_session_poll(const struct late_session *s, struct pollfd p[LATE_POLL])
{
	p[0] = (struct pollfd){ .fd = late_fd(s->late), .events = POLLIN };
	for (size_t i = 0; i < LATE_CONNECTIONS; i++)
		p[1 + i] = (struct pollfd){ .fd = s->conn[i].fd, .events = POLLIN };
	p[1 + LATE_CONNECTIONS] = (struct pollfd){ .fd = s->guard.pid ? s->guard.end : -1, .events = POLLIN };
}

int late_session_keep_guard(struct late_session *s, struct err *e)
{
	return late_guard_keep(&s->guard, e);
}

/* Faults first: who waits for a page that has just come need not be asked about. */
int late_session_serve(struct late_session *s, struct err *e)
{
	if (late_guard_keep(&s->guard, e) < 0 || late_events(s->late, e) < 0)
		return -1;
	for (size_t i = 0; i < LATE_CONNECTIONS; i++)
		if (s->conn[i].fd >= 0 && receive_all(s, &s->conn[i], e) < 0)
			return -1;
	return 0;
}

/* ---- before it runs ---- */

/* The runs inside [start, end), cut to it. Mappings and runs both ascend: *cursor is where to go on. */
static int runs_inside(const struct run_list *all, uint64_t start, uint64_t end, size_t *cursor, struct run_list *out)
{
	while (*cursor < all->count && run_end(&all->run[*cursor]) <= start)
		(*cursor)++;
	for (size_t i = *cursor; i < all->count && all->run[i].addr < end; i++) {
		const struct page_run *r = &all->run[i];
		uint64_t from = r->addr > start ? r->addr : start, to = run_end(r) < end ? run_end(r) : end;

		if (from < to && run_list_add(out, from, bytes_to_pages(to - from), RUN_DATA) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int watch(struct late_session *s, const VmaEntry *v, size_t *cursor, uint64_t *watched, struct err *e)
{
	struct run_list runs = { 0 };
	int rc = runs_inside(&s->runs, v->start, v->end, cursor, &runs) < 0 ? err_set(e, ERR_SYSTEM, ENOMEM, "post-copy") : 0;

	if (rc == 0 && runs.count > 0)
		rc = late_register(s->late, v->start, v->end, runs.run, runs.count, e);
	*watched += runs.data_pages;
	run_list_finish(&runs);
	return rc;
}

static int note_touched(struct late_session *s, uint64_t at)
{
	if (!array_room(&s->touched, s->touched_count, &s->touched_capacity, sizeof(*s->touched), 64))
		return -ENOMEM;
	s->touched[s->touched_count++] = (struct touched){ .addr = at };
	s->touched_left++;
	return 0;
}

/* The touched pages of [at, end), no more than LOOK_PAGES. */
static int note_all_touched(struct late_session *s, int fd, uint64_t at, uint64_t end)
{
	uint64_t words[LOOK_PAGES];
	int rc = proc_pagemap_read(fd, at, end, words);

	for (uint64_t i = 0; i < bytes_to_pages(end - at) && rc == 0; i++)
		if (words[i] & (PM_PRESENT | PM_SWAP))
			rc = note_touched(s, at + pages_to_bytes(i));
	return rc;
}

/* Pages of what should be absent that are there: the kernel wrote to what threads have registered with it, made a huge page around a hole, or holds
 * locked memory. */
static int look_for_touched(struct late_session *s, pid_t pid, struct err *e)
{
	cleanup_fd int fd = proc_pagemap_open(pid);
	int rc = fd < 0 ? fd : 0;

	for (size_t i = 0; i < s->runs.count && rc == 0; i++) {
		uint64_t end = run_end(&s->runs.run[i]), at = s->runs.run[i].addr;

		while (rc == 0 && (at = pagemap_first(fd, at, end)) < end) {
			uint64_t to = end - at < pages_to_bytes(LOOK_PAGES) ? end : at + pages_to_bytes(LOOK_PAGES);

			rc = note_all_touched(s, fd, at, to);
			at = to;
		}
	}
	return rc < 0 ? err_set(e, ERR_SYSTEM, -rc, "pages of process %d", (int)pid) : 0;
}

/* Takes answers until at most so many questions have none. */
static int await_answers(struct late_session *s, size_t most, struct err *e)
{
	struct late_conn *c = &s->conn[LATE_FAULTS];

	while (s->asked > most) {
		int rc = c->fd < 0 ? 0 : wait_readable(c->fd, FETCH_MS);

		if (rc > 0 && receive_all(s, c, e) < 0)
			return -1;
		if (c->fd < 0)
			return err_set(e, ERR_PEER, 0, "post-copy: the source's connection is lost before the process runs");
		if (rc == 0)
			return err_set(e, ERR_TIMEOUT, 0, "post-copy: the source sends no page that it is asked for");
		if (rc < 0)
			return err_set(e, ERR_SYSTEM, -rc, "post-copy: await a page");
	}
	return 0;
}

/* An answer brings along what is missing right behind the page, so the next question is about what lies behind that. What did not come along is
 * found when one goes through it again: each question is answered with its page at least. */
static int fetch_touched(struct late_session *s, struct err *e)
{
	while (s->touched_left > 0) {
		size_t left = s->touched_left;
		uint64_t from = 0;

		for (size_t i = 0; i < s->touched_count; i++) {
			if (s->touched[i].written || s->touched[i].addr < from)
				continue;
			want(s, s->touched[i].addr);
			s->asked++;
			from = s->touched[i].addr + pages_to_bytes(LATE_AROUND_PAGES);
			if (await_answers(s, FETCH_AHEAD, e) < 0)
				return -1;
		}
		if (await_answers(s, 0, e) < 0)
			return -1;
		if (s->touched_left == left)
			return err_set(e, ERR_PROTOCOL, 0, "post-copy: the source answers with other pages than it is asked for");
	}
	return 0;
}

int late_session_arm(struct late_session *s, pid_t pid, const MmEntry *mm, late_guard_deed *deed, void *arg, struct err *e)
{
	uint64_t watched = 0;
	size_t cursor = 0;
	int rc = 0;

	if (s->conn[LATE_FAULTS].fd < 0 || s->conn[LATE_PUSH].fd < 0)
		return err_set(e, ERR_PROTOCOL, 0, "post-copy without its connections");
	if (late_guard_start(&s->guard, deed, arg, e) < 0)
		return -1;
	s->late = late_create(s->uffd, want, s, e);
	s->uffd = -1;
	if (!s->late)
		return -1;
	for (size_t i = 0; i < mm->n_vmas && rc == 0; i++)
		if (mm->vmas[i]->status & VMA_STATUS_ANON_PRIVATE)
			rc = watch(s, mm->vmas[i], &cursor, &watched, e);
	if (rc == 0 && watched != s->runs.data_pages)
		rc = err_set(e, ERR_PROTOCOL, 0, "post-copy: %llu pages are to come late outside private anonymous memory",
			     (unsigned long long)(s->runs.data_pages - watched));
	if (rc < 0)
		return -1;
	late_of(s->late, pid);
	s->held = pid;
	rc = look_for_touched(s, pid, e);
	if (rc == 0)
		rc = fetch_touched(s, e);
	s->held = 0;
	if (rc == 0 && s->touched_count > 0)
		log_event(LOG_INFO, "late-fetched", "pages=%zu", s->touched_count);
	return rc;
}

/* ---- the end ---- */

uint64_t late_session_missing(const struct late_session *s)
{
	return late_missing(s->late);
}

void late_session_finish(struct late_session *s)
{
	const struct late_message m = { .kind = LATE_ALL };
	unsigned char buf[LATE_HEADER_SIZE];

	log_event(LOG_INFO, "late-waits", "count=%llu p50_us=%llu p99_us=%llu", (unsigned long long)s->waits.count,
		  (unsigned long long)late_waits_us(&s->waits, 500), (unsigned long long)late_waits_us(&s->waits, 990));
	late_encode(&m, buf);
	if (s->conn[LATE_FAULTS].fd >= 0)
		write_full(s->conn[LATE_FAULTS].fd, buf, sizeof(buf)); /* a source that doesn't hear it asks */
	late_guard_release(&s->guard);
}

void late_session_leave(struct late_session *s)
{
	if (!late_guard_leave(&s->guard))
		return;
	late_destroy(s->late);
	s->late = NULL;
}

int late_session_list(const struct late_session *s, Drayage__Range ***range, size_t *count, struct err *e)
{
	struct run_list l = { 0 };
	int rc = late_list(s->late, &l) < 0 ? err_set(e, ERR_SYSTEM, ENOMEM, "post-copy") : range_list_make(&l, range, count, e);

	run_list_finish(&l);
	return rc;
}
