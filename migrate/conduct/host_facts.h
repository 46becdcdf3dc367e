/* SPDX-License-Identifier: Apache-2.0 */
/* host_facts.h - what must agree between two hosts for a process to go on: page size, vdso, extended register state.
 * Threads: any. */
#ifndef DRAY_MIGRATE_HOST_FACTS_H
#define DRAY_MIGRATE_HOST_FACTS_H

#include <stdint.h>

#include "control.pb-c.h"
#include "proto/base/err.h"

struct host_facts {
	uint32_t page_size;
	uint64_t vdso_digest; /* XXH3-64 of this kernel's vdso: a moved process goes on calling into it by address */
	uint64_t xfeatures;   /* XCR0 */
	uint32_t xsave_size;  /* bytes of the standard-format area for XCR0 */
};

int host_facts_read(struct host_facts *f, struct err *e);
/* ERR_MISMATCH naming what differs. */
int host_facts_check(const Drayage__Offer *offer, struct err *e);

#endif
