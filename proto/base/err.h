/* SPDX-License-Identifier: Apache-2.0 */
/* err.h - one error that each layer adds a clause to, and the table from kinds to exit codes.
 *
 * Control path: a function that can fail takes a caller-owned `struct err *`, fills it and returns -1 (or NULL). A layer above
 * adds what it was doing with err_wrap(). Report or return, never both. Data path: negative errno, nothing formatted.
 * Threads: an object belongs to one thread. Ownership: plain value, nothing to free. */
#ifndef DRAY_BASE_ERR_H
#define DRAY_BASE_ERR_H

#include <stdbool.h>
#include <stddef.h>

/* The numbers travel in Abort.kind and must keep their meaning. */
enum err_kind {
	ERR_NONE = 0,
	ERR_INTERNAL = 1,    /* our own fault */
	ERR_USAGE = 2,       /* a wrong option or value */
	ERR_SYSTEM = 3,      /* a system call failed; num is its errno */
	ERR_PERMISSION = 4,  /* the caller may not */
	ERR_GONE = 5,        /* no such process, or it ended meanwhile */
	ERR_UNSUPPORTED = 6, /* an object that can't be carried */
	ERR_PEER = 7,        /* the other host: unreachable, cut, refused */
	ERR_PROTOCOL = 8,    /* the other side broke the protocol */
	ERR_LIMIT = 9,       /* a stated limit was reached */
	ERR_TIMEOUT = 10,
	ERR_CANCELLED = 11, /* by the user */
	ERR_CONFLICT = 12,  /* something is in the way: a PID, a port, a file */
	ERR_MISMATCH = 13,  /* digests differ, files differ */
	ERR_UNDECIDED = 14, /* after commit, outcome not learnt yet: the source stays frozen */
	ERR_KINDS
};

struct err {
	enum err_kind kind;
	int num; /* errno or 0 */
	char text[768];
};

/* Sets e and returns -1. num (an errno value, or 0) is spelled out behind the text when it is not 0. */
int err_set(struct err *e, enum err_kind kind, int num, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* err_set with the current errno, ERR_SYSTEM, or the kind that the errno speaks for (EPERM, ESRCH). */
int err_sys(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Puts "clause: " before the text of an error that is set already. Returns -1. */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void err_clear(struct err *e);
static inline bool err_is_set(const struct err *e) { return e->kind != ERR_NONE; }

/* The one table of exit codes (documented in dray(1)). */
int err_exit_code(enum err_kind kind);
const char *err_kind_name(enum err_kind kind);

#endif
