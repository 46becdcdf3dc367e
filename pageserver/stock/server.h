/* SPDX-License-Identifier: Apache-2.0 */
/* server.h - a page server for whoever speaks CRIU's page-server protocol: one session of a sender, from a connected socket into an image
 * directory. A set is published (its page maps get their names) when the sender closed the session properly and everything is written, before
 * the sender is told so; of a session that ended in any other way nothing is. Which protocol, and what is checked: docs/page-server.md.
 *
 * Threads: a session belongs to one; any number of sessions may run in a process. Fails: err that names the peer, the page map and the
 * address. A stock sender is told nothing then, its protocol has no words for it; a native
 * one (proto/wire/ps_native.h) is told the error. Its connection ends. */
#ifndef DRAY_PAGESERVER_SERVER_H
#define DRAY_PAGESERVER_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/err.h"
#include "proto/base/tls_relay.h"

/* Each 0: none. */
struct page_server_limits {
	uint64_t bytes;     /* of page contents */
	uint64_t pages;     /* that it speaks of: contents, holes, lazy ones, and one for each page map that it goes to */
	uint64_t time_ms;   /* of the whole session, and for a caller that waits for one: from the listening on */
	uint64_t idle_ms;   /* nothing came for so long */
	uint64_t keep_free; /* bytes that stay free in the file system of the images */
	uint64_t handshake_ms; /* from the connection, or TLS, to the first command or hello */
};

/* What a session did; also valid, as far as it came, after a failure. */
struct page_server_report {
	uint64_t maps, ranges, pages, in_parent; /* pages: with contents; in_parent: pages */
	uint64_t us;          /* from the first command to the set's publication, or the end */
	unsigned header_size; /* 24 or 32; 0: never known */
	bool native;          /* frames came */
	uint64_t received;    /* bytes, of everything */
	bool joins;           /* none of its own: the connection was another one of a session that runs, and was given to the server (line.h) */
	bool let_in;          /* there was a session: the sender is who it has to be */
	char name[TLS_NAME_MAX]; /* in the sender's certificate; "" without TLS */
	const char *tls;         /* who decrypts: "kernel", "relay"; NULL: nobody */
};

struct ps_meter;
struct ps_stop;
struct page_server_config {
	int images_dir;     /* borrowed: where the set is published */
	const char *parent; /* the set before, relative to images_dir; NULL: none */
	bool auto_dedup;    /* punch out of it what is sent again */
	bool flat;          /* the set is published without need of a parent */
	bool durable;       /* on the disk before the sender is told */
	unsigned grace_ms;  /* how long a native session waits for a connection that was cut to come again; 0: STREAMS_GRACE_MS (streams.h). Only with a line */
	bool joins_only;    /* it is no session: refused, unless it is another connection of one */
	unsigned alive_ms;  /* a native sender hears so often that its set is being published; 0: every ALIVE_MS (alive.h) */
	struct page_server_limits limits;
	struct tls_gate *tls;  /* borrowed; the sender must speak TLS then, as criu does. NULL: it must not. Never with an inherited socket:
			        * that goes on to serve somebody who does not know the keys */
	const char *tls_name;  /* that its certificate must bear, unless the gate's config says otherwise; NULL: any that the authority signed */
	const int *line;    /* to the server whose session this is (line.h), which is told what happens before the sender is; NULL: nobody */
	const struct ps_stop *stop; /* borrowed, of an inherited socket: the session ends when it is cut; NULL */
	struct ps_meter *meter; /* borrowed; NULL: nobody counts */
	/* The set is published, and the sender not told yet: nor is it when this fails. What is left of the session are words, which may be long in
	 * coming. NULL: nobody asks. */
	int (*published)(void *arg, const struct page_server_report *r, struct err *e);
	void *arg;
};

/* Serves the sender at the other end of fd (borrowed) until it closes its session.
 * inherited: the socket was somebody's before and goes on to serve him; not a byte behind the closing command is read, and its end is not waited
 * for. Else: everything that comes is ours, and after the status the sender's end of the connection is awaited. out: may be NULL. */
int page_server_serve_one(int fd, bool inherited, const struct page_server_config *c, struct page_server_report *out, struct err *e);

/* The same for an inherited socket, in a process that serves nothing else: a signal lets it finish for patience_ms (0: as long as it takes) and then ends it,
 * as stop.h says. ERR_CANCELLED then. */
enum { PAGE_SERVER_AT_ONCE_MS = 1 }; /* patience that is none, as criu's own with a signal */
int page_server_serve_inherited(int fd, const struct page_server_config *c, uint64_t patience_ms, struct page_server_report *out, struct err *e);

/* Listens: address as sock_listen takes it, without a port. Port 0: the kernel chooses (sock_port). Returns a descriptor, or -1. */
int page_server_listen(const char *address, uint16_t port, struct err *e);
/* The next sender, however long it takes. */
int page_server_accept(int listener, struct err *e);

#endif
