/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/lazy/lazy_daemon.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migrate/lazy/lazy_socket.h"
#include "migrate/lazy/lazy_source_link.h"
#include "pageserver/images/pagemap.h"
#include "pageserver/late/late_memory.h"
#include "proto/base/cleanup.h"
#include "proto/base/io.h"
#include "proto/base/log.h"

enum { TASKS_MAX = 1024, FAULT_PAGES = 16, ASK_AHEAD = 4 /* pieces on their way that nobody waits for */,
       LOOK_MS = 500 /* without a source: for tasks that were ended */ };

struct lazy_daemon;

struct lazy_task {
	struct lazy_daemon *d;
	uint64_t pid;
	struct late *late;
	struct pagemap_reader *images;
	struct run_list left; /* pages that only the source has */
	struct run_list todo; /* what is missing, to be fetched unasked; run by run from todo_at on */
	size_t todo_at;
	uint32_t todo_page;
};

struct lazy_daemon {
	const struct lazy_daemon_config *c;
	int listener, restore; /* -1: not any more, not yet */
	bool restored;         /* the restore has said that it is over */
	bool lost;             /* the source is gone before it gave all */
	struct lazy_link link;
	struct lazy_task *task;
	size_t tasks;
	int32_t announced; /* PID whose descriptor comes next; 0: none */
	unsigned char *page; /* FAULT_PAGES or LAZY_PIECE_PAGES: from the images */
	struct err *e; /* of what a want could not do */
	bool failed;
};

/* ---- one task ---- */

static const struct page_run *run_at(const struct run_list *l, uint64_t addr)
{
	for (size_t low = 0, high = l->count; low < high;) {
		size_t mid = (low + high) / 2;

		if (run_end(&l->run[mid]) <= addr)
			low = mid + 1;
		else if (l->run[mid].addr > addr)
			high = mid;
		else
			return &l->run[mid];
	}
	return NULL;
}

static int place_from_images(struct lazy_task *t, uint64_t addr, uint32_t pages, struct err *e)
{
	return pagemap_read(t->images, addr, pages, t->d->page, e) < 0 ? -1 : late_place(t->late, addr, pages, t->d->page, e);
}

/* Fetches pages that are all at the source or all in the images; *pages is cut to that. */
static int fetch(struct lazy_task *t, uint64_t addr, uint32_t *pages, struct err *e)
{
	const struct page_run *r = run_at(&t->left, addr);
	struct lazy_daemon *d = t->d;
	uint64_t there;

	if (r) {
		there = bytes_to_pages(run_end(r) - addr);
		*pages = *pages < there ? *pages : (uint32_t)there;
		return d->lost ? 0 : lazy_link_ask(&d->link, t->pid, addr, *pages, e);
	}
	there = pagemap_stored(t->images, addr, *pages);
	*pages = there > 0 ? (uint32_t)there : 1;
	return place_from_images(t, addr, *pages, e);
}

static void want(void *arg, uint64_t addr)
{
	struct lazy_task *t = arg;
	uint32_t pages = 1;

	if (!t->d->failed && fetch(t, addr, &pages, t->d->e) < 0)
		t->d->failed = true;
}

/* The lazy part of the task's page map: what is missing, and which of that only the source has. */
static int read_pagemap(struct lazy_task *t, struct run_list *missing, struct err *e)
{
	struct page_extent x;
	int rc;

	while ((rc = pagemap_next(t->images, &x, e)) > 0) {
		if (!(x.flags & PAGE_LAZY))
			continue;
		if (run_list_add(missing, x.vaddr, x.nr, RUN_DATA) < 0 ||
		    (!(x.flags & PAGE_PRESENT) && run_list_add(&t->left, x.vaddr, x.nr, RUN_DATA) < 0))
			return err_set(e, ERR_SYSTEM, ENOMEM, "pages of task %llu", (unsigned long long)t->pid);
	}
	return rc;
}

static void task_finish(struct lazy_task *t)
{
	late_destroy(t->late);
	pagemap_close(t->images);
	run_list_finish(&t->left);
	run_list_finish(&t->todo);
}

/* Takes uffd. */
static int task_init(struct lazy_task *t, struct lazy_daemon *d, uint64_t pid, int uffd, struct err *e)
{
	struct run_list missing = { 0 };
	int rc = -1;

	*t = (struct lazy_task){ .d = d, .pid = pid };
	t->late = late_adopt(uffd, want, t, e);
	if (t->late)
		t->images = pagemap_open(d->c->images_dir, PAGEMAP_TASK, pid, e);
	if (t->images && read_pagemap(t, &missing, e) == 0) {
		rc = t->left.data_pages > 0 && d->c->page_server < 0 ?
			     err_set(e, ERR_USAGE, 0, "task %llu: %llu pages are not in the images: name the source that has them (--page-server --address)",
				     (unsigned long long)pid, (unsigned long long)t->left.data_pages) :
			     late_expect(t->late, missing.run, missing.count, e);
	}
	log_event(LOG_INFO, "lazy-task", "pid=%llu missing=%llu at-source=%llu", (unsigned long long)pid, (unsigned long long)missing.data_pages,
		  (unsigned long long)t->left.data_pages);
	run_list_finish(&missing);
	return rc;
}

