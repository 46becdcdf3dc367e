/* SPDX-License-Identifier: Apache-2.0 */
/* late_pages.h - which pages post-copy still has to send, and in which order. Pure bookkeeping, shared by two threads.
 *
 * Pieces are runs of missing pages, cut at 1 MiB. Each page has a bit: sent. The order of the pieces is by how much of their 2 MiB block is missing
 * (where much was written, much will be read), but a question moves the order to the piece that it was about and on from there.
 * Threads: late_pages_take and late_pages_near by any number at once; the rest by the owner alone. Lifetime: init/finish, a zeroed object is valid. */
#ifndef DRAY_MIGRATE_LATE_PAGES_H
#define DRAY_MIGRATE_LATE_PAGES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/wire/runs.h"

struct late_piece { uint64_t addr, first; /* number of its first page */ uint32_t pages; };
struct late_pages {
	struct late_piece *piece; /* ascending */
	uint32_t *order;          /* numbers of pieces, hottest first */
	size_t count;
	_Atomic uint64_t *sent;   /* a bit a page */
	_Atomic uint64_t left;    /* pages */
	_Atomic uint64_t asked;   /* 1 + number of the piece that was asked for last and not followed up; 0: none */
	size_t next;              /* in order: the pusher's */
	size_t follow, follow_left; /* pieces behind a question: the pusher's */
};

int late_pages_init(struct late_pages *p, const struct run_list *missing); /* ascending; 0 or -ENOMEM */
void late_pages_finish(struct late_pages *p);
/* The page at addr with what is not sent around it, at most max pages; they count as sent. A page that was sent already is given once more: it
 * may be lost, or on its way. false: it isn't one of those missing. */
bool late_pages_near(struct late_pages *p, uint64_t addr, uint32_t max, struct page_run *out);
/* The next that nobody asked for. false: all are sent. */
bool late_pages_take(struct late_pages *p, struct page_run *out);

#endif
