/* SPDX-License-Identifier: Apache-2.0 */
/* page_sink.h - where the pages of a dump go: an image directory (pagemap.h) or a page server at the other end of a socket. The
 * dumper opens one page map at a time and hands it its ranges in ascending order.
 * Threads: one at a time. Fails: err. */
#ifndef DRAY_PAGESERVER_PAGE_SINK_H
#define DRAY_PAGESERVER_PAGE_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/base/err.h"

/* The numbers are those of a page server's dst_id (docs/page-server.md). */
enum pagemap_kind { PAGEMAP_TASK = 1, PAGEMAP_SHMEM = 2 };
enum page_flags { PAGE_IN_PARENT = 1, PAGE_LAZY = 2, PAGE_PRESENT = 4 };

/* Where bytes come from that nobody needs to look at. */
struct page_source {
	/* Moves up to max bytes into the pipe, which is empty and does not block, and waits for the first. How many; -1 with e set, also at an early end. */
	ssize_t (*move)(struct page_source *s, int pipe, size_t max, struct err *e);
};

struct page_sink;
struct page_sink_ops {
	/* Whether the previous set has a page map that holes may refer to. At any time; says nothing about pages, and opens nothing. */
	int (*has_parent)(struct page_sink *s, enum pagemap_kind kind, uint64_t id, bool *parent, struct err *e);
	/* Begins a page map; ends the one before. *parent as above. id: a task's pid as the task sees it, or a shared memory id. */
	int (*open)(struct page_sink *s, enum pagemap_kind kind, uint64_t id, bool *parent, struct err *e);
	/* As open, but goes on with a page map that was open before, behind its last range: for senders that mix them. NULL: as open. */
	int (*resume)(struct page_sink *s, enum pagemap_kind kind, uint64_t id, bool *parent, struct err *e);
	/* nr pages at vaddr (an offset for shared memory), contents at data; flags PAGE_PRESENT, with PAGE_LAZY where it may be fetched late. */
	int (*pages)(struct page_sink *s, uint64_t vaddr, uint64_t nr, uint32_t flags, const void *data, struct err *e);
	/* Where the contents of the next pages may be put before they are given to pages(), *bytes at most, which copies them no more then. Before the
	 * call *bytes is how many are known to come. NULL: they are best given from elsewhere. Good until the next call. The function may be NULL too. */
	uint8_t *(*room)(struct page_sink *s, uint64_t *bytes);
	/* As pages(), their contents out of a source, not a byte more than they are. For many at a time; the function may be NULL. */
	int (*pull)(struct page_sink *s, uint64_t vaddr, uint64_t nr, uint32_t flags, struct page_source *from, struct err *e);
	/* flags PAGE_IN_PARENT or PAGE_LAZY: no contents. */
	int (*hole)(struct page_sink *s, uint64_t vaddr, uint64_t nr, uint32_t flags, struct err *e);
	/* Everything is safe where it belongs (files closed, the server's status read). The sink is only good to be destroyed then. */
	int (*finish)(struct page_sink *s, struct err *e);
	/* Without finish before: what was written is no set. */
	void (*destroy)(struct page_sink *s);
};
struct page_sink { const struct page_sink_ops *ops; /* first member of the implementation's struct */ };

static inline int page_sink_resume(struct page_sink *s, enum pagemap_kind kind, uint64_t id, bool *parent, struct err *e)
{
	return s->ops->resume ? s->ops->resume(s, kind, id, parent, e) : s->ops->open(s, kind, id, parent, e);
}

#endif