/* Everything that is missing right now, to be fetched from its start. */
static int task_list(struct lazy_task *t, struct err *e)
{
	run_list_clear(&t->todo);
	t->todo_at = 0;
	t->todo_page = 0;
	return late_list(t->late, &t->todo) < 0 ? err_set(e, ERR_SYSTEM, ENOMEM, "lazy pages") : 0;
}

/* The next piece that nobody asked for. 1: fetched or asked for, 0: nothing is left to ask for. */
static int task_advance(struct lazy_task *t, struct err *e)
{
	const struct page_run *r;
	uint32_t pages;

	if (t->todo_at == t->todo.count)
		return 0;
	r = &t->todo.run[t->todo_at];
	pages = r->pages - t->todo_page < LAZY_PIECE_PAGES ? r->pages - t->todo_page : LAZY_PIECE_PAGES;
	if (fetch(t, r->addr + pages_to_bytes(t->todo_page), &pages, e) < 0)
		return -1;
	t->todo_page += pages;
	if (t->todo_page == r->pages) {
		t->todo_at++;
		t->todo_page = 0;
	}
	return 1;
}

/* ---- the restore's socket ---- */

static int listen_for_restore(struct lazy_daemon *d, struct err *e)
{
	d->listener = lazy_socket_listen(d->c->work_dir, e);
	if (d->listener < 0)
		return -1;
	return d->c->ready ? d->c->ready(d->c->arg, e) : 0;
}

static int on_restore_connects(struct lazy_daemon *d, struct err *e)
{
	d->restore = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC);
	if (d->restore < 0)
		return err_sys(e, "accept the restore");
	close(d->listener);
	d->listener = -1;
	lazy_socket_remove(d->c->work_dir);
	return 0;
}

static int add_task(struct lazy_daemon *d, uint64_t pid, int uffd, struct err *e)
{
	if (d->tasks == TASKS_MAX) {
		close(uffd);
		return err_set(e, ERR_LIMIT, 0, "more than %d tasks", TASKS_MAX);
	}
	return task_init(&d->task[d->tasks++], d, pid, uffd, e);
}

/* What a restore says: a PID, then its descriptor with a byte; or that it is over. */
static int on_restore_says(struct lazy_daemon *d, struct err *e)
{
	uint32_t word = 0;
	int fd = -1, fds = 0;
	ssize_t n = recv_fds(d->restore, &word, d->announced ? 1 : sizeof(word), &fd, 1, &fds);

	if (n == 0 && d->restored) {
		close(d->restore);
		d->restore = -1;
		return 0;
	}
	if (n <= 0)
		return err_set(e, ERR_PEER, peer_errno((int)-n), "the restore ended before it had said that it is over");
	if (d->announced) {
		uint64_t pid = (uint64_t)d->announced;

		d->announced = 0;
		return fd >= 0 ? add_task(d, pid, fd, e) : err_set(e, ERR_PROTOCOL, 0, "task %llu: no descriptor comes with it", (unsigned long long)pid);
	}
	if (fd >= 0 || n != (ssize_t)sizeof(word)) {
		cleanup_fd_(&fd);
		return err_set(e, ERR_PROTOCOL, 0, "the restore says %zd bytes that make no sense", n);
	}
	if (word == LAZY_RESTORE_FINISHED)
		d->restored = true;
	else if ((int32_t)word > 0)
		d->announced = (int32_t)word;
	return 0; /* a negative one is a dead task */
}

/* ---- the source ---- */

static int on_pages(struct lazy_daemon *d, struct err *e)
{
	int rc;

	while ((rc = lazy_link_receive(&d->link, e)) > 0) {
		const struct ps_command *a = &d->link.answer;

		for (size_t i = 0; i < d->tasks; i++)
			if (d->task[i].pid == a->dst && late_place(d->task[i].late, a->vaddr, (uint32_t)a->nr, d->link.data, e) < 0)
				return -1;
	}
	return rc;
}

/* The last words of a restore: it can say none behind our back any more, and then knows that it failed. */
static void hear_out(struct lazy_daemon *d)
{
	struct err ended = { 0 };

	if (d->restore >= 0)
		shutdown(d->restore, SHUT_RD);
	while (!d->restored && d->restore >= 0 && on_restore_says(d, &ended) == 0)
		;
}

