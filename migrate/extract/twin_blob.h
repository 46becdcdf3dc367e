/* SPDX-License-Identifier: Apache-2.0 */
/* twin_blob.h - the memory that a twin's code and its makers share. Plain layout, the same on both sides. */
#ifndef DRAY_MIGRATE_TWIN_BLOB_H
#define DRAY_MIGRATE_TWIN_BLOB_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "migrate/extract/twin.h"

/* Pages that couldn't be read: hole[n % TWIN_HOLES] for n below holes. Written before the zeros that stand in for them. */
struct twin_control {
	uint64_t holes;
	uint64_t hole[TWIN_HOLES];
};

/* What the twin did before its first stop; in the first bytes of the iovecs. */
struct twin_setup {
	int32_t rc; /* 0 or -errno */
	int32_t command[2], page[2];
};

struct twin_area {
	union {
		struct iovec iov[TWIN_MAX_IOV];
		struct twin_setup setup;
	};
	uint8_t zero[4096];
	struct twin_control control;
	uint8_t stack[4096];
};
_Static_assert(sizeof(struct twin_area) == TWIN_SCRATCH, "the area is what the header says");
_Static_assert(offsetof(struct twin_area, zero) == 4096, "the page of zeros is a page");
_Static_assert(TWIN_INFLIGHT_PAGES < TWIN_HOLES, "the ring of holes holds all that can be under way");

/* Entry of the code between __start_twin_code and __stop_twin_code (below 3 KiB); position independent; stack already set. */
void twin_main(struct twin_area *a) __attribute__((noreturn));

#endif
