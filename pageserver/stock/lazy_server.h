/* SPDX-License-Identifier: Apache-2.0 */
/* lazy_server.h - the side of CRIU's page-server protocol that has pages which somebody fetches late: one client, from its connection to its CLOSE.
 *
 *   client   GET {pid, address, count}  ->  ADD_F {pid, address, how many follow each other there}, the pages        any number of times
 *            CLOSE                      ->  status 0
 *
 * Where the pages come from is the caller's: a task that stands still (migrate/dump/dump_lazy.c), images (lazy_images.h). Headers of either length,
 * the first one shows which.
 * Threads: one. Fails: err; ERR_PEER when the client ended without CLOSE (stock criu takes that for success), ERR_PROTOCOL when it asked for
 * what can't be or isn't there, ERR_TIMEOUT. The protocol has no words for any of them: its connection ends. */
#ifndef DRAY_PAGESERVER_LAZY_SERVER_H
#define DRAY_PAGESERVER_LAZY_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/err.h"
#include "proto/base/tls_relay.h"

enum { LAZY_SERVE_PAGES = 64 /* most that are read at once */ };

struct lazy_pages {
	/* How many pages follow each other from addr (of a page) on, at most `most`, which is at least 1: at least 1, or -1 for none. */
	int (*find)(void *arg, uint64_t pid, uint64_t addr, uint64_t most, uint64_t *pages, struct err *e);
	/* Some that find found, at most LAZY_SERVE_PAGES. */
	int (*read)(void *arg, uint64_t pid, uint64_t addr, uint32_t pages, void *data, struct err *e);
	void *arg;
	int end_fd; /* readable once the pages are gone, or -1; then `end` says why */
	int (*end)(void *arg, struct err *e);
};

struct lazy_report;
struct lazy_rules {
	bool inherited;        /* the socket goes on to serve somebody else: not a byte behind CLOSE is read. Without TLS */
	struct tls_gate *tls;  /* borrowed; NULL: the client must speak plain text */
	const char *tls_name;  /* that its certificate must bear; NULL: any that the authority signed */
	uint64_t idle_ms, time_ms; /* nothing came for so long; of the whole session. 0: no limit */
	void (*progress)(void *arg, const struct lazy_report *r); /* after each answer; NULL: nobody looks */
	void *arg;
};

struct lazy_report {
	uint64_t requests, pages;
	bool let_in;             /* it was a client: by TLS it showed who it is */
	char name[TLS_NAME_MAX]; /* in its certificate; "" without TLS */
};

/* fd: the client's connection; borrowed. out: valid after a failure too. */
int lazy_serve(int fd, const struct lazy_pages *from, const struct lazy_rules *rules, struct lazy_report *out, struct err *e);

#endif
