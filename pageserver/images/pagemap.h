/* SPDX-License-Identifier: Apache-2.0 */
/* pagemap.h - the memory part of an image directory: pagemap-*.img with the pages-*.img they name, chains of them through `parent`.
 *
 *   pagemap-41.img   head {pages_id 1}, {vaddr, pages, PRESENT} {vaddr, pages, IN_PARENT} ...     ascending, never overlapping
 *   pages-1.img      the pages of the PRESENT entries, back to back, in their order
 *   parent -> ../0   the set before, where IN_PARENT ranges are looked up, and so on
 *
 * Both page counters are written, so that every CRIU can read it.
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
bool pagemap_covers(const struct pagemap_reader *r, uint64_t vaddr, uint64_t nr);
/* How many pages from vaddr (of a page) on follow each other without a gap, wherever they are stored, counted up to `most`. 0: not that one. */
uint64_t pagemap_stored(const struct pagemap_reader *r, uint64_t vaddr, uint64_t most);
/* Reads pages that pagemap_covers; any order, one pread a stretch. */
int pagemap_read(struct pagemap_reader *r, uint64_t vaddr, uint64_t nr, void *data, struct err *e);
void pagemap_close(struct pagemap_reader *r);

/* Whether the directory has that page map and the pages file it names: 1, 0, -1. Quick: reads no further than the head, so that a sender whose tasks
 * are stopped can be answered at once. */
int pagemap_exists(int dirfd, enum pagemap_kind kind, uint64_t id, struct err *e);

/* ---- writing: one set ----
 *
 * Everything is written into a directory aside (aside.h) and moved into place by finish: pages before the page map that names them. A set that
 * was broken off leaves nothing, and costs its parents nothing: what auto_dedup punches is punched once the set is published and its sender answered. A page map
 * that was there before under the same name is replaced, with its pages file. Pages files take the first free number from first_pages_id on; two
 * sets that are written into one directory at the same time need numbers apart, or the later is refused (ERR_CONFLICT). */

struct image_set_options {
	int dirfd;            /* borrowed, must outlive the sink */
	uint32_t first_pages_id; /* pages-N of the first page map; 1 for a dump, 65537 for a page server */
	const char *parent;   /* path relative to the directory: the link is made at the end (an existing one is kept); NULL: only an existing one */
	bool auto_dedup;      /* when the finished sink is destroyed: punch out of the parents what is written again */
	bool check_holes;     /* refuse a hole that the parent does not fill */
	bool durable;         /* files and directory are on disk when finish returns */
	bool revocable;       /* image_set_revoke may be called after finish; what it replaced goes when the sink is destroyed, and not before */
	bool flat;            /* finish folds the parents into the set before it is published; no link is made, auto_dedup means nothing (fold.h) */
};
/* A sink that writes into an image directory. Its ranges must ascend within a page map and not overlap; a page map that is opened again
 * begins anew. */
struct page_sink *image_set_create(const struct image_set_options *o, struct err *e);
/* nr pages out of another file, from offset on. */
int image_set_copy(struct page_sink *s, uint64_t vaddr, uint64_t nr, uint32_t flags, int fd, uint64_t offset, struct err *e);
/* What finish published goes again, and what that replaced is in its place; auto_dedup punches nothing then. Without a finish that succeeded nothing is done. */
void image_set_revoke(struct page_sink *s);
uint64_t image_set_pages_written(const struct page_sink *s);

/* ---- afterwards ---- */

/* Punches out of the parents of this set, page map by page map, what it has itself, and out of theirs what they have (`dedup`).
 * *pages_freed: how many pages the filesystem took back. A filesystem that can't is ERR_UNSUPPORTED. */
int image_set_dedup(int dirfd, uint64_t *pages_freed, struct err *e);

struct image_flatten_options {
	int dirfd;
	uint32_t first_pages_id;
	bool durable;
};
/* Folds the sets before into this one: page maps with holes are written anew with all their pages, and replaced one by one; at the end
 * the link to the parent is removed. Stopped or failed anywhere, each page map is the old one or the new one, and both are right.
 * A reader that opens a page map while it is replaced may find its pages file gone; one that has opened both goes on.
 * *pages: how many were written; may be NULL. */
int image_set_flatten(const struct image_flatten_options *o, uint64_t *pages, struct err *e);

#endif
