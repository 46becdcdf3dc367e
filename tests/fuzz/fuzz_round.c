/* SPDX-License-Identifier: Apache-2.0 */
/* Two RoundBegin messages, the second staged over the first. Input: one byte, the length of the first in units of 1/256 of the rest. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "pageserver/place.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int one(struct place *p, const uint8_t *data, size_t size)
{
	Drayage__RoundBegin *msg = drayage__round_begin__unpack(NULL, size, data);
	struct err e = { 0 };
	int rc = -1;

	if (msg)
		rc = place_apply(p, msg, &e);
	assert(!msg || (rc < 0) == err_is_set(&e));
	/* Whatever was staged takes pages where its first page is, or says that it doesn't. */
	for (size_t i = 0; rc == 0 && i < msg->n_vmas; i++) {
		struct page_run run = { msg->vmas[i]->start, 1, RUN_DATA };
		struct iovec iov;

		(void)place_iovec(p, &run, &iov);
		run.kind = RUN_DROP;
		(void)place_drop(p, &run);
	}
	if (msg)
		drayage__round_begin__free_unpacked(msg, NULL);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = { 0 };
	struct place *p;
	size_t first;

	if (size < 2)
		return 0;
	first = (size - 1) * data[0] / 256;
	p = place_create(1 << 20, &e);
	if (!p)
		abort();
	if (one(p, data + 1, first) == 0)
		one(p, data + 1 + first, size - 1 - first);
	place_destroy(p);
	return 0;
}
