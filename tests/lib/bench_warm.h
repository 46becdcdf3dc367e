/* SPDX-License-Identifier: Apache-2.0 */
/* bench_warm.h - warm memory for as long as a run takes it.
 *
 * On a virtual machine memory that lies free goes back to the host, within a second where much of it does, and a page of it costs ten times
 * what a warm one costs. Touching and freeing right before the run (bench_prewarm) is right for runs shorter than that. For longer ones a
 * process of its own holds touched memory and frees it as it is taken: never much lies free, and what was freed last is taken first.
 * Threads: any. */
#ifndef DRAY_TESTS_BENCH_WARM_H
#define DRAY_TESTS_BENCH_WARM_H

#include <stddef.h>
#include <sys/types.h>

/* Starts such a process and waits until all is touched. -errno. It ends with its parent. */
pid_t bench_warm_start(size_t bytes);
void bench_warm_stop(pid_t pid); /* accepts 0 and failures of start */
/* What that process does: touches, calls ready, frees in step; returns never, or -1 where there is no memory. */
int bench_warm_run(size_t bytes, void (*ready)(void *arg), void *arg);

#endif
