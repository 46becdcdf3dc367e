/* SPDX-License-Identifier: Apache-2.0 */
/* pagemap.h - the memory part of an image directory: pagemap-*.img with the pages-*.img they name, chains of them through `parent`.
 *
 *   pagemap-41.img   head {pages_id 1}, {vaddr, pages, PRESENT} {vaddr, pages, IN_PARENT} ...     ascending, never overlapping
 *   pages-1.img      the pages of the PRESENT entries, back to back, in their order
 *   parent -> ../0   the set before, where IN_PARENT ranges are looked up, and so on
 *
 * Both page counters are written, so that every CRIU can read it. A pages file is written under a name of its own and renamed with its page map at the
 * end: a set that was broken off is never taken for one.
 * Threads: an object belongs to one. Fails: err naming file and address. */
#ifndef DRAY_PAGESERVER_PAGEMAP_H
#define DRAY_PAGESERVER_PAGEMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "pageserver/images/page_sink.h"
#include "proto/base/err.h"

/* ---- reading: a chain, flattened ---- */

struct pagemap_reader;
/* One range whose pages are in one place. */
struct page_extent {
	uint64_t vaddr, nr; /* nr pages */
	uint32_t flags;     /* PAGE_PRESENT: fd and offset are valid, whichever set of the chain they are in; PAGE_LAZY alone: nowhere here */
	int fd;             /* borrowed from the reader */
	uint64_t offset;    /* bytes */
	unsigned depth;     /* 0: this set, 1: its parent ... */
};
/* NULL with e set; ERR_GONE when the set has no such page map. Counts, order and bounds of the whole chain are checked as it is read. */
struct pagemap_reader *pagemap_open(int dirfd, enum pagemap_kind kind, uint64_t id, struct err *e);
/* The next range, ascending: 1, 0 at the end, -1 (a hole that no parent fills is an error naming it). */
int pagemap_next(struct pagemap_reader *r, struct page_extent *out, struct err *e);
void pagemap_rewind(struct pagemap_reader *r);
/* Whether [vaddr, vaddr + nr pages) is wholly there; any order. */
bool pagemap_covers(struct pagemap_reader *r, uint64_t vaddr, uint64_t nr);
/* Reads pages that pagemap_covers; any order, one pread a stretch. */
int pagemap_read(struct pagemap_reader *r, uint64_t vaddr, uint64_t nr, void *data, struct err *e);
void pagemap_close(struct pagemap_reader *r);

/* ---- writing: one set ---- */

struct image_set_options {
	int dirfd;            /* borrowed, must outlive the sink */
	uint32_t first_pages_id; /* pages-N of the first page map; 1 for a dump, 65537 for a page server */
	const char *parent;   /* path relative to the directory: the link is made (an existing one is kept); NULL: none */
	bool auto_dedup;      /* punch out of the parents what is written again */
	bool check_holes;     /* refuse a hole that the parent does not fill */
	bool durable;         /* fsync what is published */
};
/* A sink that writes into an image directory. */
struct page_sink *image_set_create(const struct image_set_options *o, struct err *e);
/* For receivers: nr pages follow on a pipe or socket; spliced or copied into the pages file. timeout_ms: between two bytes; -1 none. */
int image_set_pages_from(struct page_sink *s, uint64_t vaddr, uint64_t nr, uint32_t flags, int fd, int timeout_ms, struct err *e);
uint64_t image_set_pages_written(const struct page_sink *s);

/* Punches out of the parents of this set, page map by page map, what it has itself (`dedup`). */
int image_set_dedup(int dirfd, uint64_t *pages_freed, struct err *e);

#endif
