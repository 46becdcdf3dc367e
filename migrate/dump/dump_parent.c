/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/dump/dump_parent.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "images.pb-c.h"
#include "migrate/dump/dump_sent.h"
#include "proto/base/cleanup.h"
#include "proto/base/log.h"
#include "proto/image/image.h"

static int read_uptime(struct dump_parent *p, struct err *e)
{
	ProtobufCMessage *m = image_read_one(p->dir, IMAGE_INVENTORY, 0, &inventory_entry__descriptor, e);
	const InventoryEntry *v = (const InventoryEntry *)m;

	if (!m)
		return -1;
	p->uptime_us = v->has_dump_uptime ? v->dump_uptime : 0;
	protobuf_c_message_free_unpacked(m, NULL);
	return 0;
}

static int read_ext(struct dump_parent *p, uint32_t pid, struct err *e)
{
	Drayage__ImagesExt *x = images_ext_read(p->dir, e);

	if (!x)
		return -1;
	p->ours = x->has_set_id && x->set_id.len == IMAGES_SET_ID;
	if (p->ours)
		memcpy(p->id, x->set_id.data, IMAGES_SET_ID);
	for (size_t i = 0; i < x->n_tasks; i++)
		if (x->tasks[i]->pid == pid)
			p->start_time = x->tasks[i]->start_time;
	drayage__images_ext__free_unpacked(x, NULL);
	return 0;
}

static int read_pages(struct dump_parent *p, uint32_t pid, struct err *e)
{
	struct page_extent x;
	int rc;

	p->pages = pagemap_open(p->dir, PAGEMAP_TASK, pid, e);
	if (!p->pages)
		return -1;
	while ((rc = pagemap_next(p->pages, &x, e)) == 1) {
		if ((x.flags & PAGE_PRESENT) && run_list_add(&p->covered, x.vaddr, x.nr, RUN_DATA) < 0)
			return err_set(e, ERR_SYSTEM, ENOMEM, "page map of the parent");
	}
	return rc;
}

/* Of what a page server was sent. */
static int read_sent(struct dump_parent *p, uint32_t pid, struct err *e)
{
	int rc = dump_sent_read(p->dir, pid, &p->covered, e);

	p->elsewhere = rc == 0;
	return rc;
}

/* The parts of a set may be missing: stock criu writes no drayage.img, a page server has the pages elsewhere. */
static int unless_missing(int rc, struct err *e)
{
	if (rc < 0 && e->kind == ERR_GONE) {
		err_clear(e);
		return 0;
	}
	return rc;
}

int dump_parent_open(struct dump_parent *p, int images_dir, const char *path, uint32_t pid, struct err *e)
{
	*p = DUMP_PARENT_NONE;
	if (!path)
		return 0;
	p->dir = openat(images_dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->dir < 0 && errno == ENOENT) {
		log_event(LOG_WARN, "no-parent", "path=\"%s\"", path);
		return 0;
	}
	if (p->dir < 0)
		return err_sys(e, "parent %s", path);
	if (unless_missing(read_uptime(p, e), e) < 0 || unless_missing(read_ext(p, pid, e), e) < 0 || unless_missing(read_pages(p, pid, e), e) < 0 ||
	    (!p->pages && unless_missing(read_sent(p, pid, e), e) < 0)) {
		dump_parent_close(p);
		return err_wrap(e, "parent %s", path);
	}
	return 0;
}

void dump_parent_close(struct dump_parent *p)
{
	if (p->pages)
		pagemap_close(p->pages);
	run_list_finish(&p->covered);
	cleanup_fd_(&p->dir);
	*p = DUMP_PARENT_NONE;
}
