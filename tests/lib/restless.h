/* SPDX-License-Identifier: Apache-2.0 */
/* restless.h - a process whose threads change its memory in every way there is, for ever: writes, maps, unmaps, moves, growth, brk, madvise,
 * mprotect, forks, huge pages, private files, memory files. Its choices come from a seed, their interleaving from the scheduler.
 * Threads: one. Lifetime: start/end; it dies with the one that started it. */
#ifndef DRAY_TESTS_RESTLESS_H
#define DRAY_TESTS_RESTLESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct restless {
	pid_t pid;
	int uffd;               /* made by the process itself and handed over; -1 where not asked for. The taker sets it to -1 */
	volatile uint64_t *ops; /* what it has done so far; shared with it */
};
/* 0, or -1 with a line on stderr. Call while single-threaded: it forks. */
int restless_start(struct restless *r, uint64_t seed, bool want_uffd);
/* Waits until it did n more things; -1 when it died. */
int restless_await(const struct restless *r, uint64_t n);
int restless_stop(const struct restless *r);     /* all threads stand still */
int restless_continue(const struct restless *r);
void restless_end(struct restless *r);

#endif
