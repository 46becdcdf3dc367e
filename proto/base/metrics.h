/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.h - what a daemon counts, declared once, and the sessions that it has, in memory that it shares with the processes forked from it.
 *
 * One table (metrics.c) has every counter, gauge and histogram with its name, label and meaning; the metrics page, docs/operations.md and the man
 * pages come from it. A value is added to without a lock, so a process that is killed in the middle keeps nobody from counting, and what it had counted stays.
 * A row says what one session is doing. Only its process writes to it, but for begin and end.
 * Nothing in here decides anything: a session that writes nonsense falsifies what is shown, no more.
 *
 * Threads: any, any process that has inherited it, or attached itself to it. Every call accepts NULL and does nothing then. */
#ifndef DRAY_BASE_METRICS_H
#define DRAY_BASE_METRICS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/base/err.h"

enum metric {
	METRIC_START_TIME,
	METRIC_LIMITS,       /* label: enum metric_limit */
	METRIC_TLS_FAILURES,
	METRIC_TLS_END,
	METRIC_PS_ACCEPTED,
	METRIC_PS_JOINED,
	METRIC_PS_REFUSED,   /* label: enum err_kind */
	METRIC_PS_RUNNING,
	METRIC_PS_ENDED,     /* label: METRIC_SUCCESS, an err_kind, or METRIC_KILLED */
	METRIC_PS_MAPS,
	METRIC_PS_RANGES,
	METRIC_PS_PAGES,
	METRIC_PS_PAGE_BYTES,
	METRIC_PS_HOLE_PAGES,
	METRIC_PS_RECEIVED,
	METRIC_PS_QUESTIONS, /* histogram, microseconds */
	METRIC_MIG_ACCEPTED,
	METRIC_MIG_RUNNING,
	METRIC_MIG_ENDED,    /* as METRIC_PS_ENDED */
	METRIC_MIG_ROUNDS,
	METRIC_MIG_PAGES,
	METRIC_MIG_ZERO_PAGES,
	METRIC_MIG_RECEIVED,
	METRICS
};
enum { METRIC_SUCCESS = ERR_NONE, METRIC_KILLED = ERR_KINDS }; /* labels of how a session ended */
enum metric_limit { LIMIT_SESSIONS, LIMIT_SESSION_BYTES, LIMIT_SESSION_PAGES, LIMIT_SESSION_TIME, LIMIT_IDLE, LIMIT_MEMORY, LIMIT_HANDSHAKE, LIMIT_HANDSHAKES, LIMIT_KEEP_FREE, LIMITS };
enum metric_daemon { DAEMON_PAGE_SERVER, DAEMON_AGENT };

enum session_phase { PHASE_FREE, PHASE_STARTED, PHASE_RECEIVING, PHASE_WRITING, PHASE_PREPARED, PHASE_RUNNING, PHASE_LATE_PAGES, PHASES };

enum { ROWS_MAX = 1024, ROW_PEER_MAX = 128, ROW_DIR_MAX = 512 };
/* A session beyond ROWS_MAX at once is counted and not shown. */
struct session_row {
	_Atomic uint32_t phase;
	_Atomic uint64_t number;      /* of the session or migration, counted from 1 */
	_Atomic uint64_t start_us;    /* of clock_us */
	_Atomic uint64_t deadline_us; /* of clock_us; 0: none */
	_Atomic uint64_t pages, bytes; /* contents of pages; everything that came */
	char peer[ROW_PEER_MAX], dir[ROW_DIR_MAX]; /* dir: of a migration, its id. Written before the row has a phase */
};

struct metrics;
/* Before the first fork. */
struct metrics *metrics_create(enum metric_daemon daemon, struct err *e);
void metrics_adopt(struct metrics *m); /* the calling process is the daemon: it went on in the background */
void metrics_destroy(struct metrics *m);
/* For a process that was forked from a daemon that is gone, and goes on under another one. The memory's descriptor, borrowed from that one; -1: none. */
int metrics_fd(const struct metrics *m);
/* The same memory; fd is taken. NULL: it is none, or that of another version. */
struct metrics *metrics_attach(int fd);
void metrics_protect(struct metrics *m); /* this process only reads from here on */

void metrics_add(struct metrics *m, enum metric metric, unsigned label, uint64_t n);
void metrics_set(struct metrics *m, enum metric metric, uint64_t value);
void metrics_observe(struct metrics *m, enum metric histogram, uint64_t us);
uint64_t metrics_get(struct metrics *m, enum metric metric, unsigned label);

/* NULL: none is free. */
struct session_row *metrics_row_begin(struct metrics *m, uint64_t number, const char *peer, const char *dir);
/* Rows by number, of which there are ROWS_MAX. NULL: no such row; ROWS_MAX: of no row. */
struct session_row *metrics_row(struct metrics *m, uint64_t index);
uint64_t metrics_row_index(const struct metrics *m, const struct session_row *r);
/* What from tells of a session, its beginning and what came so far, stands in to as well. Both accept NULL. */
void session_row_continue(struct session_row *to, const struct session_row *from);
void session_row_phase(struct session_row *r, enum session_phase phase);
void metrics_row_end(struct session_row *r);

/* Prometheus text format 0.0.4. Labels are words of the table's own, never a stranger's: none needs an escape. */
void metrics_print(struct metrics *m, FILE *out);
/* What `dray status` reads: lines of fields separated by tabs, "server" first, then a "session" each. */
void metrics_print_status(struct metrics *m, FILE *out);
void metrics_print_table(FILE *out);                       /* Markdown */
void metrics_print_man(enum metric_daemon d, FILE *out);   /* mdoc */

#endif
