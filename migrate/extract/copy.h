/* SPDX-License-Identifier: Apache-2.0 */
/* copy.h - pages of another process into our memory: process_vm_readv in runs, /proc/PID/mem for what that can't read (PROT_NONE).
 * Threads: any number may use one source. Lifetime: open/close; close accepts a zeroed object that was set to COPY_SOURCE_NONE. */
#ifndef DRAY_MIGRATE_COPY_H
#define DRAY_MIGRATE_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/base/err.h"
#include "proto/wire/runs.h"

struct copy_source { pid_t pid; int mem, pagemap; };
#define COPY_SOURCE_NONE ((struct copy_source){ .mem = -1, .pagemap = -1 })

int copy_source_open(struct copy_source *s, pid_t pid, struct err *e);
void copy_source_close(struct copy_source *s);

/* Reads the RUN_DATA runs one after the other into buf (room for all their pages; runs <= 1024). A page that is not there sets its bit
 * in gone (one bit a data page, cleared by us) and leaves its place in buf as it was.
 * 0 or more: how many are gone; -ESRCH: the process ended; else -errno: a page that is there can't be read, *bad_addr names it. */
int copy_pages(const struct copy_source *s, const struct page_run *runs, size_t count, void *buf, uint64_t *gone, uint64_t *bad_addr);

/* A page of nothing but zeros. */
bool page_is_zero(const void *page);

#endif
