/* SPDX-License-Identifier: Apache-2.0 */
/* store.h - the pages of a tree over its rounds, the newest of each, until they are published as one flat set.
 *
 *   DIR/.drayage-set-XXXXXXXX/1    first round     each a set that builds on the one before (pagemap.h); what a later one has again is
 *                             /2    second          punched out of the earlier, so that all of them together hold each page once
 *   DIR/pagemap-41.img ...         after page_store_publish: one level, no parent
 *
 * Why so, and what it costs: docs/decisions/008-the-store-is-a-chain.md. Memory of ours: a few hundred bytes a page map. The pages are where DIR is: in
 * memory on a tmpfs, else in the page cache, which the kernel writes to disk as it needs to. At most the tree, one round, and while publishing one page
 * map more than that. Nothing of the store outlives its process; only what is published is made durable.
 * Threads: one. Fails: err. */
#ifndef DRAY_PAGESERVER_STORE_H
#define DRAY_PAGESERVER_STORE_H

#include "pageserver/images/page_sink.h"

struct page_store;
struct page_store_options {
	int dirfd;               /* borrowed, must outlive the store */
	uint32_t first_pages_id; /* of what is published */
	bool durable;            /* what is published is on disk when page_store_publish returns */
};
struct page_store *page_store_create(const struct page_store_options *o, struct err *e);

/* The next round, one at a time. It holds the rounds before as its parent, if there are any; holes that they do not fill are refused. The page maps of a round are all
 * that there are: what it does not name is gone when it is finished. Destroyed without finish it has never been. Must be destroyed before
 * another call. */
struct page_sink *page_store_round(struct page_store *s, struct err *e);

/* Puts the newest round with all its pages into the directory, as a set is put there: whole, or not at all. The store is empty afterwards, also when
 * it fails: pages are freed as they are written. ERR_USAGE when it has no round. */
int page_store_publish(struct page_store *s, struct err *e);

uint64_t page_store_bytes(const struct page_store *s); /* as the filesystem counts what the store holds */
void page_store_destroy(struct page_store *s);         /* accepts NULL */

#endif
