/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/lazy_images.h"

#include <errno.h>
#include <stdlib.h>

#include "pageserver/images/pagemap.h"
#include "pageserver/images/pagemap_list.h"
#include "proto/base/log.h"

enum { TASKS_MAX = 1024 };

struct lazy_images {
	int dir; /* borrowed */
	struct task { uint64_t pid; struct pagemap_reader *map; } task[TASKS_MAX];
	size_t tasks;
};

int lazy_images_check(int dirfd, struct err *e)
{
	struct pagemap_list l = { 0 };
	size_t tasks = 0;

	if (pagemap_list_read(&l, dirfd, e) < 0)
		return -1;
	for (size_t i = 0; i < l.count; i++)
		tasks += l.v[i].kind == PAGEMAP_TASK;
	pagemap_list_finish(&l);
	return tasks > 0 ? 0 : err_set(e, ERR_USAGE, 0, "no pagemap-PID.img is there: lazy pages are served out of the images of a dump");
}

struct lazy_images *lazy_images_open(int dirfd, struct err *e)
{
	struct lazy_images *i = calloc(1, sizeof(*i));

	if (!i)
		err_set(e, ERR_SYSTEM, ENOMEM, "lazy pages");
	else
		i->dir = dirfd;
	return i;
}

void lazy_images_close(struct lazy_images *i)
{
	if (!i)
		return;
	for (size_t k = 0; k < i->tasks; k++)
		pagemap_close(i->task[k].map);
	free(i);
}

/* Of a PID that is a client's word. */
static struct pagemap_reader *map_of(struct lazy_images *i, uint64_t pid, struct err *e)
{
	struct pagemap_reader *map;

	for (size_t k = 0; k < i->tasks; k++)
		if (i->task[k].pid == pid)
			return i->task[k].map;
	if (i->tasks == TASKS_MAX) {
		err_set(e, ERR_LIMIT, 0, "more than %d tasks", TASKS_MAX);
		return NULL;
	}
	map = pagemap_open(i->dir, PAGEMAP_TASK, pid, e);
	if (map)
		i->task[i->tasks++] = (struct task){ pid, map };
	else if (e->kind == ERR_GONE)
		err_set(e, ERR_PROTOCOL, 0, "the images have no such task");
	return map;
}

static int find(void *arg, uint64_t pid, uint64_t addr, uint64_t most, uint64_t *pages, struct err *e)
{
	struct pagemap_reader *map = map_of(arg, pid, e);

	if (!map)
		return -1;
	*pages = pagemap_stored(map, addr, most);
	return *pages > 0 ? 0 : err_set(e, ERR_PROTOCOL, 0, "the images don't have them");
}

static int read_pages(void *arg, uint64_t pid, uint64_t addr, uint32_t pages, void *data, struct err *e)
{
	struct pagemap_reader *map = map_of(arg, pid, e);

	return map ? pagemap_read(map, addr, pages, data, e) : -1;
}

struct lazy_pages lazy_images_pages(struct lazy_images *i)
{
	return (struct lazy_pages){ .find = find, .read = read_pages, .arg = i, .end_fd = -1 };
}

int lazy_images_serve(int fd, int dirfd, const struct lazy_rules *rules, struct lazy_report *out, struct err *e)
{
	struct lazy_images *images = lazy_images_open(dirfd, e);
	struct lazy_pages pages = images ? lazy_images_pages(images) : (struct lazy_pages){ .end_fd = -1 };
	int rc;

	*out = (struct lazy_report){ .let_in = !rules->tls };
	if (!images)
		return -1;
	rc = lazy_serve(fd, &pages, rules, out, e);
	lazy_images_close(images);
	log_event(rc < 0 ? LOG_ERROR : LOG_INFO, rc < 0 ? "session-failed" : "session-served", "requests=%llu pages=%llu name=\"%s\" reason=\"%s\"",
		  (unsigned long long)out->requests, (unsigned long long)out->pages, out->name, rc < 0 ? e->text : "closed");
	return rc;
}