/* Tasks that run wait where they need a page, which is better than zeros: 0. Those of a restore that is not over die with it: -1. */
static int lose_source(struct lazy_daemon *d, struct err *e)
{
	d->lost = true;
	d->failed = false;
	hear_out(d);
	if (!d->restored)
		return err_wrap(e, "before the restore was over");
	log_event(LOG_ERROR, "lazy-source-lost", "error=\"%s\" the tasks stand still where they need a page until they are ended", e->text);
	return 0;
}

/* ---- the loop ---- */

static uint64_t missing(const struct lazy_daemon *d)
{
	uint64_t n = 0;

	for (size_t i = 0; i < d->tasks; i++)
		n += late_missing(d->task[i].late);
	return n;
}

/* Fetches what nobody asked for, a few pieces ahead: never so much that a question waits long behind it. */
static int fetch_ahead(struct lazy_daemon *d, struct err *e)
{
	bool more = true;

	while (d->restored && !d->lost && more && d->link.waiting < ASK_AHEAD) {
		more = false;
		for (size_t i = 0; i < d->tasks && d->link.waiting < ASK_AHEAD; i++) {
			struct lazy_task *t = &d->task[i];
			int rc = task_advance(t, e);

			if (rc < 0)
				return -1;
			if (rc == 0 && d->link.waiting == 0 && late_missing(t->late) > 0)
				rc = task_list(t, e) < 0 ? -1 : 1;
			if (rc < 0)
				return -1;
			more = more || rc > 0;
		}
	}
	return 0;
}

static size_t fill_poll(const struct lazy_daemon *d, struct pollfd *p)
{
	size_t n = 0;

	p[n++] = (struct pollfd){ .fd = d->listener, .events = POLLIN };
	p[n++] = (struct pollfd){ .fd = d->restore, .events = POLLIN };
	p[n++] = (struct pollfd){ .fd = d->lost ? -1 : d->c->page_server, .events = POLLIN };
	for (size_t i = 0; i < d->tasks; i++)
		p[n++] = (struct pollfd){ .fd = late_fd(d->task[i].late), .events = POLLIN };
	return n;
}

static int serve_tasks(struct lazy_daemon *d, struct err *e)
{
	for (size_t i = 0; i < d->tasks; i++)
		if (late_events(d->task[i].late, e) < 0)
			return -1;
	return d->failed ? -1 : 0;
}

static int step(struct lazy_daemon *d, struct pollfd *p, struct err *e)
{
	size_t n = fill_poll(d, p);

	if (poll(p, n, d->lost ? LOOK_MS : -1) < 0)
		return errno == EINTR ? 0 : err_sys(e, "poll");
	for (size_t i = 0; d->lost && i < d->tasks; i++)
		late_notice_ended(d->task[i].late);
	if (p[0].revents && on_restore_connects(d, e) < 0)
		return -1;
	if (p[1].revents && on_restore_says(d, e) < 0)
		return -1;
	if (serve_tasks(d, e) < 0 || (p[2].revents && on_pages(d, e) < 0) || fetch_ahead(d, e) < 0) {
		if (e->kind != ERR_PEER && e->kind != ERR_PROTOCOL)
			return -1;
		return lose_source(d, e);
	}
	return 0;
}

static int serve(struct lazy_daemon *d, struct err *e)
{
	cleanup_free struct pollfd *p = calloc(3 + (size_t)TASKS_MAX, sizeof(*p));
	struct err why = { 0 };

	if (!p)
		return err_set(e, ERR_SYSTEM, ENOMEM, "lazy pages");
	/* Answers that are still on their way would be taken for the source's last word. */
	while (!d->restored || missing(d) > 0 || (!d->lost && d->link.waiting > 0)) {
		if (step(d, p, e) < 0)
			return -1;
		if (d->lost && !err_is_set(&why))
			why = *e;
	}
	if (!d->lost)
		return d->c->page_server >= 0 ? lazy_link_close(&d->link, e) : 0;
	*e = why;
	return -1;
}

int lazy_daemon_run(const struct lazy_daemon_config *c, struct err *e)
{
	struct lazy_daemon d = { .c = c, .listener = -1, .restore = -1, .e = e };
	int rc = -1;

	d.page = malloc(pages_to_bytes(LAZY_PIECE_PAGES));
	d.task = calloc(TASKS_MAX, sizeof(*d.task));
	if (!d.page || !d.task)
		err_set(e, ERR_SYSTEM, ENOMEM, "lazy pages");
	else if (lazy_link_init(&d.link, c->page_server, c->tls, c->layout, e) == 0 && listen_for_restore(&d, e) == 0)
		rc = serve(&d, e);
	for (size_t i = 0; i < d.tasks; i++)
		task_finish(&d.task[i]);
	if (d.listener >= 0) {
		close(d.listener);
		lazy_socket_remove(c->work_dir);
	}
	cleanup_fd_(&d.restore);
	lazy_link_finish(&d.link);
	free(d.task);
	free(d.page);
	return rc;
}
