/* SPDX-License-Identifier: Apache-2.0 */
/* zoo.h - one specimen of each kind of thing that a process can hold, made on request and able to tell whether it is still whole.
 * The program tests/programs/zoo holds them; tests look at it from outside, move it, and ask it for its verdict.
 *
 *   zoo DIR KIND...   makes the kinds, writes its PID to DIR/ready; whenever DIR/request appears it removes that, checks all and writes
 *                     DIR/verdict: "ok\n", or a line "KIND: what is wrong" each. DIR/stop ends it. It holds no other descriptors.
 *
 * Threads: a kind is made and checked by the main thread. State of a kind is static in its file: it must travel with the memory. */
#ifndef DRAY_TESTS_ZOO_H
#define DRAY_TESTS_ZOO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct zoo_kind {
	const char *name;
	const char *obstacle;    /* NULL: can be carried. Else a part of the text that refuses it; "" when only made by the test itself */
	const char *way_out;     /* the option that would let it go, or NULL */
	void (*make)(void);
	bool (*check)(void);     /* false after zoo_wrong(); NULL for what is refused */
};

extern const struct zoo_kind zoo_fd_kinds[], zoo_sock_kinds[], zoo_task_kinds[], zoo_mm_kinds[], zoo_refused_kinds[]; /* end with a NULL name */
const struct zoo_kind *zoo_find(const char *name);
/* All kinds, one after the other; i from 0; NULL at the end. */
const struct zoo_kind *zoo_at(size_t i);

/* For kinds. */
extern char zoo_dir[512];
const char *zoo_path(const char *name); /* DIR/name, in one of a few static buffers */
void zoo_need(bool ok, const char *what); /* ends the program with errno when a specimen can't be made */
bool zoo_wrong(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* notes why; returns false */
const char *zoo_why(void); /* what the last zoo_wrong() said */
#define ZOO_SAME(is, should) \
	do { \
		long long zoo_is = (long long)(is), zoo_should = (long long)(should); \
		if (zoo_is != zoo_should) \
			return zoo_wrong("%s is %lld, not %lld (line %d)", #is, zoo_is, zoo_should, __LINE__); \
	} while (0)

#endif
