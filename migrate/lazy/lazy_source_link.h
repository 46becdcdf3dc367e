/* SPDX-License-Identifier: Apache-2.0 */
/* lazy_source_link.h - a connection to where pages are fetched late: GETs go out, ADD_Fs with pages come back in their order (docs/page-server.md).
 * Nothing blocks but what is written, some 32 bytes a question. Threads: one. Lifetime: init/finish. Fails: err of kind ERR_PEER, ERR_PROTOCOL. */
#ifndef DRAY_MIGRATE_LAZY_SOURCE_LINK_H
#define DRAY_MIGRATE_LAZY_SOURCE_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"
#include "proto/base/tls_relay.h"
#include "proto/wire/ps_command.h"

enum { LAZY_PIECE_PAGES = 256 /* most that is asked for at once */ };

struct lazy_link {
	int fd; /* borrowed */
	const struct tls_link *tls; /* whose it is; borrowed. NULL: plain text */
	enum ps_layout layout;
	unsigned waiting; /* questions without an answer */
	unsigned char header[PS_HEADER_MAX];
	size_t have, got; /* of the header, of the pages */
	struct ps_command answer;
	unsigned char *data;
};

/* tls: of a wish with `cut`, as criu reads a header from one record; NULL: fd is a socket in plain text. Without any (fd -1) nothing can be asked. */
int lazy_link_init(struct lazy_link *l, int fd, const struct tls_link *tls, enum ps_layout layout, struct err *e);
void lazy_link_finish(struct lazy_link *l); /* accepts a zeroed one */
int lazy_link_ask(struct lazy_link *l, uint64_t pid, uint64_t vaddr, uint64_t pages, struct err *e);
/* 1: an answer is whole: l->answer (vaddr, nr, dst = pid) with its pages in l->data; 0: not yet; -1. */
int lazy_link_receive(struct lazy_link *l, struct err *e);
/* Everything is there: says so and waits for the status. */
int lazy_link_close(struct lazy_link *l, struct err *e);

#endif
