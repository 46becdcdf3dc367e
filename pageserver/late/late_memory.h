/* SPDX-License-Identifier: Apache-2.0 */
/* late_memory.h - memory of a running process whose pages are still on their way (post-copy): which are missing, who waits for one, and how
 * one that comes is put into its place, by userfaultfd.
 *
 * Ranges are registered with the process's userfaultfd before it runs. From then on a thread that touches an absent page of them sleeps
 * until we give it one: the page that came from the source where one is missing, zeros where none ever was. What the process does to its
 * mappings meanwhile is followed by the kernel's events: discarded and unmapped pages are not missing any more, moved ones are missed at
 * their new address, a forked child misses what its parent did. Children cost a descriptor each while they live and miss something; the limit
 * (RLIMIT_NOFILE) is raised to what it may be. Beyond it they can't be followed, and that is an error: ERR_LIMIT.
 *
 *   missing    asked      on their way  ->  late_place
 *   missing    not asked  pushed by the source in its own order
 *
 * Addresses that cross this interface are the source's, even after a mapping moved. Closing the userfaultfd while pages are missing would let the
 * process read zeros: whoever holds a struct late holds the process's fate (migrate/agent/late_guard.h).
 *
 * Threads: one. Lifetime: late_create (takes the descriptor) / late_destroy. Fails: err, or negative errno where said.
 * Kernel interface: userfaultfd(2), ioctl_userfaultfd(2), Documentation/admin-guide/mm/userfaultfd.rst. */
#ifndef DRAY_PAGESERVER_LATE_MEMORY_H
#define DRAY_PAGESERVER_LATE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/base/err.h"
#include "proto/wire/runs.h"

struct late;

/* Somebody began to wait for a page that has to come from the source. Asking can't fail: who asks finds out later that nobody heard, and asks again. */
typedef void late_want(void *arg, uint64_t addr);

/* uffd: made in the process's memory, with the privilege to handle the kernel's own faults; taken, also on failure. */
struct late *late_create(int uffd, late_want *want, void *arg, struct err *e);
/* The same for one whose owner has set it up and registers its ranges himself. */
struct late *late_adopt(int uffd, late_want *want, void *arg, struct err *e);
void late_destroy(struct late *l); /* accepts NULL */
/* Whose memory it is. Known, it is asked how many threads it has where that matters: late_order.h. */
void late_of(struct late *l, pid_t pid);

/* A private anonymous mapping [start, end), with the runs of it (ascending, at least one) whose pages come late. The process stands still. */
int late_register(struct late *l, uint64_t start, uint64_t end, const struct page_run *runs, size_t count, struct err *e);
/* What those two ask of the kernel, for who sets a userfaultfd up and hands it to somebody who adopts it. */
int late_uffd_enable(int uffd, struct err *e);
int late_uffd_watch(int uffd, uint64_t start, uint64_t end, struct err *e);
int late_uffd_unwatch(int uffd, uint64_t start, uint64_t end, struct err *e); /* what is absent afterwards is zeros */
/* The bookkeeping of that alone: the ranges are registered by somebody else. */
int late_expect(struct late *l, const struct page_run *runs, size_t count, struct err *e);
/* Pages that are there by other means. */
void late_forget(struct late *l, uint64_t addr, uint64_t pages);

uint64_t late_missing(const struct late *l); /* pages, over all processes */
/* Every page that the process or a child of it misses, ascending; out: zeroed. 0 or -ENOMEM. */
int late_list(const struct late *l, struct run_list *out);

/* A descriptor to poll: readable when there are events. Borrowed. */
int late_fd(const struct late *l);
/* Reads what is there, of some processes at a time. */
int late_events(struct late *l, struct err *e);
/* The kernel says nothing when a process ends; placing a page finds it out. Where no pages come any more, this does: it misses nothing afterwards. */
void late_notice_ended(struct late *l);
/* Wants all that is waited for once more: on a new connection. */
void late_ask_again(const struct late *l);

/* Puts pages into their place and wakes who waits. data: NULL for zeros. Pages that aren't missing (any more) are left alone. */
int late_place(struct late *l, uint64_t addr, uint32_t pages, const void *data, struct err *e);

#endif
