/* SPDX-License-Identifier: Apache-2.0 */
/* bench_dir.h - a directory for one run of a benchmark, which goes with all that is in it however the run ends: a process of its own waits until the one that made it
 * and all that it forked are gone.
 * Threads: the main one, once. */
#ifndef DRAY_TESTS_BENCH_DIR_H
#define DRAY_TESTS_BENCH_DIR_H

/* path: a template as mkdtemp's, filled in. Ends the program with a word where it can't be made. */
void bench_dir_make(char *path);
/* At a good end, so that it is gone when the program is. */
void bench_dir_remove(const char *path);

#endif
