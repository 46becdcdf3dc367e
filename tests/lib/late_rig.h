/* SPDX-License-Identifier: Apache-2.0 */
/* late_rig.h - a process whose pages come late, for tests of what gives them: a child of the test, which dies with it, shows it its userfaultfd over a
 * line and goes on when it is told to. Threads: the test's own. What goes wrong ends the test by NEED. */
#ifndef DRAY_TESTS_LATE_RIG_H
#define DRAY_TESTS_LATE_RIG_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* In the process as in the test, so it must not run what the other does at its exit. */
#define NEED(x) do { if (!(x)) { fprintf(stderr, "FAILED at line %d: %s: %s\n", __LINE__, #x, strerror(errno)); _exit(1); } } while (0)

struct late_process { pid_t pid; int line, uffd; };
/* Forks it; it runs body(line, arg) and ends with 0. Returns when body has given its userfaultfd; where there is none to be had the test ends, skipped. */
struct late_process late_process_start(void (*body)(int line, const void *arg), const void *arg);
void late_process_go(const struct late_process *p);
/* In body: before anything is registered; then, once the test has done that. */
void late_process_give(int line);
void late_process_await_go(int line);

/* What page number `page` of the source's memory holds. */
uint64_t late_contents(uint64_t page);

/* Addresses that it waits for: what late_create() wants a function for. */
struct late_queue { uint64_t addr[1 << 16]; size_t count; };
void late_queue_add(void *queue, uint64_t addr);

#endif
