/* SPDX-License-Identifier: Apache-2.0 */
/* page_server.h - the page server as a program: listens, gives every sender a process and a directory of its own, and drains when it is told to
 * stop. A session that dies, hangs or lies is nobody else's business; one that fails leaves no directory behind.
 * Threads: the only one of its process. Fails: err. */
#ifndef DRAY_PAGESERVER_PAGE_SERVER_H
#define DRAY_PAGESERVER_PAGE_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/err.h"
#include "proto/base/log.h"
#include "proto/base/tls.h"

struct page_server_options {
	const char *images_dir; /* a template (session_dir.h); without any letter: numbered directories in it, with `once` itself */
	const char *address;    /* without a port */
	uint64_t port;          /* 0: the kernel chooses */
	bool insecure;          /* addresses that other hosts can reach are allowed without TLS */
	struct tls_config tls;
	const char *tls_name;   /* what a sender's certificate must bear beside that; NULL: nothing */
	bool lazy_pages;        /* nothing is received: the pages of the images in images_dir are served to lazy-pages clients. Chains, prev_images_dir,
				   auto_dedup, flat, durable, session_bytes, session_pages mean nothing then */
	bool once;              /* one session, and its outcome is the program's */
	const char *prev_images_dir; /* the set before, relative to the session's directory; NULL: none */
	bool chain;             /* the set before is the one that was last published for the same address */
	bool auto_dedup, durable;
	bool flat;              /* sets are published whole, without parents */
	uint64_t max_sessions;  /* at once; 0: any number */
	uint64_t session_bytes, session_pages, session_time_ms, idle_timeout_ms; /* 0: no limit */
	uint64_t keep_free;     /* bytes that stay free where sets go; 0: none */
	uint64_t handshake_timeout_ms; /* of a sender that says nothing; 0: as any other silence */
	uint64_t resume_timeout_ms; /* how long a native session waits for a connection that was cut to come again; 0: some time */
	uint64_t max_handshakes; /* of senders at once that have said nothing yet; 0: any number */
	uint64_t drain_timeout_ms; /* of sessions under way when it is told to stop; 0: as long as they take */
	bool check;             /* says whether it could serve, and ends: the directory and the credentials are there and good */
	bool daemonize;         /* goes on in the background when it listens; the caller's process ends then */
	const char *pidfile;    /* NULL: none; removed at the end */
	const char *metrics;    /* where they are served, as exporter_start takes it; NULL: nowhere */
	uint64_t status_fd;     /* gets a zero byte and is closed when it listens; 0: none */
	enum log_level log_level;
};

/* Serves until SIGTERM or SIGINT; with `once`: one session. Prints "listening on ADDRESS:PORT" when ready and tells the service manager. At SIGHUP, unless
 * `once`, it goes on as the program that is installed by then (reload.h). */
/* A socket that the service manager passed is listened on in place of address and port. */
int page_server_run(const struct page_server_options *o, struct err *e);

#endif
