/* SPDX-License-Identifier: Apache-2.0 */
/* sample.h - a random sample of a running process's pages, read from outside: tells what its memory is like without reading it all.
 * Threads: any. The process is neither stopped nor asked; a page that vanished meanwhile is left out. */
#ifndef DRAY_MIGRATE_SAMPLE_H
#define DRAY_MIGRATE_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "migrate/mm/vma.h"
#include "proto/base/err.h"
#include "proto/wire/runs.h"

/* Up to n addresses, one at a random place in each of n equal parts of the data pages of runs. Returns how many. */
size_t sample_choose(const struct run_list *runs, uint64_t *addr, size_t n);
bool sample_read(pid_t pid, uint64_t addr, void *page); /* one page */

struct sample_facts {
	size_t pages;          /* that could be read */
	unsigned zero_percent; /* of them that hold nothing but zeros */
};
/* Looks at some hundred pages of what the process holds. */
int sample_contents(pid_t pid, const struct vma_list *vmas, struct sample_facts *f, struct err *e);

#endif
